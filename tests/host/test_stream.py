"""Pipes and terminals: blocking calls meet stops, and no byte goes out or comes in twice."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasnap.host import stream

from .conftest import MakeGuest
from .fakes import DATA, OUT, RIGHTS_READ, RIGHTS_WRITE, Guest

NONBLOCK = 4
BIG = 150_000
"""More than a pipe takes (64 KiB)."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for fd in (read_end, write_end):
        try:
            os.close(fd)
        except OSError:
            assert fd  # the test closed it


@pytest.fixture(params=["own descriptor", "small writes"])
def writing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of writing to pipes."""
    if request.param == "small writes":
        monkeypatch.setattr(stream, "_open_again", lambda fileno: None)


def pattern(n: int) -> bytes:
    return bytes((i * 7 + i // 256) & 0xFF for i in range(n))


def test_a_read_waits_first_and_is_simply_done_again(
    make_guest: MakeGuest, pipe: tuple[int, int]
) -> None:
    guest = make_guest(stdin=pipe[0])
    iovs = guest.iovs(10)
    before = bytes(guest.memory.bytes)
    assert guest.suspended("fd_read", 0, *iovs, OUT) == {}
    assert guest.memory.bytes == before
    os.write(pipe[1], b"hello")
    assert guest.completed({}, "fd_read", 0, *iovs, OUT) == "SUCCESS"
    assert guest.memory.read(DATA, guest.memory.u32(OUT)) == b"hello"
    os.close(pipe[1])
    assert guest.read(0, 10) == b""


def test_nonblocking_reads(make_guest: MakeGuest, pipe: tuple[int, int]) -> None:
    guest = make_guest(stdin=pipe[0])
    assert guest("fd_fdstat_set_flags", 0, NONBLOCK) == "SUCCESS"
    assert guest("fd_read", 0, *guest.iovs(10), OUT) == "AGAIN"
    os.write(pipe[1], b"x")
    assert guest.read(0, 10) == b"x"
    assert os.get_blocking(pipe[0]), "the shared descriptor is left as it was"


def drain(fd: int, into: list[bytes], size: int) -> threading.Thread:
    def run() -> None:
        left = size
        while left:
            chunk = os.read(fd, min(left, 65_536))
            into.append(chunk)
            left -= len(chunk)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.usefixtures("writing")
def test_a_write_writes_all_of_it(make_guest: MakeGuest, pipe: tuple[int, int]) -> None:
    guest = make_guest(stdout=pipe[1])
    received: list[bytes] = []
    data = pattern(BIG)
    thread = drain(pipe[0], received, BIG)
    iovs = guest.iovs(1, 50_000, 0, BIG - 50_001, data=data)
    assert guest("fd_write", 1, *iovs, OUT) == "SUCCESS"
    thread.join()
    assert guest.memory.u32(OUT) == BIG
    assert b"".join(received) == data
    assert os.get_blocking(pipe[1])


@pytest.mark.usefixtures("writing")
def test_a_write_that_was_stopped_goes_on_where_it_was(
    make_guest: MakeGuest, pipe: tuple[int, int]
) -> None:
    guest = make_guest(stdout=pipe[1])
    data = pattern(BIG)
    iovs = guest.iovs(100_000, BIG - 100_000, data=data)
    progress = guest.suspended("fd_write", 1, *iovs, OUT)
    assert 0 < progress["written"] < BIG
    received: list[bytes] = []
    again = guest.call.progress = progress
    received.append(os.read(pipe[0], 20_000))
    more = guest.suspended("fd_write", 1, *iovs, OUT)
    assert more["written"] > again["written"]
    thread = drain(pipe[0], received, BIG - 20_000)
    assert guest.completed(more, "fd_write", 1, *iovs, OUT) == "SUCCESS"
    thread.join()
    assert guest.memory.u32(OUT) == BIG
    assert b"".join(received) == data
    assert guest.host.capture().written["stdout"] == BIG


@pytest.mark.usefixtures("writing")
def test_nonblocking_writes(make_guest: MakeGuest, pipe: tuple[int, int]) -> None:
    guest = make_guest(stdout=pipe[1])
    assert guest("fd_fdstat_set_flags", 1, NONBLOCK) == "SUCCESS"
    assert guest("fd_write", 1, *guest.iovs(BIG, data=pattern(BIG)), OUT) == "SUCCESS"
    written = guest.memory.u32(OUT)
    assert 0 < written < BIG
    assert guest("fd_write", 1, *guest.iovs(BIG), OUT) == "AGAIN"
    assert os.read(pipe[0], BIG) == pattern(BIG)[:written]


@pytest.mark.usefixtures("writing")
def test_a_pipe_without_a_reader(make_guest: MakeGuest, pipe: tuple[int, int]) -> None:
    guest = make_guest(stdout=pipe[1])
    os.close(pipe[0])
    assert guest("fd_write", 1, *guest.iovs(5), OUT) == "PIPE"


def test_terminals(make_guest: MakeGuest) -> None:
    master, slave = os.openpty()
    guest = make_guest(stdin=slave, stdout=slave)
    guest.write(1, b"prompt")
    assert os.read(master, 100) == b"prompt"
    assert guest.suspended("fd_read", 0, *guest.iovs(10), OUT) == {}
    os.write(master, b"line\n")
    assert guest.read(0, 100) == b"line\n"
    os.close(master)
    os.close(slave)


def test_closing_a_standard_stream_leaves_ours_open(
    make_guest: MakeGuest, pipe: tuple[int, int]
) -> None:
    guest = make_guest(stdout=pipe[1])
    assert guest("fd_close", 1) == "SUCCESS"
    assert guest("fd_write", 1, *guest.iovs(1), OUT) == "BADF"
    os.fstat(pipe[1])


def test_sockets(make_guest: MakeGuest) -> None:
    ours, theirs = socket.socketpair()
    guest = make_guest(stdin=ours.fileno(), stdout=ours.fileno())
    assert guest("fd_fdstat_get", 0, OUT) == "SUCCESS"
    assert guest.memory.u8(OUT) == 6
    assert guest("sock_send", 1, *guest.iovs(3, data=b"abc"), 0, OUT) == "SUCCESS"
    assert theirs.recv(10) == b"abc"
    theirs.send(b"reply")
    assert guest("sock_recv", 0, *guest.iovs(9), 1, OUT, OUT + 4) == "SUCCESS"
    assert guest("sock_recv", 0, *guest.iovs(9), 0, OUT, OUT + 4) == "SUCCESS"
    assert guest.memory.read(DATA, guest.memory.u32(OUT)) == b"reply"
    assert guest.memory.u16(OUT + 4) == 0
    assert guest("sock_recv", 0, *guest.iovs(9), 4, OUT, OUT + 4) == "INVAL"
    assert guest("sock_send", 1, *guest.iovs(1), 1, OUT) == "INVAL"
    assert guest("sock_shutdown", 0, 4) == "INVAL"
    assert guest("sock_shutdown", 0, 2) == "SUCCESS"
    assert theirs.recv(10) == b""
    assert guest("sock_accept", 0, 0, OUT) == "INVAL"
    assert guest("sock_accept", 2, 0, OUT) == "NOTSOCK"
    assert guest("sock_send", 99, *guest.iovs(1), 0, OUT) == "BADF"
    ours.close()
    theirs.close()


def test_named_pipes_in_a_mapping(guest: Guest, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dir/fifo")
    assert guest.try_open("fifo", rights=RIGHTS_WRITE) == "NXIO"
    reader = guest.open("fifo", rights=RIGHTS_READ)
    writer = guest.open("fifo", rights=RIGHTS_WRITE)
    assert guest.suspended("fd_read", reader, *guest.iovs(5), OUT) == {}
    guest.write(writer, b"data")
    assert guest.read(reader, 10) == b"data"
    progress = guest.suspended("fd_write", writer, *guest.iovs(BIG), OUT)
    assert progress["written"] > 0
    assert guest("fd_close", reader) == "SUCCESS"
    assert guest("fd_close", writer) == "SUCCESS"
