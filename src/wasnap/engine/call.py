"""What a host function sees of the guest thread that called it: memory, progress, and waiting.

Waiting is one ``ppoll`` over the descriptors asked for and the thread's *wake* descriptor, a pipe
that a stop writes to. Below a call that cannot be saved (no-stop depth above 0) the wake descriptor
is left out, and the stop waits for the guest to get out of there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from wasnap.engine.control import Control
from wasnap.engine.memory import GuestMemory
from wasnap.host.protocol import (
    IDLE,
    Audience,
    Call,
    Inside,
    Loaded,
    Made,
    Progress,
    Provider,
    StackCopy,
    Stop,
)

_libc = ctypes.CDLL(None, use_errno=True)
_READABLE = select.POLLIN | select.POLLPRI


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))
    fd: int
    events: int
    revents: int


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class Wake:
    """A pipe that makes a wait return: ``set`` from any thread, ``clear`` before going on."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        """Make the descriptor readable."""
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            return  # full: it is readable already

    def clear(self) -> None:
        """Make it unreadable again."""
        try:
            while os.read(self.reader, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


class Company(Protocol):
    """The guest's threads, as one of them sees them. ``host_lock``: for ``HostFunction.alone``."""

    host_lock: threading.Lock

    def spawn(self, thread: int, args: tuple[int, ...], stack_pointer: int | None) -> None:
        """See ``host.protocol.Call.spawn``."""

    def all_wait(self) -> bool:
        """Whether no thread runs."""

    def interrupt(self, thread: int) -> bool:
        """See ``host.protocol.Call.interrupt``."""

    def spare(self, thread: int) -> bool:
        """Do not stop it, unless all are to; whether it was asked to."""

    def lives(self, thread: int) -> bool:
        """Whether it has not ended."""

    def alone(self) -> bool:
        """Whether only one has not."""

    def still(self, thread: int) -> AbstractContextManager[None]:
        """See ``host.protocol.Call.still``."""

    def fork(self, thread: int, process: int, provider: Provider) -> None:
        """See ``host.protocol.Call.fork``."""

    def load(self, call: Call, module: bytes) -> Loaded:
        """See ``host.protocol.Call.load``."""

    def make(self, process: int, loaded: Loaded, provider: Provider) -> Made:
        """See ``host.protocol.Call.make``."""

    def begin(self, made: Made) -> None:
        """See ``host.protocol.Call.begin``."""


class Stacks(Protocol):
    """The call stack of one thread, which is unwound. See ``host.protocol.Call``."""

    def exports(self, name: str) -> bool: ...
    def interruption(self) -> Inside | None: ...
    def abandon(self) -> None: ...
    def copy_stack(self) -> StackCopy: ...
    def replace_stack(self, copy: StackCopy, results: tuple[int, ...]) -> None: ...


