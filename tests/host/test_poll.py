"""poll_oneoff: clocks and descriptors in any mix; what is left of a wait survives a stop."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator

import pytest

from wasnap.host import FakeClock, Host, HostConfig, HostState
from wasnap.host.protocol import CLOCK_AHEAD_NS_MAX

from .conftest import MakeGuest
from .fakes import DATA, OUT, UNSTABLE, Guest

SUBS, EVENTS = DATA, DATA + 0x4000
REALTIME, MONOTONIC = 0, 1
CLOCK, READ, WRITE = 0, 1, 2
MS = 1_000_000


def clock(userdata: int, timeout: int, *, id: int = MONOTONIC, absolute: bool = False) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, CLOCK, id, timeout, 0, absolute)


def fd(userdata: int, kind: int, number: int) -> bytes:
    return struct.pack("<QB7xI28x", userdata, kind, number)


def setup(guest: Guest, *subscriptions: bytes) -> tuple[int, int, int, int]:
    guest.memory.write(SUBS, b"".join(subscriptions))
    return SUBS, EVENTS, len(subscriptions), OUT


def events(guest: Guest) -> list[tuple[int, int, int, int, int]]:
    """(userdata, errno, type, nbytes, flags)"""
    data = guest.memory.read(EVENTS, 32 * guest.memory.u32(OUT))
    return [e[:5] for e in struct.iter_unpack("<QHB5xQH6x", data)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)
    os.close(write_end)


def test_layout(make_guest: MakeGuest) -> None:
    guest = make_guest()
    assert len(clock(1, 0)) == len(fd(1, READ, 0)) == 48
    arguments = setup(guest, clock(7, 0))
    with guest.writes((EVENTS, struct.pack("<QH B5xQH6x", 7, 0, 0, 0, 0)), (OUT, b"\1\0\0\0")):
        assert guest("poll_oneoff", *arguments) == "SUCCESS"


def test_unstable_layout(make_guest: MakeGuest) -> None:
    guest = make_guest()
    guest.module = UNSTABLE
    sub = struct.pack("<QB7xQI4xQQH6x", 7, CLOCK, 7, MONOTONIC, 0, 0, 0)
    write = struct.pack("<QB7xI36x", 8, WRITE, 1)
    assert len(sub) == len(write) == 56
    assert guest("poll_oneoff", *setup(guest, sub, write)) == "SUCCESS"
    assert [e[0] for e in events(guest)] == [8, 7]


def test_nothing_to_wait_for(make_guest: MakeGuest) -> None:
    guest = make_guest()
    assert guest("poll_oneoff", SUBS, EVENTS, 0, OUT) == "INVAL"
    assert guest("poll_oneoff", *setup(guest, fd(1, 3, 0))) == "INVAL"


def test_the_earliest_clock_wins(make_guest: MakeGuest) -> None:
    guest = make_guest()
    now = guest.host.clock.monotonic()
    arguments = setup(
        guest,
        clock(1, 10_000_000 * MS),
        clock(2, 1_000_000 * MS),
        clock(3, now + 10_000_000 * MS, absolute=True),
        clock(4, now, absolute=True),
        clock(5, 1, id=REALTIME, absolute=True),
    )
    assert guest("poll_oneoff", *arguments) == "SUCCESS"
    assert [e[0] for e in events(guest)] == [4, 5]
    arguments = setup(guest, clock(1, 1 << 63), clock(2, 3 * MS), clock(3, 3 * MS, id=REALTIME))
    assert guest("poll_oneoff", *arguments) == "SUCCESS"
    assert [e[0] for e in events(guest)] == [2, 3]
    assert guest.host.clock.monotonic() - now >= 3 * MS


def test_descriptors(make_guest: MakeGuest, pipe: tuple[int, int]) -> None:
    guest = make_guest(stdin=pipe[0], stdout=pipe[1])
    both = fd(1, READ, 0), fd(2, WRITE, 1), clock(3, 1 << 60)
    assert guest("poll_oneoff", *setup(guest, *both)) == "SUCCESS"
    assert events(guest) == [(2, 0, WRITE, 1, 0)]
    os.write(pipe[1], b"abc")
    assert guest("poll_oneoff", *setup(guest, *both)) == "SUCCESS"
    assert events(guest) == [(1, 0, READ, 3, 0), (2, 0, WRITE, 1, 0)]


def test_the_other_end_is_gone(make_guest: MakeGuest) -> None:
    read_end, write_end = os.pipe()
    guest = make_guest(stdin=read_end)
    os.close(write_end)
    assert guest("poll_oneoff", *setup(guest, fd(1, READ, 0))) == "SUCCESS"
    assert events(guest) == [(1, 0, READ, 0, 1)]
    os.close(read_end)


def test_files_are_always_ready(guest: Guest) -> None:
    number = guest.open("f", oflags=1)
    guest.write(number, b"0123456789")
    guest.seek(number, 4)
    subs = fd(1, READ, number), fd(2, WRITE, number), clock(3, 1 << 60)
    assert guest("poll_oneoff", *setup(guest, *subs)) == "SUCCESS"
    assert events(guest) == [(1, 0, READ, 6, 0), (2, 0, WRITE, 1, 0)]
    guest.seek(number, 0, 2)
    assert guest("poll_oneoff", *setup(guest, *subs)) == "SUCCESS"
    assert events(guest)[0] == (1, 0, READ, 0, 0), "the end of a file is no hang-up"


def test_the_right_to_poll(guest: Guest) -> None:
    number = guest.open("f", oflags=1)
    assert guest("fd_fdstat_get", number, OUT) == "SUCCESS"
    base, inheriting = guest.memory.u64(OUT + 8), guest.memory.u64(OUT + 16)
    assert guest("fd_fdstat_set_rights", number, base & ~(1 << 27), inheriting) == "SUCCESS"
    assert guest("poll_oneoff", *setup(guest, fd(1, READ, number))) == "SUCCESS"
    assert events(guest) == [(1, 76, READ, 0, 0)]


def test_errors_are_events(guest: Guest) -> None:
    subs = fd(1, READ, 99), fd(2, WRITE, 3), fd(3, READ, 1), clock(4, 0, id=9)
    assert guest("poll_oneoff", *setup(guest, *subs)) == "SUCCESS"
    assert [(e[0], e[1]) for e in events(guest)] == [(1, 8), (2, 8), (3, 8), (4, 28)]


def test_a_sleep_goes_on_with_what_was_left(pipe: tuple[int, int]) -> None:
    clock_ = FakeClock(step_ns=0, now_ns=1000)
    host = Host(HostConfig(stdin=pipe[0]), clock=clock_)
    guest = Guest(host)
    arguments = setup(guest, clock(1, 500), fd(2, READ, 0))
    progress = guest.suspended("poll_oneoff", *arguments)
    assert progress == {"start": 1000}
    clock_._now = 1200
    guest.call.waits.clear()
    assert guest.completed(progress, "poll_oneoff", *arguments) == "SUCCESS"
    assert guest.call.waits == [([pipe[0]], [], 300)]
    assert [e[0] for e in events(guest)] == [1]
    host.close()


def test_bad_pointers_are_found_before_the_wait(make_guest: MakeGuest) -> None:
    guest = make_guest()
    subs, out, n, nevents = setup(guest, clock(1, 1 << 60))
    end = guest.memory.size
    assert guest("poll_oneoff", end - 47, out, n, nevents) == "FAULT"
    assert guest("poll_oneoff", subs, end - 31, n, nevents) == "FAULT"
    assert guest("poll_oneoff", subs, out, n, end - 3) == "FAULT"
    assert guest.call.waits == []


class Machine:
    """A machine's clocks, which pass when told to. Starts at any time it likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = 10**15
        self.date = 1_700_000_000 * 10**9
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.up)
        monkeypatch.setattr(time, "time_ns", lambda: self.date)

    def pass_(self, ns: int) -> None:
        self.up += ns
        self.date += ns


