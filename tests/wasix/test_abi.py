"""Host functions of ``wasix_32v1`` that need no engine: what they write, and what is saved of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from host.fakes import DATA, OUT, PATH, SENTINEL, Guest
from host.saving import restore, saved

from wasnap.errors import GuestTrap
from wasnap.host import Host, HostConfig, Mapping
from wasnap.host.threads import MAIN
from wasnap.host.wasix import MISSING
from wasnap.host.world import WASIX

I32 = b"\x7f"


def new(directory: Path) -> Guest:
    null = os.open(os.devnull, os.O_RDWR)
    mapping = Mapping(str(directory), "/home/me", False)
    return Guest(Host(HostConfig(dirs=(mapping,), stdin=null, stdout=null, stderr=null)), WASIX)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    (tmp_path / "d").mkdir()
    guest = new(tmp_path)
    yield guest
    guest.host.close()


def test_what_is_missing_says_so_once(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    """ENOTSUP by name; what has no result ends the guest; what nobody knows is ENOSYS."""
    for _ in range(2):
        function = guest.host.function(WASIX, "port_mac", (I32, I32))
        assert function is not None
        assert function.call(guest.call, OUT) == 58
    assert [r.getMessage() for r in caplog.records] == [
        "wasix_32v1.port_mac is not there yet: it gives ENOTSUP"
    ]
    function = guest.host.function(WASIX, "proc_exec4", (I32 * 4, b""))
    assert function is not None
    with pytest.raises(GuestTrap, match=r"wasix_32v1\.proc_exec4"):
        function.call(guest.call, 0, 0, 0, 0)
    function = guest.host.function(WASIX, "thread_spawn", (I32, I32))
    assert function is not None
    assert function.call(guest.call, 0) == 52
    assert not any(guest.host.function(WASIX, name) for name in MISSING)


def test_who_it_is(guest: Guest) -> None:
    for name, value in (("proc_id", 1), ("thread_id", MAIN)):
        with guest.writes((OUT, struct.pack("<I", value))):
            assert guest(name, OUT) == "SUCCESS"
    with guest.writes((OUT, bytes(4))):
        assert guest("proc_parent", 1, OUT) == "SUCCESS"
    assert guest("proc_parent", 2, OUT) == "SRCH"
    guest.call.thread = 7
    with guest.writes((OUT, struct.pack("<I", 7))):
        assert guest("thread_id", OUT) == "SUCCESS"
    assert guest("thread_parallelism", OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == len(os.sched_getaffinity(0))


def test_duplicates_share_their_offset_also_after_a_resume(guest: Guest, tmp_path: Path) -> None:
    """They are one open thing, closed with the last number."""
    fd = guest.open("f", oflags=1)
    assert guest("fd_dup2", fd, 10, 1, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == 10
    assert guest("fd_renumber", fd, 7) == "SUCCESS"
    assert guest("fd_dup", fd, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == fd + 1
    guest.write(fd, b"abc")
    again = new(tmp_path)
    restore(again, saved(guest))
    for one in (guest, again):
        for number in (fd, fd + 1, 7, 10):
            assert one.tell(number) == 3
            with one.writes((OUT, struct.pack("<H", number == 10))):
                assert one("fd_fdflags_get", number, OUT) == "SUCCESS"
        one.write(7, b"x")
        one.close(fd)
        one.close(10)
        assert one.tell(fd + 1) == 4
        one.close(fd + 1)
        assert one("fd_tell", fd, OUT) == "BADF"
        one.write(7, b"y")
        assert one("fd_dup", 7, OUT) == "SUCCESS"  # the lowest free number again
        assert one.memory.u32(OUT) == fd
    again.host.close()


def test_a_duplicate_replaces_what_had_its_number(guest: Guest) -> None:
    one = guest.open("one", oflags=1)
    two = guest.open("two", oflags=1)
    assert guest("fd_renumber", one, two) == "SUCCESS"
    guest.write(two, b"12")
    assert guest.tell(one) == 2
    assert guest("fd_renumber", one, one) == "SUCCESS"
    assert guest("fd_renumber", 99, one) == "BADF"
    assert guest("fd_renumber", one, 3) == "NOTSUP"
    assert guest("fd_renumber", one, 1 << 20) == "BADF"
    assert guest("fd_dup2", one, 1 << 20, 0, OUT) == "INVAL"
    assert guest("fd_renumber", one, 9) == "SUCCESS"  # the numbers between stay free
    free = guest.open("three", oflags=1)
    assert free == two + 1


def test_close_on_exec_belongs_to_the_number(guest: Guest) -> None:
    at, n = guest.path("f")
    assert guest("path_open2", 3, 0, at, n, 1, 66, 0, 0, 1, OUT) == "SUCCESS"
    fd = guest.memory.u32(OUT)
    guest("fd_fdflags_get", fd, OUT)
    assert guest.memory.u16(OUT) == 1
    assert guest("fd_fdflags_set", fd, 0) == "SUCCESS"
    assert guest("fd_fdflags_set", fd, 2) == "INVAL"
    assert guest("path_open2", 3, 0, at, n, 1, 66, 0, 0, 2, OUT) == "INVAL"
    guest("fd_fdflags_set", fd, 1)
    guest.close(fd)
    assert guest.open("f") == fd
    guest("fd_fdflags_get", fd, OUT)
    assert guest.memory.u16(OUT) == 0


def cwd(guest: Guest, room: int = 100) -> bytes:
    guest.memory.write(DATA, bytes([SENTINEL]) * 200)
    guest.memory.set_u32(OUT, room)
    assert guest("getcwd", DATA, OUT) == "SUCCESS"
    return guest.memory.read(DATA, guest.memory.u32(OUT) + 1)


def test_the_working_directory(guest: Guest, tmp_path: Path) -> None:
    assert cwd(guest) == b"/\0"
    for path, found in ((b"home", b"/home"), (b"me/d/.", b"/home/me/d"), (b"..", b"/home/me")):
        assert guest("chdir", *guest.path(path)) == "SUCCESS"
        assert cwd(guest) == found + b"\0"
    guest.make("f")
    assert guest("chdir", *guest.path("f")) == "NOTDIR"
    assert guest("chdir", *guest.path("g")) == "NOENT"
    assert guest("chdir", *guest.path("/etc")) == "NOENT"
    assert guest("chdir", PATH, 0) == "NOENT"
    again = new(tmp_path)
    restore(again, saved(guest))
    assert cwd(again) == b"/home/me\0"
    assert cwd(again, 8) == b"/home/me\xa5"
    again.memory.set_u32(OUT, 7)
    with again.writes((OUT, struct.pack("<I", 8))):
        assert again("getcwd", DATA, OUT) == "RANGE"
    again.host.close()


def test_a_terminal_that_is_not_there(guest: Guest) -> None:
    fields = struct.pack("<IIIIBBBBBB", 80, 25, 0, 0, 0, 0, 0, 0, 1, 1) + bytes(2)
    with guest.writes((OUT, fields)):
        assert guest("tty_get", OUT) == "SUCCESS"
    assert guest("tty_set", OUT) == "NOTSUP"


def test_a_futex_that_is_another(guest: Guest) -> None:
    """Words that changed, times that are over, addresses that are none."""
    guest.memory.set_u32(DATA, 5)
    guest.memory.set_u8(DATA + 16, 1)
    guest.memory.set_u64(DATA + 24, 1000)
    with guest.writes((OUT, b"\1")):
        assert guest("futex_wait", DATA, 6, DATA + 16, OUT) == "SUCCESS"
    with guest.writes((OUT, b"\0")):
        assert guest("futex_wait", DATA, 5, DATA + 16, OUT) == "SUCCESS"
    assert guest("futex_wait", DATA + 1, 5, DATA + 16, OUT) == "INVAL"
    for name in ("futex_wake", "futex_wake_all"):
        with guest.writes((OUT, b"\0")):
            assert guest(name, DATA, OUT) == "SUCCESS"


def test_what_is_left_of_a_sleep(guest: Guest) -> None:
    day = 86_400 * 10**9
    progress = guest.suspended("thread_sleep", day)
    assert progress["until"] <= guest.host.clock.monotonic() + day
    assert guest.completed({"until": 0}, "thread_sleep", day) == "SUCCESS"
    assert msgspec.msgpack.encode(progress)


def test_the_wrong_end_of_a_pipe(guest: Guest) -> None:
    """As the reference runtime has it; where one is there is what Unix says."""
    assert guest("fd_pipe", OUT, OUT + 4) == "SUCCESS"
    assert guest("fd_read", 5, *guest.iovs(1), OUT) == "ACCES"
    assert guest("fd_write", 4, *guest.iovs(1, data=b"x"), OUT) == "ACCES"
    assert guest("fd_seek", 4, 0, 0, OUT) == "SPIPE"


def test_what_is_in_a_pipe_is_saved(guest: Guest, tmp_path: Path) -> None:
    """Both ends, a closed one, a full pipe, and a duplicate; the guest goes on with the same."""
    for _ in range(3):
        assert guest("fd_pipe", OUT, OUT + 4) == "SUCCESS"
    numbers = [(4, 5), (6, 7), (8, 9)]
    assert (guest.memory.u32(OUT), guest.memory.u32(OUT + 4)) == numbers[-1]
    guest.write(5, b"abc")
    assert guest("fd_fdstat_set_flags", 7, 4) == "SUCCESS"
    full = guest.write(7, bytes(range(256)) * 200)
    while guest("fd_write", 7, *guest.iovs(999, data=b"x" * 999), OUT) == "SUCCESS":
        full += guest.memory.u32(OUT)
    guest.write(9, b"last")
    guest.close(9)
    assert guest("fd_dup", 4, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == 9
    again = new(tmp_path)
    restore(again, saved(guest))
    for one in (guest, again):
        assert one.read(4, 2) == b"ab"
        assert one.read(9, 9) == b"c"
        found = b""
        while len(found) < full:
            found += one.read(6, 5000)
        assert found.startswith(bytes(range(256)) * 200)
        assert one("fd_fdstat_set_flags", 6, 4) == "SUCCESS"
        assert one("fd_read", 6, *one.iovs(1), OUT) == "AGAIN"
        assert one.read(8, 9) == b"last"
        assert one.read(8, 9) == b""
        one.close(8)
        one.close(6)
        assert one("fd_write", 7, *one.iovs(1, data=b"x"), OUT) == "PIPE"
        assert one.suspended("fd_read", 4, *one.iovs(1), OUT) == {}
    again.host.close()


def test_values_of_each_thread_are_saved(guest: Guest, tmp_path: Path) -> None:
    """0 until they are set; a key that is gone, or never was, is refused, and none comes again."""

    def create(of: Guest) -> int:
        assert of("thread_local_create", 5, OUT) == "SUCCESS"
        return of.memory.u32(OUT)

    first, second = create(guest), create(guest)
    value = (1 << 64) - 2
    assert guest("thread_local_set", second, value) == "SUCCESS"
    assert guest("thread_local_destroy", first) == "SUCCESS"
    again = new(tmp_path)
    restore(again, saved(guest))
    for one in (guest, again):
        with one.writes((OUT, struct.pack("<Q", value))):
            assert one("thread_local_get", second, OUT) == "SUCCESS"
        one.call.thread = 3
        assert one("thread_local_get", second, OUT) == "SUCCESS"
        assert one.memory.u64(OUT) == 0
        one.call.thread = 0
        assert one("thread_local_get", first, OUT) == "INVAL"
        assert one("thread_local_set", first, 1) == "INVAL"
        assert one("thread_local_destroy", first) == "INVAL"
        assert create(one) == second + 1
    again.host.close()
