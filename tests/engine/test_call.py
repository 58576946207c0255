"""Waiting: on descriptors of every sort, with a deadline, and for a stop.

The call is used without a guest: its control memory is a buffer of ours.
"""

from __future__ import annotations

import ctypes
import os
import pty
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wasnap.engine.call import GuestCall, Wake
from wasnap.engine.control import Control
from wasnap.engine.memory import GuestMemory
from wasnap.host.protocol import Stop
from wasnap.instrument import abi

SECOND = 1_000_000_000


class Thread:
    """A call with its wake and its control words."""

    def __init__(self) -> None:
        self.words = (ctypes.c_char * 64)()
        memory = cast(GuestMemory, SimpleNamespace(address=ctypes.addressof(self.words)))
        self.wake = Wake()
        self.control = Control(memory)
        self.call = GuestCall(self.wake)
        self.call.attach((memory,), self.control)

    def stop(self) -> None:
        self.control.stop = True
        self.wake.set()

    def enter_no_stop(self) -> None:
        self.words[abi.NO_STOP_DEPTH] = b"\1"


@pytest.fixture
def thread() -> Iterator[Thread]:
    thread = Thread()
    yield thread
    thread.wake.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_pipe_is_ready_when_there_is_something(thread: Thread, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    assert thread.call.wait([reader], [], 0) == ([], [])
    assert thread.call.wait([reader], [writer], None) == ([], [writer])
    os.write(writer, b"x")
    assert thread.call.wait([reader], [], None) == ([reader], [])
    assert thread.call.wait([reader], [writer], None) == ([reader], [writer])


def test_a_closed_pipe_is_ready(thread: Thread) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    assert thread.call.wait([reader], [], None) == ([reader], [])
    os.close(reader)


def test_a_bad_descriptor_is_ready_and_the_operation_tells(thread: Thread) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert thread.call.wait([reader], [writer], None) == ([reader], [writer])


def test_a_regular_file_is_always_ready(thread: Thread, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as file:
        fd = file.fileno()
        assert thread.call.wait([fd], [fd], None) == ([fd], [fd])


def test_a_terminal(thread: Thread) -> None:
    ours, theirs = pty.openpty()
    assert thread.call.wait([theirs], [], 0) == ([], [])
    os.write(ours, b"line\n")
    assert thread.call.wait([theirs], [], None) == ([theirs], [])
    os.close(ours)
    os.close(theirs)


def test_one_descriptor_both_ways(thread: Thread) -> None:
    import socket

    left, right = socket.socketpair()
    with left, right:
        fd = left.fileno()
        assert thread.call.wait([fd], [fd], None) == ([], [fd])
        right.send(b"x")
        assert thread.call.wait([fd], [fd], None) == ([fd], [fd])


@pytest.mark.parametrize("timeout_ns", [0, 1, 200_000, 3_000_000])
def test_the_time_is_over_and_not_too_early(thread: Thread, timeout_ns: int) -> None:
    before = time.monotonic_ns()
    assert thread.call.wait([], [], timeout_ns) == ([], [])
    assert time.monotonic_ns() - before >= timeout_ns


def test_a_stop_ends_a_wait_for_ever(thread: Thread, pipe: tuple[int, int]) -> None:
    ended: list[Any] = []

    def wait() -> None:
        with pytest.raises(Stop):
            thread.call.wait([pipe[0]], [], None)
        ended.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    thread.stop()
    waiting.join(20)
    assert ended == [True]


def test_a_stop_that_was_there_before_ends_the_wait(thread: Thread) -> None:
    thread.stop()
    with pytest.raises(Stop):
        thread.call.wait([], [], 60 * SECOND)
    assert thread.call.stopping()


def test_what_is_ready_goes_before_a_stop(thread: Thread, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    thread.stop()
    assert thread.call.wait([pipe[0]], [], None) == ([pipe[0]], [])


def test_looking_only_is_never_stopped(thread: Thread, pipe: tuple[int, int]) -> None:
    thread.stop()
    assert thread.call.wait([pipe[0]], [], 0) == ([], [])


def test_below_a_call_that_cannot_be_saved_a_stop_waits(thread: Thread) -> None:
    thread.enter_no_stop()
    thread.stop()
    assert not thread.call.stopping()
    assert thread.call.wait([], [], 2_000_000) == ([], [])


def test_below_a_call_that_cannot_be_saved_others_wake_it(thread: Thread) -> None:
    """It waits for another thread of the guest, which ends meanwhile."""
    looked, done = threading.Event(), threading.Event()

    def look() -> bool:
        there = done.is_set()
        looked.set()
        return there

    thread.enter_no_stop()
    waiting = threading.Thread(target=lambda: thread.call.park(look, None), daemon=True)
    waiting.start()
    assert looked.wait(20)
    done.set()
    thread.call.unpark()
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_wake_without_a_stop_does_not_end_the_wait(thread: Thread, pipe: tuple[int, int]) -> None:
    thread.wake.set()
    assert thread.call.wait([pipe[0]], [], 2_000_000) == ([], [])


def test_a_full_wake_pipe_does_not_block() -> None:
    wake = Wake()
    for _ in range(100_000):
        wake.set()
    wake.clear()
    wake.close()


def test_a_signal_does_not_end_a_wait(thread: Thread, pipe: tuple[int, int]) -> None:
    import signal

    got = threading.Event()

    def handle(number: int, frame: object) -> None:
        got.set()
        os.write(pipe[1], b"x")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)  # again: it may come before the wait
        assert thread.call.wait([pipe[0]], [], 20 * SECOND) == ([pipe[0]], [])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert got.is_set()