S = 1_000_000_000


def test_what_is_left_of_waits_on_another_machine_later(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    """Monotonic time stands still between snapshot and resume, real time does not."""
    machine = Machine(monkeypatch)
    first = Guest(Host(HostConfig(stdin=pipe[0])))
    assert first("clock_time_get", MONOTONIC, 0, OUT) == "SUCCESS"
    now = first.memory.u64(OUT)
    waits = {
        "relative": clock(1, 100 * S),
        "relative, realtime": clock(1, 100 * S, id=REALTIME),
        "absolute": clock(1, now + 100 * S, absolute=True),
        "date": clock(1, machine.date + 100 * S, id=REALTIME, absolute=True),
    }
    progress = {}
    for name, sub in waits.items():
        progress[name] = first.suspended("poll_oneoff", *setup(first, sub, fd(2, READ, 0)))
    machine.pass_(30 * S)
    state = HostState.from_plain(first.host.capture().to_plain())
    first.host.close()
    machine.up, machine.date = 5 * S, machine.date + 50 * S  # it was off for 50 s
    second = Guest(Host(HostConfig(stdin=pipe[0])))
    second.host.restore(state)
    left = {}
    for name, sub in waits.items():
        second.call.progress, second.call.waits = progress[name], []
        second.suspended("poll_oneoff", *setup(second, sub, fd(2, READ, 0)))
        left[name] = second.call.waits[-1][2]
    ahead = CLOCK_AHEAD_NS_MAX
    assert left == {
        "relative": 70 * S - ahead,
        "relative, realtime": 70 * S - ahead,
        "absolute": 70 * S - ahead,
        "date": 20 * S,
    }
    machine.pass_(20 * S)
    second.call.progress = None
    assert second("poll_oneoff", *setup(second, waits["date"], waits["absolute"])) == "SUCCESS"
    assert [e[0] for e in events(second)] == [1]
    assert second("clock_time_get", MONOTONIC, 0, OUT) == "SUCCESS"
    assert second.memory.u64(OUT) == now + 50 * S + ahead
    assert second("clock_time_get", REALTIME, 0, OUT) == "SUCCESS"
    assert second.memory.u64(OUT) == machine.date
    second.host.close()
