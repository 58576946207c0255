"""Clocks, randomness, ending."""

from __future__ import annotations

import struct
import time

import pytest

from wasnap.host import FakeClock, Host, HostConfig, SeededRandom, clock
from wasnap.host.protocol import Exit
from wasnap.host.random import RandomState

from .conftest import MakeGuest
from .fakes import DATA, OUT, Guest


def test_clocks(make_guest: MakeGuest) -> None:
    guest = make_guest()
    before = time.time_ns()
    assert guest("clock_time_get", 0, 0, OUT) == "SUCCESS"
    assert before <= guest.memory.u64(OUT) <= time.time_ns()
    for id in (1, 2, 3):
        assert guest("clock_time_get", id, 0, OUT) == "SUCCESS"
        first = guest.memory.u64(OUT)
        assert guest("clock_time_get", id, 0, OUT) == "SUCCESS"
        assert guest.memory.u64(OUT) >= first
        assert guest("clock_res_get", id, OUT) == "SUCCESS"
        assert 0 < guest.memory.u64(OUT) < 1_000_000_000
    with guest.writes():
        assert guest("clock_time_get", 4, 0, OUT) == "INVAL"
        assert guest("clock_res_get", 4, OUT) == "INVAL"
        assert guest("clock_time_get", 1, 0, guest.memory.size - 7) == "FAULT"


def test_the_monotonic_clock_does_not_jump_over_a_resume() -> None:
    state = clock.SystemClockState(monotonic_ns=5_000, cpu_ns=7_000_000_000)
    restored = clock.restore(state)
    assert 5_000 <= restored.monotonic() < 5_000 + 10_000_000_000
    assert restored.cpu() >= 7_000_000_000
    assert restored.thread_cpu() >= 7_000_000_000


def test_a_fake_clock_repeats_and_goes_on() -> None:
    a = FakeClock(step_ns=10, epoch_ns=1000)
    assert [a.monotonic(), a.monotonic(), a.realtime()] == [10, 20, 1030]
    b = clock.restore(a.capture())
    assert [b.monotonic(), b.realtime()] == [40, 1050]


def test_seeded_randomness_repeats_and_goes_on() -> None:
    def take(source: SeededRandom, n: int) -> bytes:
        data = bytearray(n)
        source.fill(memoryview(data))
        return bytes(data)

    a, b = SeededRandom(b"seed"), SeededRandom(b"seed")
    assert take(a, 10) == take(b, 10)
    state = a.capture()
    assert state == RandomState(b"seed", 1)
    c = SeededRandom.restore(state)
    big = (1 << 20) + 5
    assert take(a, big) == take(c, big) == take(b, big)
    assert take(SeededRandom(b"other"), 10) != take(SeededRandom(b"seed"), 10)


def test_random_get() -> None:
    host = Host(HostConfig(), random=SeededRandom(b"x"))
    guest = Guest(host)
    expected = bytearray(33)
    SeededRandom(b"x").fill(memoryview(expected))
    with guest.writes((DATA, bytes(expected))):
        assert guest("random_get", DATA, 33) == "SUCCESS"
    with guest.writes():
        assert guest("random_get", guest.memory.size - 3, 4) == "FAULT"
    host.close()


@pytest.mark.parametrize(
    ("signal", "code"), [(1, 129), (2, 130), (9, 137), (14, 142), (15, 143), (6, 134)]
)
def test_a_signal_to_oneself_ends(make_guest: MakeGuest, signal: int, code: int) -> None:
    """WASI's numbers, which are not this machine's (ALRM, TERM are, STOP is not)."""
    with pytest.raises(Exit) as exit:
        make_guest().raw("proc_raise", signal)
    assert exit.value.code == code


@pytest.mark.parametrize(("signal", "errno"), [(0, "SUCCESS"), (16, "SUCCESS"), (31, "INVAL")])
def test_a_signal_to_oneself_without_effect(make_guest: MakeGuest, signal: int, errno: str) -> None:
    """None, SIGCHLD, and one that does not exist."""
    assert make_guest()("proc_raise", signal) == errno


def test_ending(make_guest: MakeGuest) -> None:
    guest = make_guest()
    with pytest.raises(Exit) as exit:
        guest.raw("proc_exit", 137)
    assert exit.value.code == 137
    assert guest("sched_yield") == "SUCCESS"
    assert struct.calcsize("I") == 4
