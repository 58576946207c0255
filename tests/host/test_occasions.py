"""What a guest is about to do: who is told, when a stop comes of it, and that it comes once."""

from __future__ import annotations

import os

import pytest

from wasnap.host import Mapping
from wasnap.host.occasions import Occasions
from wasnap.host.protocol import LISTEN, OUTSIDE, STDIN, Stop

from . import test_poll
from .conftest import MakeGuest
from .fakes import IOVS, OUT, Guest

ALL = (STDIN, LISTEN, OUTSIDE)


class Watcher:
    """Watches a guest for everything; ``heard``: (occasion, first), of which it wishes ``wanted``."""

    def __init__(self, guest: Guest, wanted: tuple[str, ...] = ()) -> None:
        self.heard: list[tuple[str, bool]] = []
        self._wanted = wanted
        for occasion in ALL:
            guest.host.occasions.watch(occasion, self._wish)
        guest.call.audience = guest.host.occasions

    def _wish(self, occasion: str, first: bool) -> bool:
        self.heard.append((occasion, first))
        return occasion in self._wanted


@pytest.mark.parametrize(
    ("name", "arguments", "occasions"),
    [
        ("clock_time_get", (1, 1, OUT), [OUTSIDE]),
        ("random_get", (OUT, 8), [OUTSIDE]),
        ("fd_read", (0, IOVS, 1, OUT), [STDIN, OUTSIDE]),
        ("fd_pread", (0, IOVS, 1, 0, OUT), [STDIN, OUTSIDE]),
        ("clock_res_get", (1, OUT), []),
        ("fd_write", (1, IOVS, 1, OUT), []),
        ("args_sizes_get", (OUT, OUT + 4), []),
        ("sched_yield", (), []),
    ],
)
def test_who_announces_what(
    guest: Guest, name: str, arguments: tuple[int, ...], occasions: list[str]
) -> None:
    """Before anything is done."""
    guest.iovs(8)
    watcher = Watcher(guest)
    guest.raw(name, *arguments)
    assert watcher.heard == [(occasion, True) for occasion in occasions]


@pytest.mark.parametrize(("fd", "occasion"), [(0, STDIN), (1, OUTSIDE)])
def test_polling_for_input_is_reading(guest: Guest, fd: int, occasion: str) -> None:
    """A program that polls first has its snapshot before it waits."""
    arguments = test_poll.setup(guest, test_poll.fd(0, 1 if fd == 0 else 2, fd))
    watcher = Watcher(guest)
    assert guest("poll_oneoff", *arguments) == "SUCCESS"
    assert watcher.heard[0] == (occasion, True)


def test_files_are_not_outside(guest: Guest, tmp_path: os.PathLike[str]) -> None:
    """What a mapped file holds is no answer from outside."""
    with open(os.path.join(tmp_path, "dir", "f"), "w") as file:
        file.write("text")
    fd = guest.open("f")
    guest.iovs(8)
    watcher = Watcher(guest)
    assert guest("fd_read", fd, IOVS, 1, OUT) == "SUCCESS"
    assert watcher.heard == []


def test_once(guest: Guest) -> None:
    """One stop; the call that is completed asks for no other, nor does a later one."""
    watcher = Watcher(guest, wanted=(OUTSIDE,))
    before = bytes(guest.memory.bytes)
    with pytest.raises(Stop):
        guest.raw("random_get", OUT, 8)
    assert guest.memory.bytes == before
    guest.call.progress = {}
    assert guest("random_get", OUT, 8) == "SUCCESS"
    guest.call.progress = None
    with pytest.raises(Stop):  # it is the wish that tells first from later
        guest.raw("random_get", OUT, 8)
    assert watcher.heard == [(OUTSIDE, True), (OUTSIDE, False)]


def test_both_at_once_is_one_wish(guest: Guest) -> None:
    """Reading stdin is an answer from outside, too: one snapshot, and both have been."""
    guest.iovs(8)
    watcher = Watcher(guest, wanted=(STDIN, OUTSIDE))
    with pytest.raises(Stop):
        guest.raw("fd_read", 0, IOVS, 1, OUT)
    assert watcher.heard == [(STDIN, True)]
    assert guest.host.occasions.been == {STDIN, OUTSIDE}


def test_what_has_been_is_saved(
    guest: Guest, make_guest: MakeGuest, tmp_path: os.PathLike[str]
) -> None:
    """Also what was only begun: a call that a resume completes was announced before."""
    Watcher(guest)
    guest.raw("random_get", OUT, 8)
    state = guest.host.capture()
    assert state.occasions == [OUTSIDE]
    other = make_guest(Mapping(os.path.join(tmp_path, "dir"), "/dir"))
    other.host.restore(state)
    watcher = Watcher(other)
    other.raw("random_get", OUT, 8)
    other.call.progress = {}
    other.iovs(8)
    other.raw("fd_read", 0, IOVS, 1, OUT)
    assert watcher.heard == [(OUTSIDE, False)]
    assert other.host.occasions.been == {STDIN, OUTSIDE}


def test_where_nothing_may_stop(caplog: pytest.LogCaptureFixture) -> None:
    """Below a value that cannot be saved: no snapshot, told once, and it has not been."""

    class Call:
        progress = None

        def may_stop(self) -> bool:
            return False

    occasions = Occasions()
    occasions.watch(STDIN, lambda occasion, first: True)
    for _ in range(2):
        occasions.hear(Call(), (STDIN,))  # type: ignore[arg-type]
    assert occasions.been == set()
    assert len(caplog.records) == 1


def test_unwatched(guest: Guest) -> None:
    """Nothing is recorded, and nothing asked."""
    guest.raw("random_get", OUT, 8)
    assert guest.host.capture().occasions == []


def test_the_guest_asks_without_a_journal(guest: Guest) -> None:
    """``wasnap.snapshot`` is there, and says NOTSUP."""
    function = guest.host.function("wasnap", "snapshot", (b"", b"\x7f"))
    assert function is not None
    assert function.call(guest.call) == 58


@pytest.mark.parametrize(("taken", "errno"), [(True, 0), (False, 29)])
def test_the_guest_asks(guest: Guest, taken: bool, errno: int) -> None:
    """It stops, and tells what came of it; a resumed process knows of success only."""
    function = guest.host.function("wasnap", "snapshot", (b"", b"\x7f"))
    assert function is not None
    guest.host.explicit.ask = lambda: lambda: taken
    with pytest.raises(Stop):
        function.call(guest.call)
    guest.call.progress = {}
    assert function.call(guest.call) == errno
    assert function.call(guest.call) == 0  # as in a resumed process: nobody asked here
