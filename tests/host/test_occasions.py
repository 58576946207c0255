"""What a guest is about to do: who is told, when a stop comes of it, and that it comes once."""

from __future__ import annotations

import os
from functools import partial

import pytest

from wasnap.host import Mapping
from wasnap.host.occasions import Occasions
from wasnap.host.protocol import LISTEN, OUTSIDE, STDIN, Stop

from . import test_poll
from .conftest import MakeGuest
from .fakes import IOVS, OUT, Guest

ALL = (STDIN, LISTEN, OUTSIDE)


class Watcher:
    """Watches a guest for everything; ``heard``: what came, of which it wishes ``wanted``."""

    def __init__(self, guest: Guest, *wanted: str, once: bool = True) -> None:
        self.heard: list[str] = []
        self._wanted = wanted
        for occasion in ALL:
            guest.host.occasions.watch(occasion, partial(self._wish, occasion), once=once)
        guest.call.audience = guest.host.occasions

    def _wish(self, occasion: str) -> bool:
        self.heard.append(occasion)
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
    assert watcher.heard == occasions


@pytest.mark.parametrize(("fd", "occasion"), [(0, STDIN), (1, OUTSIDE)])
def test_polling_for_input_is_reading(guest: Guest, fd: int, occasion: str) -> None:
    """A program that polls first has its snapshot before it waits."""
    arguments = test_poll.setup(guest, test_poll.fd(0, 1 if fd == 0 else 2, fd))
    watcher = Watcher(guest)
    assert guest("poll_oneoff", *arguments) == "SUCCESS"
    assert watcher.heard[0] == occasion


def test_files_are_not_outside(guest: Guest, tmp_path: os.PathLike[str]) -> None:
    """What a mapped file holds is no answer from outside."""
    with open(os.path.join(tmp_path, "dir", "f"), "w") as file:
        file.write("text")
    fd = guest.open("f")
    guest.iovs(8)
    watcher = Watcher(guest)
    assert guest("fd_read", fd, IOVS, 1, OUT) == "SUCCESS"
    assert watcher.heard == []


@pytest.mark.parametrize("once", [True, False])
def test_once_and_every_time(guest: Guest, once: bool) -> None:
    """A stop before anything is done; the call that is completed asks for no other, a later one
    only if every time is meant.
    """
    watcher = Watcher(guest, OUTSIDE, once=once)
    before = bytes(guest.memory.bytes)
    with pytest.raises(Stop):
        guest.raw("random_get", OUT, 8)
    assert guest.memory.bytes == before
    assert guest.completed({}, "random_get", OUT, 8) == "SUCCESS"
    if once:
        assert guest("random_get", OUT, 8) == "SUCCESS"
    else:
        with pytest.raises(Stop):
            guest.raw("random_get", OUT, 8)
    assert watcher.heard == [OUTSIDE] if once else [OUTSIDE, OUTSIDE]


def test_both_at_once_is_one_wish(guest: Guest) -> None:
    """Reading stdin is an answer from outside, too: one snapshot, and both have been."""
    guest.iovs(8)
    watcher = Watcher(guest, STDIN, OUTSIDE)
    with pytest.raises(Stop):
        guest.raw("fd_read", 0, IOVS, 1, OUT)
    assert watcher.heard == [STDIN]
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
    watcher = Watcher(other, STDIN, OUTSIDE)
    assert other("random_get", OUT, 8) == "SUCCESS"
    other.iovs(8)
    assert other.completed({}, "fd_read", 0, IOVS, 1, OUT) == "SUCCESS"
    assert other("fd_read", 0, IOVS, 1, OUT) == "SUCCESS"
    assert watcher.heard == []
    assert other.host.occasions.been == {STDIN, OUTSIDE}


def test_the_engines_own_answers(guest: Guest) -> None:
    """The engine answers clock and random itself, but not while somebody waits for them."""
    names = ("clock_time_get", "random_get")
    functions = [guest.host.function(guest.module, name) for name in names]
    shortcuts = [f.shortcut for f in functions if f is not None and f.shortcut is not None]
    assert [s.offset() for s in shortcuts] == [0, 0]
    Watcher(guest)
    assert [s.offset() for s in shortcuts] == [None, None]
    guest.raw("random_get", OUT, 8)
    assert [s.offset() for s in shortcuts] == [0, 0]


def test_where_nothing_may_stop(caplog: pytest.LogCaptureFixture) -> None:
    """Below a value that cannot be saved: no snapshot, told once, and it has not been."""

    class Call:
        progress = None

        def may_stop(self) -> bool:
            return False

    occasions = Occasions()
    occasions.watch(STDIN, lambda: True, once=True)
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
