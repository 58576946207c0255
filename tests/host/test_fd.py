"""fd_*: files and directories through descriptors."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from wasnap.host import Mapping

from .conftest import MakeGuest
from .fakes import DATA, OUT, RIGHTS_READ, RIGHTS_WRITE, Guest

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = 1, 2, 4, 8, 16


@pytest.fixture
def guest(anywhere: Guest) -> Guest:
    """What is said here holds in every kind of directory."""
    return anywhere


def test_read_and_write_gather_and_scatter(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    iovs = guest.iovs(1, 0, 2, 3, data=b"abcdef")
    with guest.writes((OUT, struct.pack("<I", 6))):
        assert guest("fd_write", fd, *iovs, OUT) == "SUCCESS"
    assert guest.seek(fd, 0) == 0
    iovs = guest.iovs(2, 3, data=b"\xa5" * 8)
    with guest.writes((DATA, b"abcde"), (OUT, struct.pack("<I", 5))):
        assert guest("fd_read", fd, *iovs, OUT) == "SUCCESS"
    assert guest.read(fd, 10) == b"f"
    assert guest.read(fd, 10) == b""


def test_more_buffers_than_the_kernel_takes_give_a_short_count(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    count = 1500
    for i in range(count):
        guest.memory.write(DATA + 8 * i, struct.pack("<II", 0, 1))
    assert guest("fd_write", fd, DATA, count, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == 1024


def test_pread_and_pwrite_do_not_move(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    guest.write(fd, b"0123456789")
    assert guest("fd_pwrite", fd, *guest.iovs(2, data=b"xy"), 4, OUT) == "SUCCESS"
    assert guest("fd_pread", fd, *guest.iovs(4), 3, OUT) == "SUCCESS"
    assert guest.memory.read(DATA, 4) == b"3xy6"
    assert guest.tell(fd) == 10
    assert guest("fd_pread", fd, *guest.iovs(4), 1 << 63, OUT) == "INVAL"


def test_seek(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    guest.write(fd, b"0123456789")
    assert guest.seek(fd, -3, 2) == 7
    assert guest.seek(fd, 1, 1) == 8
    assert guest.seek(fd, 20, 0) == 20
    assert guest.tell(fd) == 20
    with guest.writes():
        assert guest("fd_seek", fd, (1 << 64) - 1, 0, OUT) == "INVAL"
        assert guest("fd_seek", fd, 0, 3, OUT) == "INVAL"
        assert guest("fd_seek", 99, 0, 0, OUT) == "BADF"
    big = 5 << 30
    assert guest.seek(fd, big) == big
    guest.write(fd, b"end")
    assert guest.seek(fd, 0, 2) == big + 3


def test_append_can_be_set_and_cleared(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT, fdflags=APPEND)
    guest.write(fd, b"one")
    guest.seek(fd, 0)
    guest.write(fd, b"two")
    assert guest("fd_fdstat_set_flags", fd, 0) == "SUCCESS"
    guest.seek(fd, 0)
    guest.write(fd, b"ONE")
    assert guest("fd_fdstat_set_flags", fd, APPEND | NONBLOCK) == "SUCCESS"
    assert guest("fd_fdstat_get", fd, OUT) == "SUCCESS"
    assert guest.memory.u16(OUT + 2) == APPEND | NONBLOCK
    guest.write(fd, b"end")
    assert guest.content("f") == b"ONEtwoend"
    for flag in (DSYNC, RSYNC, SYNC, 32):
        assert guest("fd_fdstat_set_flags", fd, flag) == "INVAL"


def test_what_it_was_not_opened_for(guest: Guest) -> None:
    guest.open("f", oflags=CREAT)
    reader = guest.open("f", rights=RIGHTS_READ)
    writer = guest.open("f", rights=RIGHTS_WRITE)
    neither = guest.open("f", rights=0)
    assert guest("fd_write", reader, *guest.iovs(1), OUT) == "BADF"
    assert guest("fd_pwrite", reader, *guest.iovs(1), 0, OUT) == "BADF"
    assert guest("fd_read", writer, *guest.iovs(1), OUT) == "BADF"
    assert guest("fd_pread", writer, *guest.iovs(1), 0, OUT) == "BADF"
    assert guest("fd_read", neither, *guest.iovs(1), OUT) == "BADF"
    assert guest("fd_write", neither, *guest.iovs(1), OUT) == "BADF"
    assert guest("fd_filestat_set_size", reader, 5) == "INVAL"
    assert guest("fd_filestat_get", neither, OUT) == "SUCCESS"
    assert guest("fd_seek", neither, 0, 0, OUT) == "SUCCESS"


def test_sizes(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    assert guest("fd_filestat_set_size", fd, 100) == "SUCCESS"
    assert guest.stat("f").size == 100
    assert guest("fd_filestat_set_size", fd, 10) == "SUCCESS"
    assert guest("fd_filestat_set_size", fd, 1 << 63) == "INVAL"
    assert guest("fd_allocate", fd, 0, 0) == "INVAL"
    assert guest("fd_allocate", fd, 5, 20) == "SUCCESS"
    assert guest.stat("f").size == 25
    assert guest("fd_allocate", fd, 0, 10) == "SUCCESS"
    assert guest.stat("f").size == 25
    assert guest("fd_allocate", fd, 1 << 63, 10) == "INVAL"


def test_sync_and_advise(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    assert guest("fd_sync", fd) == "SUCCESS"
    assert guest("fd_datasync", fd) == "SUCCESS"
    for advice in range(6):
        assert guest("fd_advise", fd, 0, 100, advice) == "SUCCESS"
    assert guest("fd_advise", fd, 0, 100, 6) == "INVAL"


def test_times(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    assert guest("fd_filestat_set_times", fd, 10, 20, 1 | 4) == "SUCCESS"
    assert guest.stat("f")[5:7] == (10, 20)
    assert guest("fd_filestat_set_times", fd, 30, 99, 1) == "SUCCESS"
    assert guest.stat("f")[5:7] == (30, 20)
    assert guest("fd_filestat_set_times", fd, 0, 0, 8) == "SUCCESS"
    assert guest.stat("f").atim == 30
    assert guest.stat("f").mtim > 1 << 60
    for bad in (1 | 2, 4 | 8, 16):
        assert guest("fd_filestat_set_times", fd, 0, 0, bad) == "INVAL"


def test_contents_of_a_directory_are_not_bytes(guest: Guest) -> None:
    iovs = guest.iovs(4)
    for name, *arguments in (
        ("fd_read", *iovs, OUT),
        ("fd_pread", *iovs, 0, OUT),
        ("fd_write", *iovs, OUT),
        ("fd_pwrite", *iovs, 0, OUT),
        ("fd_seek", 0, 0, OUT),
        ("fd_tell", OUT),
        ("fd_advise", 0, 0, 0),
        ("fd_allocate", 0, 1),
        ("fd_sync",),
        ("fd_datasync",),
        ("fd_fdstat_set_flags", NONBLOCK),
        ("fd_filestat_set_size", 0),
    ):
        assert guest(str(name), 3, *map(int, arguments)) == "BADF", name


def test_lowest_free_number_and_renumber(guest: Guest) -> None:
    a, b, c = (guest.open(name, oflags=CREAT) for name in "abc")
    assert (a, b, c) == (4, 5, 6)
    guest.write(c, b"c")
    assert guest("fd_close", a) == "SUCCESS"
    assert guest("fd_close", a) == "BADF"
    assert guest.open("d", oflags=CREAT) == 4
    assert guest("fd_renumber", c, b) == "SUCCESS"
    assert guest.tell(b) == 1
    assert guest("fd_tell", c, OUT) == "BADF"
    assert guest("fd_renumber", c, b) == "BADF"
    assert guest("fd_renumber", b, 50) == "BADF"
    assert guest("fd_renumber", b, b) == "SUCCESS"
    assert guest.open("e", oflags=CREAT) == 6
    assert guest("fd_renumber", b, 3) == "SUCCESS"
    assert guest.tell(3) == 1
    assert guest.try_open("a") == "NOTDIR"


def test_a_preopen_can_be_closed(guest: Guest) -> None:
    assert guest("fd_close", 3) == "SUCCESS"
    assert guest("fd_prestat_get", 3, OUT) == "BADF"


def test_rights_can_only_shrink(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    assert guest("fd_fdstat_get", fd, OUT) == "SUCCESS"
    base, inheriting = guest.memory.u64(OUT + 8), guest.memory.u64(OUT + 16)
    assert guest("fd_fdstat_set_rights", fd, base & ~4, inheriting) == "SUCCESS"
    assert guest("fd_seek", fd, 0, 0, OUT) == "NOTCAPABLE"
    assert guest("fd_tell", fd, OUT) == "SUCCESS"
    assert guest("fd_fdstat_set_rights", fd, base, inheriting) == "NOTCAPABLE"
    assert guest("fd_fdstat_set_rights", 77, 0, 0) == "BADF"


def test_inheriting_rights_bound_what_is_opened(guest: Guest) -> None:
    guest.open("f", oflags=CREAT)
    assert guest("fd_fdstat_get", 3, OUT) == "SUCCESS"
    base, inheriting = guest.memory.u64(OUT + 8), guest.memory.u64(OUT + 16)
    assert guest("fd_fdstat_set_rights", 3, base & ~(1 << 19), inheriting & ~64) == "SUCCESS"
    assert guest.try_open("f", rights=RIGHTS_WRITE) == "NOTCAPABLE"
    assert guest.try_open("f", rights=RIGHTS_READ, oflags=TRUNC) == "NOTCAPABLE"
    assert guest.try_open("f", rights=RIGHTS_READ) == "SUCCESS"


def test_readdir_with_buffers_of_any_size(guest: Guest) -> None:
    names = {f"file.{i}".encode() * (1 + i % 3) for i in range(300)}
    for name in names:
        guest.make(name)
    for size in (24 + 64, 100, 333, 4096, 1 << 16):
        seen: list[bytes] = []
        cookie = 0
        while True:
            entries = guest.readdir(3, size, cookie)
            used = guest.memory.u32(OUT)
            seen += [name for _, name in entries]
            if used < size:
                break
            assert entries, "the buffer takes at least one entry"
            cookie = entries[-1][0]
        assert seen == [b".", b"..", *sorted(names)]
    assert guest.readdir(3, 100, 302) == []
    assert guest.readdir(3, 100, (1 << 64) - 1) == []
    assert guest("fd_readdir", 3, DATA, 0, 0, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == 0


def test_a_directory_with_twenty_thousand_entries(guest: Guest) -> None:
    for i in range(20_000):
        guest.make(f"{i:05}")
    count, cookie = 0, 0
    while entries := guest.readdir(3, 4096, cookie):
        count += len(entries)
        cookie = entries[-1][0]
    assert count == cookie == 20_002


def test_readdir_position_survives_changes(guest: Guest) -> None:
    for name in "abcd":
        guest.make(name)
    cookie = guest.readdir(3)[3][0]
    assert guest("path_unlink_file", 3, *guest.path("a")) == "SUCCESS"
    guest.make("0")
    assert [n for _, n in guest.readdir(3, cookie=cookie)] == [b"c", b"d"]
    assert [n for _, n in guest.readdir(3)] == [b".", b"..", b"0", b"b", b"c", b"d"]


def test_readdir_of_a_file(guest: Guest) -> None:
    fd = guest.open("f", oflags=CREAT)
    assert guest("fd_readdir", fd, DATA, 100, 0, OUT) == "NOTDIR"
    assert guest("fd_readdir", 99, DATA, 100, 0, OUT) == "BADF"


def test_a_thousand_descriptors_and_ten_thousand_opens(guest: Guest) -> None:
    guest.open("f", oflags=CREAT)
    fds = [guest.open("f") for _ in range(1000)]
    assert fds == list(range(5, 1005))
    for fd in fds:
        assert guest("fd_close", fd) == "SUCCESS"
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10_000):
        assert guest("fd_close", guest.open("f")) == "SUCCESS"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("mapping", ["/", ".", "/data/a b"])
def test_guest_paths_of_mappings(make_guest: MakeGuest, tmp_path: Path, mapping: str) -> None:
    guest = make_guest(Mapping(str(tmp_path), mapping))
    assert guest("fd_prestat_dir_name", 3, OUT, 20) == "SUCCESS"
    assert guest.memory.read(OUT, len(mapping)) == mapping.encode()
