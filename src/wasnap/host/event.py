"""Counters to wait for (WASIX ``fd_event``, eventfd).

The kernel's counter, so that waiting for it is waiting for a descriptor. A snapshot asks the kernel
what it is. What makes a counter a semaphore is done here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
from pathlib import Path
from typing import Final

import msgspec

from . import rights as r
from .beneath import os_error
from .descriptors import Descriptor, Missing, Scene, Views
from .protocol import Call

_U64: Final = struct.Struct("<Q")
_MAX: Final = (1 << 64) - 2
_SIZE: Final = 8
_LOOK_AGAIN_NS: Final = 10_000_000


class EventState(msgspec.Struct, frozen=True, tag="event"):
    """``value``: of the counter, but for ``polled``: what of it a poll has told of; None: it tells always."""

    number: int
    value: int
    semaphore: bool
    fdflags: int
    rights: int
    inheriting: int
    polled: int | None = None


class Event(Descriptor):
    """A counter. ``semaphore``: reading takes one away, not all of it. ``once``: a poll says once for each
    time it was written to that it can be read (an older WASIX, whose programs never read it).
    """

    __slots__ = ("_told", "once", "semaphore")

    waits = True

    def __init__(self, value: int, fdflags: int, *, semaphore: bool, once: bool = False) -> None:
        fileno = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        super().__init__(fileno, r.STREAM, r.STREAM, fdflags)
        self.semaphore = semaphore
        self.once = once
        self._told = 0  # of the value; the kernel's counter has the rest
        if value:
            os.eventfd_write(fileno, min(value, _MAX))

    def polled(self) -> None:
        if self.once:
            self._told = min(self._told + self._taken(), _MAX)

    def _taken(self) -> int:
        try:
            return os.eventfd_read(self.fileno)
        except BlockingIOError:
            return 0

    def read(self, call: Call, views: Views) -> int:
        """8 bytes: what was there. INVAL: no room for them. AGAIN: it is 0, and NONBLOCK is set."""
        if sum(map(len, views)) < _SIZE:
            raise os_error(errno.EINVAL)
        while not (value := min(self._told + self._taken(), _MAX)):
            if self.fdflags & r.NONBLOCK:
                raise os_error(errno.EAGAIN)
            call.wait([self.fileno], [], None)
        self._told = 0
        if self.semaphore and value > 1:
            os.eventfd_write(self.fileno, value - 1)
        data = _U64.pack(1 if self.semaphore else value)
        for view in views:
            view[: len(data)], data = data[: len(view)], data[len(view) :]
        return _SIZE

    def write(self, call: Call, views: Views) -> int:
        """8 bytes: what is added. INVAL: fewer, or all bits set. AGAIN: it would be too much, and
        NONBLOCK is set."""
        data = b"".join(views)[:_SIZE]
        if len(data) < _SIZE or _U64.unpack(data)[0] > _MAX:
            raise os_error(errno.EINVAL)
        value: int = _U64.unpack(data)[0]
        while True:
            try:
                os.eventfd_write(self.fileno, value)
                return _SIZE
            except BlockingIOError:
                if self.fdflags & r.NONBLOCK:
                    raise
            if self.value() < _MAX:  # writable, but not by so much: of that nobody tells
                call.wait([], [], _LOOK_AGAIN_NS)
            else:
                call.wait([], [self.fileno], None)

    def set_flags(self, fdflags: int) -> None:
        self.fdflags = fdflags & (r.APPEND | r.NONBLOCK)

    def available(self) -> int:
        return _SIZE

    def value(self) -> int:
        """What the kernel's counter is. Reading it and writing it back would be an edge to those who
        wait for one, so it is only done where there is no /proc."""
        with contextlib.suppress(OSError):
            info = Path(f"/proc/self/fdinfo/{self.fileno}").read_text()
            found = re.search(r"^eventfd-count:\s*([0-9a-f]+)$", info, re.MULTILINE)
            if found is not None:
                return int(found[1], 16)
        value = self._taken()
        if value:
            os.eventfd_write(self.fileno, value)
        return value

    def capture(self, number: int, scene: Scene) -> EventState:
        """With its value, which stays."""
        return EventState(
            number=number,
            value=self.value(),
            semaphore=self.semaphore,
            fdflags=self.fdflags,
            rights=self.rights,
            inheriting=self.inheriting,
            polled=self._told if self.once else None,
        )

    @classmethod
    def restore(cls, state: EventState, scene: Scene) -> Event:
        """Another one. Raises Missing."""
        try:
            once = state.polled is not None
            made = cls(state.value, state.fdflags, semaphore=state.semaphore, once=once)
        except OSError as error:
            raise Missing(f"a counter: {error.strerror}") from None
        made._told = state.polled or 0
        return made

    def rewind(self, state: EventState) -> None:
        """Its rights."""
        self.rights = state.rights
        self.inheriting = state.inheriting