class GuestCall:
    """Implements ``host.protocol.Call``; one for the life of a guest thread.

    It exists before the instance does, which imports functions that use it; ``attach`` follows.
    ``company``: None for a guest that has no other threads.
    """

    memories: tuple[GuestMemory, ...]
    memory: GuestMemory
    control: Control
    stacks: Stacks
    """Set by its machine."""

    def __init__(self, wake: Wake, thread: int = 0, company: Company | None = None) -> None:
        self.thread = thread
        self.progress: Progress | None = None
        self.activity = 0
        """Grows whenever the guest runs, or something it waited for has come."""
        self.waiting = False
        self.depth = 0
        self.interrupted = False
        self.owed = False
        """It could not be interrupted where it stood: to be done when it waits."""
        self.asked = False
        """A wait was given up for a stop that is asked for: the call did not suspend of itself."""
        self.lock: threading.Lock | None = None
        """Held by the host function that runs; given back while it waits."""
        self._asks_who_lives = False
        """What it waits for may be the end of another thread: ``done`` has asked for that."""
        self._wake = wake
        self._company = company
        self._audience: Audience | None = None

    def listen(self, audience: Audience) -> None:
        """Tell ``audience`` what the guest is about to do."""
        self._audience = audience

    def about_to(self, *occasions: str) -> None:
        """See ``host.protocol.Call.about_to``."""
        if self._audience is not None and occasions:
            self._audience.hear(self, occasions)

    def may_stop(self) -> bool:
        """Whether a stop, were there one, might be followed here."""
        return self.control.depth == 0

    def attach(
        self, memories: tuple[GuestMemory, ...], control: Control, host_memory: int = 0
    ) -> None:
        """Give it the instance's memories and control memory. ``host_memory``: see ProgramInfo."""
        self.memories = memories
        self.memory = memories[host_memory] if memories else GuestMemory(None)
        self.control = control

    def stopping(self) -> bool:
        """Whether a stop is asked for and may be followed here."""
        return self.control.stopping()

    def wait(
        self, reads: Sequence[int], writes: Sequence[int], timeout_ns: int | None
    ) -> tuple[list[int], list[int]]:
        """See ``host.protocol.Call.wait``."""
        self.waiting = True
        try:
            return self._wait(reads, writes, timeout_ns, None)
        finally:
            self.waiting = False

    def park(self, done: Callable[[], bool], timeout_ns: int | None) -> bool:
        """See ``host.protocol.Call.park``."""
        self._asks_who_lives = False
        self.waiting = True
        try:
            self._wait((), (), timeout_ns, done)
        finally:
            self.waiting = False
        return done()

    def thread_ended(self) -> None:
        """Another guest thread has; from any thread."""
        if self.waiting and self._asks_who_lives:
            self._wake.set()

    def unpark(self) -> None:
        """See ``host.protocol.Call.unpark``."""
        self._wake.set()

    def spawn(self, thread: int, args: tuple[int, ...], stack_pointer: int | None = None) -> None:
        """See ``host.protocol.Call.spawn``."""
        assert self._company is not None
        self._company.spawn(thread, args, stack_pointer)

    def interrupt(self, thread: int) -> bool:
        """See ``host.protocol.Call.interrupt``."""
        return self._company is not None and self._company.interrupt(thread)

    def spare(self) -> bool:
        """Do not stop for another signal; whether that was asked for. For its own thread."""
        return self._company is not None and self._company.spare(self.thread)

    def lives(self, thread: int) -> bool:
        """See ``host.protocol.Call.lives``."""
        self._asks_who_lives = True
        return self._company is not None and self._company.lives(thread)

    def alone(self) -> bool:
        """See ``host.protocol.Call.alone``."""
        self._asks_who_lives = True
        return self._company is None or self._company.alone()

    def exports(self, name: str) -> bool:
        """See ``host.protocol.Call.exports``."""
        return self.stacks.exports(name)

    def interruption(self) -> Inside | None:
        """See ``host.protocol.Call.interruption``."""
        return self.stacks.interruption()

    def abandon(self) -> None:
        """See ``host.protocol.Call.abandon``."""
        self.stacks.abandon()

    def copy_stack(self) -> StackCopy:
        """See ``host.protocol.Call.copy_stack``."""
        return self.stacks.copy_stack()

    def replace_stack(self, copy: StackCopy, results: tuple[int, ...]) -> None:
        """See ``host.protocol.Call.replace_stack``."""
        self.stacks.replace_stack(copy, results)

    def still(self) -> AbstractContextManager[None]:
        """See ``host.protocol.Call.still``."""
        return self._together.still(self.thread)

    def fork(self, process: int, provider: Provider) -> None:
        """See ``host.protocol.Call.fork``."""
        self._together.fork(self.thread, process, provider)

    def load(self, module: bytes) -> Loaded:
        """See ``host.protocol.Call.load``."""
        return self._together.load(self, module)

    def make(self, process: int, loaded: Loaded, provider: Provider) -> Made:
        """See ``host.protocol.Call.make``."""
        return self._together.make(process, loaded, provider)

    def begin(self, made: Made) -> None:
        """See ``host.protocol.Call.begin``."""
        self._together.begin(made)

    @property
    def _together(self) -> Company:
        """The company; if its host functions do not take turns, there is nobody to be with."""
        if self._company is None or self.lock is None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return self._company

    def _wait(
        self,
        reads: Sequence[int],
        writes: Sequence[int],
        timeout_ns: int | None,
        done: Callable[[], bool] | None,
    ) -> tuple[list[int], list[int]]:
        if self.owed and self.control.depth == 0:
            self.asked = True
            raise Stop
        now = time.monotonic_ns()
        deadline = None if timeout_ns is None else now + timeout_ns
        events: dict[int, int] = {}
        for fd in reads:
            events[fd] = events.get(fd, 0) | _READABLE
        for fd in writes:
            events[fd] = events.get(fd, 0) | select.POLLOUT
        patience = self._audience.idle_ns if self._audience and self.may_stop() else None
        idle = None if patience is None else now + patience
        count = len(events) + 1
        polled = (_PollFd * count)(*(_PollFd(fd, mask, 0) for fd, mask in events.items()))
        polled[-1].fd, polled[-1].events = self._wake.reader, select.POLLIN
        while True:
            if done is not None and done():
                self.activity += 1
                return [], []
            until = min((t for t in (deadline, idle) if t is not None), default=None)
            left = None if until is None else until - now
            if self.lock is not None:
                self.lock.release()
            try:
                _ppoll(polled, count, 0 if self.stopping() else left)
            finally:
                if self.lock is not None:
                    self.lock.acquire()
            ready = {p.fd: p.revents for p in polled if p.revents}
            woken = ready.pop(self._wake.reader, 0)
            if ready:
                self.activity += 1
                return _chosen(reads, ready, select.POLLIN), _chosen(writes, ready, select.POLLOUT)
            if until is not None:
                now = time.monotonic_ns()
                if deadline is not None and deadline <= now:
                    return [], []
                if idle is not None and idle <= now:
                    idle = None
                    if self._company is None or self._company.all_wait():
                        self.about_to(IDLE)
            if self.stopping():
                self.asked = True
                raise Stop
            if woken:
                self._wake.clear()


def _chosen(fds: Sequence[int], ready: dict[int, int], direction: int) -> list[int]:
    """The descriptors that are ready in this direction, or broken in whatever way."""
    other = select.POLLOUT if direction == select.POLLIN else _READABLE
    return [fd for fd in fds if ready.get(fd, 0) & ~other]


def _ppoll(polled: ctypes.Array[_PollFd], count: int, timeout_ns: int | None) -> None:
    """poll(2) to the nanosecond. A signal looks like nothing ready: the caller's loop goes on."""
    timeout = None
    if timeout_ns is not None:
        timeout = ctypes.byref(_Timespec(*divmod(max(timeout_ns, 0), 1_000_000_000)))
    if _libc.ppoll(polled, ctypes.c_ulong(count), timeout, None) < 0:
        number = ctypes.get_errno()
        for p in polled:
            p.revents = 0
        if number != errno.EINTR:
            raise OSError(number, f"ppoll: {os.strerror(number)}")
