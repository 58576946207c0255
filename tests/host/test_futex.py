"""Waiting in shared memory, without guests: who is in the queue, and what is saved of it."""

from __future__ import annotations

import pytest

from wasnap.host import FakeClock, Host, HostConfig, HostState
from wasnap.host.futex import NOT_EQUAL, TIMED_OUT, WOKEN
from wasnap.host.protocol import Suspended

from .fakes import FakeCall, FakeMemory

WORD = 64


@pytest.fixture
def host() -> Host:
    return Host(HostConfig(stdin=None, stdout=None, stderr=None), FakeClock(step_ns=1))


def stopped(host: Host, thread: int, timeout_ns: int | None = None) -> FakeCall:
    """The call of a thread that was stopped while it waited at WORD, with its progress."""
    memory = FakeMemory()
    memory.set_u32(WORD, 5)
    call = FakeCall(memory, thread)
    call.stop = True
    with pytest.raises(Suspended) as caught:
        host.futexes.wait(call, 0, WORD, 4, 5, timeout_ns)
    call.progress = caught.value.progress
    call.stop = False
    return call


def complete(host: Host, call: FakeCall) -> int:
    return host.futexes.wait(call, 0, WORD, 4, 5, None)


def resumed(host: Host) -> Host:
    """Another host with this one's state, as a journal keeps it."""
    other = Host(HostConfig(stdin=None, stdout=None, stderr=None))
    other.restore(HostState.from_plain(host.capture().to_plain()))
    return other


@pytest.mark.parametrize("again", [False, True])
def test_a_stopped_waiter_can_be_woken_and_stays_in_its_place(host: Host, again: bool) -> None:
    """By threads that are not stopped yet, or go on before it does."""
    calls = [stopped(host, thread) for thread in (7, 3, 5)]
    assert host.futexes.notify(calls[0], 0, WORD, 1) == 1
    if again:
        host = resumed(host)
        assert [(w.thread, w.woken) for w in host.futexes.capture()] == [
            (7, True),
            (3, False),
            (5, False),
        ]
    assert host.futexes.notify(calls[0], 0, WORD + 4, 9) == 0
    assert host.futexes.notify(calls[0], 1, WORD, 9) == 0
    assert host.futexes.notify(calls[0], 0, WORD, 1) == 1
    assert [(w.thread, w.woken) for w in host.futexes.capture()][1:] == [(3, True), (5, False)]
    assert complete(host, calls[1]) == WOKEN
    assert complete(host, calls[0]) == WOKEN
    assert host.futexes.notify(calls[0], 0, WORD, 0xFFFFFFFF) == 1
    assert complete(host, calls[2]) == WOKEN
    assert host.futexes.capture() == []


def test_what_is_left_of_a_timeout(host: Host) -> None:
    """It goes on in the guest's time; who gave up is not woken any more."""
    call = stopped(host, 1, 1_000_000)
    host = resumed(host)
    host.clock = FakeClock(step_ns=1, now_ns=400_000)
    call.waits.clear()
    assert complete(host, call) == TIMED_OUT
    left = call.waits[0][2]
    assert left is not None and 590_000 < left < 601_000
    assert host.futexes.notify(call, 0, WORD, 1) == 0


def test_another_value(host: Host) -> None:
    """Nobody waits."""
    call = stopped(host, 1)
    call.progress = None
    call.memory.set_u32(WORD, 6)
    other = FakeCall(call.memory, 2)
    assert host.futexes.wait(other, 0, WORD, 4, 5, None) == NOT_EQUAL
    assert [w.thread for w in host.futexes.capture()] == [1]
