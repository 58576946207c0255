"""fd_*: files and directories through descriptors, the same for every kind of mapping."""

from __future__ import annotations

import errno
import os
import random
import struct
from pathlib import Path

import pytest

from wasnap.host import Mapping

from .conftest import MakeGuest
from .fakes import (
    DATA,
    DIRECTORY,
    IOVS,
    OUT,
    REGULAR,
    RIGHTS_READ,
    RIGHTS_WRITE,
    SYMLINK,
    Guest,
    open_descriptors,
)

CREAT, O_DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = 1, 2, 4, 8, 16
SET, CUR, END = 0, 1, 2
FD_SEEK, FD_TELL = 1 << 2, 1 << 5
GIB = 1 << 30


def rights(guest: Guest, fd: int) -> tuple[int, int]:
    """Base and inheriting rights."""
    assert guest("fd_fdstat_get", fd, OUT) == "SUCCESS"
    return guest.memory.u64(OUT + 8), guest.memory.u64(OUT + 16)


def give_up(guest: Guest, fd: int, lost: int) -> None:
    base, inheriting = rights(guest, fd)
    assert guest("fd_fdstat_set_rights", fd, base & ~lost, inheriting) == "SUCCESS"


# -- contents -----------------------------------------------------------------------------------


def test_read_and_write_gather_and_scatter(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    iovs = anywhere.iovs(1, 0, 2, 3, data=b"abcdef")
    with anywhere.writes((OUT, struct.pack("<I", 6))):
        assert anywhere("fd_write", fd, *iovs, OUT) == "SUCCESS"
    assert anywhere.seek(fd, 0) == 0
    iovs = anywhere.iovs(2, 3, data=b"\xa5" * 8)
    with anywhere.writes((DATA, b"abcde"), (OUT, struct.pack("<I", 5))):
        assert anywhere("fd_read", fd, *iovs, OUT) == "SUCCESS"
    assert anywhere.read(fd, 10) == b"f"
    assert anywhere.read(fd, 10) == b""


def test_no_buffers_and_empty_buffers(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    anywhere.write(fd, b"data")
    anywhere.seek(fd, 1)
    for count, lengths in ((0, ()), (1, (0,)), (3, (0, 0, 0))):
        at, _ = anywhere.iovs(*lengths)
        for name, *offset in (("fd_read",), ("fd_write",), ("fd_pread", 50), ("fd_pwrite", 50)):
            with anywhere.writes((OUT, bytes(4))):
                assert anywhere(str(name), fd, at, count, *map(int, offset), OUT) == "SUCCESS"
    assert anywhere.tell(fd) == 1
    assert anywhere.fd_stat(fd).size == 4


def test_more_buffers_than_the_kernel_takes_give_a_short_count(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    count = 1500
    for i in range(count):
        anywhere.memory.write(DATA + 8 * i, struct.pack("<II", 0, 1))
    assert anywhere("fd_write", fd, DATA, count, OUT) == "SUCCESS"
    assert anywhere.memory.u32(OUT) == 1024


def test_buffers_that_overlap(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    anywhere.memory.write(DATA, b"abcd")
    anywhere.memory.write(IOVS, struct.pack("<IIIIII", DATA, 4, DATA + 1, 2, DATA, 1))
    assert anywhere("fd_write", fd, IOVS, 3, OUT) == "SUCCESS"
    assert anywhere.content("f") == b"abcdbca"


def test_buffers_outside_memory(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    size = anywhere.memory.size
    for bad in ((size, 1), (size - 1, 2), (0xFFFFFFFF, 0xFFFFFFFF), (0, size + 1)):
        anywhere.memory.write(IOVS, struct.pack("<IIII", DATA, 1, *bad))
        for name, *offset in (("fd_read",), ("fd_write",), ("fd_pread", 0), ("fd_pwrite", 0)):
            assert anywhere(str(name), fd, IOVS, 2, *map(int, offset), OUT) == "FAULT"
    assert anywhere("fd_write", fd, size - 7, 1, OUT) == "FAULT"
    assert anywhere("fd_write", fd, IOVS, 0x20000000, OUT) == "FAULT"
    assert anywhere.fd_stat(fd).size == 0


def test_pread_and_pwrite_do_not_move(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    anywhere.write(fd, b"0123456789")
    assert anywhere("fd_pwrite", fd, *anywhere.iovs(2, data=b"xy"), 4, OUT) == "SUCCESS"
    assert anywhere("fd_pread", fd, *anywhere.iovs(4), 3, OUT) == "SUCCESS"
    assert anywhere.memory.read(DATA, 4) == b"3xy6"
    assert anywhere("fd_pread", fd, *anywhere.iovs(4), 8, OUT) == "SUCCESS"
    assert anywhere.memory.u32(OUT) == 2
    assert anywhere("fd_pread", fd, *anywhere.iovs(4), 99, OUT) == "SUCCESS"
    assert anywhere.memory.u32(OUT) == 0
    assert anywhere.tell(fd) == 10
    for name in ("fd_pread", "fd_pwrite"):
        for bad in (1 << 63, (1 << 64) - 1):
            assert anywhere(name, fd, *anywhere.iovs(4), bad, OUT) == "INVAL"
    assert anywhere("fd_pwrite", fd, *anywhere.iovs(1, data=b"!"), 12, OUT) == "SUCCESS"
    assert anywhere.content("f") == b"0123xy6789\0\0!"


def test_seek(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    anywhere.write(fd, b"0123456789")
    assert anywhere.seek(fd, -3, END) == 7
    assert anywhere.seek(fd, 1, CUR) == 8
    assert anywhere.seek(fd, 20, SET) == 20
    assert anywhere.tell(fd) == 20
    assert anywhere.read(fd, 1) == b""
    with anywhere.writes():
        assert anywhere("fd_seek", fd, (1 << 64) - 1, SET, OUT) == "INVAL"
        assert anywhere("fd_seek", fd, (1 << 64) - 11, END, OUT) == "INVAL"
        assert anywhere("fd_seek", fd, (1 << 64) - 21, CUR, OUT) == "INVAL"
        for whence in (3, 255, 256, 0xFFFFFFFF):
            assert anywhere("fd_seek", fd, 0, whence, OUT) == "INVAL"
        assert anywhere("fd_seek", 99, 0, 0, OUT) == "BADF"
    assert anywhere.tell(fd) == 20
    anywhere.write(fd, b"far")
    assert anywhere.content("f") == b"0123456789" + bytes(10) + b"far"


def test_a_sparse_file_of_five_gib(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    assert anywhere("fd_filestat_set_size", fd, 5 * GIB) == "SUCCESS"
    assert anywhere.fd_stat(fd).size == 5 * GIB
    assert anywhere.seek(fd, 0, END) == 5 * GIB
    anywhere.write(fd, b"end")
    assert anywhere("fd_pwrite", fd, *anywhere.iovs(2, data=b"4G"), 4 * GIB - 1, OUT) == "SUCCESS"
    assert anywhere.seek(fd, -3, END) == 5 * GIB
    assert anywhere.read(fd, 9) == b"end"
    assert anywhere("fd_pread", fd, *anywhere.iovs(4), 4 * GIB - 2, OUT) == "SUCCESS"
    assert anywhere.memory.read(DATA, 4) == b"\x004G\0"
    assert anywhere("fd_pread", fd, *anywhere.iovs(4), 3 * GIB, OUT) == "SUCCESS"
    assert anywhere.memory.read(DATA, 4) == bytes(4)
    assert anywhere.stat("f").size == 5 * GIB + 3
    assert anywhere("fd_filestat_set_size", fd, 4 * GIB) == "SUCCESS"
    assert anywhere.seek(fd, 0, END) == 4 * GIB
    assert anywhere("fd_pread", fd, *anywhere.iovs(4), 4 * GIB - 2, OUT) == "SUCCESS"
    assert anywhere.memory.u32(OUT) == 2
    assert anywhere.memory.read(DATA, 2) == b"\x004"


def test_append_can_be_set_and_cleared(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT, fdflags=APPEND)
    anywhere.write(fd, b"one")
    anywhere.seek(fd, 0)
    anywhere.write(fd, b"two")
    assert anywhere.tell(fd) == 6
    assert anywhere("fd_fdstat_set_flags", fd, 0) == "SUCCESS"
    anywhere.seek(fd, 0)
    anywhere.write(fd, b"ONE")
    assert anywhere("fd_fdstat_set_flags", fd, APPEND | NONBLOCK) == "SUCCESS"
    assert anywhere("fd_fdstat_get", fd, OUT) == "SUCCESS"
    assert anywhere.memory.u16(OUT + 2) == APPEND | NONBLOCK
    anywhere.write(fd, b"end")
    assert anywhere.content("f") == b"ONEtwoend"
    for flag in (DSYNC, RSYNC, SYNC, 32, 0xFFFF):
        assert anywhere("fd_fdstat_set_flags", fd, flag) == "INVAL"


def test_append_goes_to_the_end_that_is_there_now(anywhere: Guest) -> None:
    a = anywhere.open("f", oflags=CREAT, fdflags=APPEND)
    b = anywhere.open("f", fdflags=APPEND)
    for fd, data in ((a, b"1"), (b, b"2"), (a, b"3")):
        anywhere.write(fd, data)
    assert anywhere("fd_filestat_set_size", a, 2) == "SUCCESS"
    anywhere.write(b, b"4")
    assert anywhere.content("f") == b"124"


def test_pwrite_to_a_file_that_appends(anywhere: Guest) -> None:
    """To the end, whatever the offset, as Linux and other runtimes do."""
    fd = anywhere.open("f", oflags=CREAT, fdflags=APPEND)
    for offset in (50, 0):
        assert anywhere("fd_pwrite", fd, *anywhere.iovs(1, data=b"x"), offset, OUT) == "SUCCESS"
    assert anywhere.content("f") == b"xx"


def test_offsets_belong_to_descriptors(anywhere: Guest) -> None:
    a = anywhere.open("f", oflags=CREAT)
    b = anywhere.open("f")
    anywhere.write(a, b"0123456789")
    assert anywhere.tell(b) == 0
    assert anywhere.read(b, 4) == b"0123"
    assert anywhere.tell(a) == 10


def test_what_it_was_not_opened_for(anywhere: Guest) -> None:
    anywhere.make("f", b"data")
    reader = anywhere.open("f", rights=RIGHTS_READ)
    writer = anywhere.open("f", rights=RIGHTS_WRITE)
    neither = anywhere.open("f", rights=0)
    iovs = anywhere.iovs(1)
    for fd in (reader, neither):
        assert anywhere("fd_write", fd, *iovs, OUT) == "BADF"
        assert anywhere("fd_pwrite", fd, *iovs, 0, OUT) == "BADF"
        assert anywhere("fd_filestat_set_size", fd, 5) == "INVAL"
        assert anywhere("fd_allocate", fd, 0, 5) == "BADF"
    for fd in (writer, neither):
        assert anywhere("fd_read", fd, *iovs, OUT) == "BADF"
        assert anywhere("fd_pread", fd, *iovs, 0, OUT) == "BADF"
    for fd in (reader, writer, neither):
        assert anywhere.fd_stat(fd).size == 4
        assert anywhere.seek(fd, 0) == 0
        assert anywhere("fd_filestat_set_times", fd, 1, 1, 5) == "SUCCESS"
        assert anywhere("fd_sync", fd) == "SUCCESS"


def test_sizes(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    anywhere.write(fd, b"data")
    assert anywhere("fd_filestat_set_size", fd, 100) == "SUCCESS"
    assert anywhere.content("f") == b"data" + bytes(96)
    assert anywhere("fd_filestat_set_size", fd, 2) == "SUCCESS"
    assert anywhere("fd_filestat_set_size", fd, 6) == "SUCCESS"
    assert anywhere.content("f") == b"da" + bytes(4)
    assert anywhere.tell(fd) == 4
    assert anywhere("fd_filestat_set_size", fd, 1 << 63) == "INVAL"
    assert anywhere("fd_allocate", fd, 0, 0) == "INVAL"
    assert anywhere("fd_allocate", fd, 5, 20) == "SUCCESS"
    assert anywhere.stat("f").size == 25
    assert anywhere("fd_allocate", fd, 0, 10) == "SUCCESS"
    assert anywhere.content("f") == b"da" + bytes(23)
    assert anywhere("fd_allocate", fd, 1 << 63, 10) == "INVAL"


def test_sync_and_advise(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    assert anywhere("fd_sync", fd) == "SUCCESS"
    assert anywhere("fd_datasync", fd) == "SUCCESS"
    for advice in range(6):
        assert anywhere("fd_advise", fd, 0, 100, advice) == "SUCCESS"
    for advice in (6, 0xFF, 0xFFFFFFFF):
        assert anywhere("fd_advise", fd, 0, 100, advice) == "INVAL"
    assert anywhere.fd_stat(fd).size == 0


def test_times(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    assert anywhere("fd_filestat_set_times", fd, 10, 20, 1 | 4) == "SUCCESS"
    assert anywhere.fd_stat(fd)[5:7] == (10, 20)
    assert anywhere("fd_filestat_set_times", fd, 30, 99, 1) == "SUCCESS"
    assert anywhere.stat("f")[5:7] == (30, 20)
    assert anywhere("fd_filestat_set_times", fd, 0, 0, 8) == "SUCCESS"
    assert anywhere.fd_stat(fd).atim == 30
    assert anywhere.fd_stat(fd).mtim > 1 << 60
    for bad in (1 | 2, 4 | 8, 16):
        assert anywhere("fd_filestat_set_times", fd, 0, 0, bad) == "INVAL"


def test_times_far_away(anywhere: Guest) -> None:
    """A file system may move them to those that it has, but nothing else comes of it."""
    fd = anywhere.open("f", oflags=CREAT)
    at = anywhere.path("f")
    for far in (1 << 63, (1 << 64) - 1):
        assert anywhere("fd_filestat_set_times", fd, far, far, 1 | 4) == "SUCCESS"
        assert anywhere("path_filestat_set_times", 3, 0, *at, far, far, 1 | 4) == "SUCCESS"
        assert anywhere.fd_stat(fd).mtim > 1 << 62
        assert anywhere.write(fd, b"later") == 5


def test_contents_against_a_model(anywhere: Guest) -> None:
    """Random reads, writes, seeks and sizes, through several descriptors of one file."""
    seed = 1
    chance = random.Random(seed)
    anywhere.make("f")
    fds = [anywhere.open("f") for _ in range(3)]
    at = dict.fromkeys(fds, 0)
    model = bytearray()
    for step in range(400):
        fd = chance.choice(fds)
        data = chance.randbytes(chance.choice((0, 1, 7, 5000)))
        where = chance.choice((0, 3, len(model), len(model) + 9, chance.randrange(20_000)))
        match chance.randrange(6):
            case 0:
                anywhere.write(fd, data)
                model = overwritten(model, at[fd], data)
                at[fd] += len(data)
            case 1:
                expected = model[at[fd] : at[fd] + len(data)]
                assert anywhere.read(fd, len(data)) == expected, (seed, step)
                at[fd] += len(expected)
            case 2:
                at[fd] = anywhere.seek(fd, where)
            case 3:
                iovs = anywhere.iovs(len(data), data=data)
                assert anywhere("fd_pwrite", fd, *iovs, where, OUT) == "SUCCESS"
                model = overwritten(model, where, data)
            case 4:
                assert anywhere("fd_pread", fd, *anywhere.iovs(len(data)), where, OUT) == "SUCCESS"
                found = anywhere.memory.read(DATA, anywhere.memory.u32(OUT))
                assert found == model[where : where + len(data)], (seed, step)
            case 5:
                size = chance.choice((where, len(model)))
                assert anywhere("fd_filestat_set_size", fd, size) == "SUCCESS"
                model = model[:size].ljust(size, b"\0")
        assert anywhere.fd_stat(fd).size == len(model), (seed, step)
    assert anywhere.content("f") == model


def overwritten(content: bytearray, at: int, data: bytes) -> bytearray:
    if not data:
        return content
    return content[:at].ljust(at, b"\0") + data + content[at + len(data) :]


# -- descriptors --------------------------------------------------------------------------------


def test_contents_of_a_directory_are_not_bytes(anywhere: Guest) -> None:
    iovs = anywhere.iovs(4)
    for name, *arguments in (
        ("fd_read", *iovs, OUT),
        ("fd_pread", *iovs, 0, OUT),
        ("fd_write", *iovs, OUT),
        ("fd_pwrite", *iovs, 0, OUT),
        ("fd_seek", 0, 0, OUT),
        ("fd_seek", 0, 1, OUT),
        ("fd_tell", OUT),
        ("fd_advise", 0, 0, 0),
        ("fd_allocate", 0, 1),
        ("fd_sync",),
        ("fd_datasync",),
        ("fd_fdstat_set_flags", NONBLOCK),
        ("fd_filestat_set_size", 0),
    ):
        assert anywhere(str(name), 3, *map(int, arguments)) == "BADF", name


def test_descriptors_that_are_not_open(anywhere: Guest) -> None:
    iovs = anywhere.iovs(1)
    for fd in (4, 99, 1 << 31, 0xFFFFFFFF):
        for name, *arguments in (
            ("fd_advise", 0, 0, 0),
            ("fd_allocate", 0, 1),
            ("fd_close",),
            ("fd_datasync",),
            ("fd_fdstat_get", OUT),
            ("fd_fdstat_set_flags", 0),
            ("fd_fdstat_set_rights", 0, 0),
            ("fd_filestat_get", OUT),
            ("fd_filestat_set_size", 0),
            ("fd_filestat_set_times", 0, 0, 0),
            ("fd_pread", *iovs, 0, OUT),
            ("fd_prestat_get", OUT),
            ("fd_prestat_dir_name", OUT, 4),
            ("fd_pwrite", *iovs, 0, OUT),
            ("fd_read", *iovs, OUT),
            ("fd_readdir", DATA, 100, 0, OUT),
            ("fd_renumber", 3),
            ("fd_seek", 0, 0, OUT),
            ("fd_sync",),
            ("fd_tell", OUT),
            ("fd_write", *iovs, OUT),
            ("sock_recv", *iovs, 0, OUT, OUT),
            ("sock_send", *iovs, 0, OUT),
            ("sock_shutdown", 1),
        ):
            with anywhere.writes():
                assert anywhere(str(name), fd, *map(int, arguments)) == "BADF", name
        assert anywhere("fd_renumber", 3, fd) == "BADF"


def test_lowest_free_number_and_renumber(anywhere: Guest) -> None:
    a, b, c = (anywhere.open(name, oflags=CREAT) for name in "abc")
    assert (a, b, c) == (4, 5, 6)
    anywhere.write(c, b"c")
    anywhere.close(a)
    assert anywhere("fd_close", a) == "BADF"
    assert anywhere.open("d", oflags=CREAT) == 4
    assert anywhere("fd_renumber", c, b) == "SUCCESS"
    assert anywhere.tell(b) == 1
    assert anywhere("fd_tell", c, OUT) == "BADF"
    assert anywhere("fd_renumber", c, b) == "BADF"
    assert anywhere("fd_renumber", b, 50) == "BADF"
    assert anywhere("fd_renumber", b, b) == "SUCCESS"
    assert anywhere.open("e", oflags=CREAT) == 6
    assert anywhere("fd_renumber", b, 3) == "SUCCESS"
    assert anywhere.tell(3) == 1
    assert anywhere.try_open("a") == "NOTDIR"


def test_renumber_closes_what_it_replaces(anywhere: Guest) -> None:
    anywhere.make("f")
    fd = anywhere.open("f")
    before = open_descriptors()
    for _ in range(2000):
        new = anywhere.open("f")
        assert anywhere("fd_renumber", fd, new) == "SUCCESS"
        fd = new
    assert open_descriptors() == before


def test_a_preopen_can_be_closed_and_replaced(anywhere: Guest) -> None:
    anywhere.make_directory("d")
    fd = anywhere.open("d", rights=RIGHTS_READ)
    assert anywhere("fd_renumber", fd, 3) == "SUCCESS"
    assert anywhere("fd_prestat_get", 3, OUT) == "BADF"
    anywhere.make("inside")
    assert anywhere.names() == [b"inside"]
    anywhere.close(3)
    assert anywhere("fd_filestat_get", 3, OUT) == "BADF"


def test_rights_can_only_shrink(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    base, inheriting = rights(anywhere, fd)
    give_up(anywhere, fd, FD_SEEK)
    assert anywhere("fd_seek", fd, 0, SET, OUT) == "NOTCAPABLE"
    assert anywhere("fd_seek", fd, 1, CUR, OUT) == "NOTCAPABLE"
    assert anywhere("fd_pread", fd, *anywhere.iovs(1), 0, OUT) == "NOTCAPABLE"
    assert anywhere("fd_fdstat_set_rights", fd, base, inheriting) == "NOTCAPABLE"
    assert rights(anywhere, fd) == (base & ~FD_SEEK, inheriting)
    assert anywhere("fd_fdstat_set_rights", fd, 0, 0) == "SUCCESS"
    assert rights(anywhere, fd) == (0, 0)


def test_the_right_to_seek_is_the_right_to_tell(anywhere: Guest) -> None:
    """And a seek that does not move only tells."""
    fd = anywhere.open("f", oflags=CREAT)
    anywhere.write(fd, b"data")
    give_up(anywhere, fd, FD_TELL)
    assert anywhere.tell(fd) == 4
    give_up(anywhere, fd, FD_SEEK)
    assert anywhere("fd_tell", fd, OUT) == "NOTCAPABLE"
    assert anywhere("fd_seek", fd, 0, CUR, OUT) == "NOTCAPABLE"
    fd = anywhere.open("f")
    give_up(anywhere, fd, FD_SEEK)
    assert anywhere.tell(fd) == anywhere.seek(fd, 0, CUR) == 0


CALLS: dict[int, tuple[str, tuple[int, ...]]] = {
    0: ("fd_datasync", ()),
    1: ("fd_read", (IOVS, 0, OUT)),
    2: ("fd_seek", (0, 0, OUT)),
    3: ("fd_fdstat_set_flags", (0,)),
    4: ("fd_sync", ()),
    6: ("fd_write", (IOVS, 0, OUT)),
    7: ("fd_advise", (0, 0, 0)),
    8: ("fd_allocate", (0, 1)),
    21: ("fd_filestat_get", (OUT,)),
    22: ("fd_filestat_set_size", (0,)),
    23: ("fd_filestat_set_times", (0, 0, 0)),
}
"""The right's bit -> a call that needs it."""


def test_each_function_needs_its_right(anywhere: Guest) -> None:
    for bit, (name, arguments) in CALLS.items():
        fd = anywhere.open("f", oflags=CREAT)
        assert anywhere(name, fd, *arguments) == "SUCCESS"
        give_up(anywhere, fd, 1 << bit)
        expected = "BADF" if name in ("fd_read", "fd_write") else "NOTCAPABLE"
        assert anywhere(name, fd, *arguments) == expected, name


def test_inheriting_rights_bound_what_is_opened(anywhere: Guest) -> None:
    anywhere.make("f")
    anywhere.make_directory("d")
    base, inheriting = rights(anywhere, 3)
    fewer = inheriting & ~(RIGHTS_WRITE | 1 << 23)
    assert anywhere("fd_fdstat_set_rights", 3, base, fewer) == "SUCCESS"
    assert anywhere.try_open("f", rights=RIGHTS_WRITE) == "NOTCAPABLE"
    below = anywhere.open("d", rights=RIGHTS_READ)
    assert rights(anywhere, below)[1] == fewer
    assert anywhere.try_open("f", fd=below, oflags=CREAT, rights=RIGHTS_WRITE) == "NOTCAPABLE"
    fd = anywhere.open("f", rights=RIGHTS_READ)
    assert anywhere("fd_filestat_set_times", fd, 0, 0, 0) == "NOTCAPABLE"


def test_a_thousand_descriptors_and_ten_thousand_opens(anywhere: Guest, share: int) -> None:
    anywhere.make("f", b"data")
    anywhere.make_directory("d")
    fds = [anywhere.open("f") for _ in range(1000)]
    fds += [anywhere.open("d", rights=RIGHTS_READ) for _ in range(24)]
    assert fds == list(range(4, 1028))
    for i, fd in enumerate(fds[:1000]):
        anywhere.seek(fd, i)
    for i, fd in enumerate(fds[:1000]):
        assert anywhere.tell(fd) == i
    for fd in fds:
        anywhere.close(fd)
    before = open_descriptors()
    for _ in range(10_000 // share):
        anywhere.close(anywhere.open("f"))
    assert open_descriptors() == before


# -- directories --------------------------------------------------------------------------------


def test_readdir_with_buffers_of_any_size(anywhere: Guest) -> None:
    names = {f"file.{i}".encode() * (1 + i % 3) for i in range(300)}
    for name in names:
        anywhere.make(name)
    for size in (24 + 64, 100, 333, 4096, 1 << 16):
        seen: list[bytes] = []
        cookie = 0
        while True:
            entries = anywhere.readdir(3, size, cookie)
            used = anywhere.memory.u32(OUT)
            seen += [name for _, name in entries]
            if used < size:
                break
            assert entries, "the buffer takes at least one entry"
            cookie = entries[-1][0]
        assert len(seen) == len(set(seen))
        assert set(seen) == {b".", b"..", *names}
    assert anywhere.readdir(3, 100, (1 << 64) - 1) == []


def test_readdir_cuts_the_last_entry_off(anywhere: Guest) -> None:
    """Whatever the buffer's size it is filled; so a guest knows that there is more."""
    anywhere.make("x" * 200)
    assert anywhere("fd_readdir", 3, DATA, 4096, 0, OUT) == "SUCCESS"
    whole = anywhere.memory.read(DATA, anywhere.memory.u32(OUT))
    assert len(whole) == 3 * 24 + 1 + 2 + 200
    for size in range(len(whole) + 2):
        anywhere.memory.write(DATA, b"\xa5" * 4096)
        expected = whole[:size]
        with anywhere.writes((DATA, expected), (OUT, struct.pack("<I", len(expected)))):
            assert anywhere("fd_readdir", 3, DATA, size, 0, OUT) == "SUCCESS"


def test_readdir_tells_types_and_inodes(anywhere: Guest) -> None:
    anywhere.make("f")
    anywhere.make_directory("d")
    anywhere.make_link("nowhere", "l")
    fd = anywhere.open("d", rights=RIGHTS_READ)
    anywhere.make("inside", fd=fd)
    found = {}
    for directory in (3, fd):
        assert anywhere("fd_readdir", directory, DATA, 4096, 0, OUT) == "SUCCESS"
        data = anywhere.memory.read(DATA, anywhere.memory.u32(OUT))
        while data:
            _, inode, length, kind, pad = struct.unpack_from("<QQIB3s", data)
            assert pad == bytes(3)
            found[directory, data[24 : 24 + length]] = (inode, kind)
            data = data[24 + length :]
    root = anywhere.fd_stat(3).ino
    assert found == {
        (3, b"."): (root, DIRECTORY),
        (3, b".."): (root, DIRECTORY),
        (3, b"f"): (anywhere.stat("f").ino, REGULAR),
        (3, b"d"): (anywhere.stat("d").ino, DIRECTORY),
        (3, b"l"): (anywhere.stat("l").ino, SYMLINK),
        (fd, b"."): (anywhere.stat("d").ino, DIRECTORY),
        (fd, b".."): (root, DIRECTORY),
        (fd, b"inside"): (anywhere.stat("d/inside").ino, REGULAR),
    }
    below = anywhere.open("d/..", rights=RIGHTS_READ)
    assert anywhere("fd_readdir", below, DATA, 100, 0, OUT) == "SUCCESS"
    assert anywhere.memory.u64(DATA + 25 + 8) == root


def test_a_directory_with_twenty_thousand_entries(anywhere: Guest, share: int) -> None:
    entries_total = 20_000 // share
    anywhere.make("0")
    at, new = anywhere.path("0"), anywhere.path("00001", 0x1100)
    for i in range(1, entries_total):
        anywhere.memory.write(new[0], b"%05d" % i)
        assert anywhere.raw("path_link", 3, 0, *at, 3, *new) == 0
    count, cookie = 0, 0
    while entries := anywhere.readdir(3, 4096, cookie):
        count += len(entries)
        cookie = entries[-1][0]
    assert count == entries_total + 2


def test_readdir_position_survives_changes(anywhere: Guest) -> None:
    """What was not told yet is told once, whatever is removed or added; from 0 all is as it is."""
    for name in "abcd":
        anywhere.make(name)
    cookie = anywhere.readdir(3)[3][0]
    rest = {n for _, n in anywhere.readdir(3, cookie=cookie)}
    assert len(rest) == 2
    gone = ({b"a", b"b", b"c", b"d"} - rest).pop()
    assert anywhere("path_unlink_file", 3, *anywhere.path(gone)) == "SUCCESS"
    anywhere.make("0")
    assert {n for _, n in anywhere.readdir(3, cookie=cookie)} == rest
    names = {n for _, n in anywhere.readdir(3)}
    assert names == {b".", b"..", b"0", b"a", b"b", b"c", b"d"} - {gone}


def test_two_descriptors_of_one_directory_are_read_alone(anywhere: Guest) -> None:
    for name in "abc":
        anywhere.make(name)
    a, b = (anywhere.open(".", rights=RIGHTS_READ) for _ in range(2))
    cookie = anywhere.readdir(a)[2][0]
    anywhere.make("d")
    assert len(anywhere.readdir(b)) == 6
    assert len(anywhere.readdir(a, cookie=cookie)) == 2


def test_readdir_of_a_file(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    assert anywhere("fd_readdir", fd, DATA, 100, 0, OUT) == "NOTDIR"


@pytest.mark.parametrize("mapping", ["/", ".", "/data/a b", "ü"])
def test_guest_paths_of_mappings(make_guest: MakeGuest, tmp_path: Path, mapping: str) -> None:
    guest = make_guest(Mapping(str(tmp_path), mapping))
    name = mapping.encode()
    assert guest("fd_prestat_get", 3, OUT) == "SUCCESS"
    assert guest.memory.read(OUT, 8) == struct.pack("<B3xI", 0, len(name))
    for size in (len(name), len(name) + 5):
        guest.memory.write(OUT, b"\xa5" * 32)
        with guest.writes((OUT, name)):
            assert guest("fd_prestat_dir_name", 3, OUT, size) == "SUCCESS"
    assert guest("fd_prestat_dir_name", 3, OUT, len(name) - 1) == "NAMETOOLONG"
    assert guest("fd_prestat_dir_name", 0, OUT, 9) == "NOTDIR"
    assert guest("fd_prestat_get", 0, OUT) == "BADF"


def test_a_full_disk_is_an_errno(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = guest.open("f", oflags=CREAT)

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "writev", full)
    assert guest("fd_write", fd, *guest.iovs(1), OUT) == "NOSPC"
