"""Lists of descriptors to wait for (WASIX ``epoll_*``).

Each is one of the kernel's, which knows best when something is ready, once or as long as it is
(``ET``). What it cannot know is looked at here: descriptors that hold something which came before a
resume (``has_input``), and numbers that the guest has closed while what is behind them stays open
(the standard streams).

A snapshot has the entries. A resumed process makes a new list of them, and so hears once more of what
is ready: also with ``ET`` and of an entry that the guest knew to be ready. An entry with ``ONESHOT`` that
has been reported stays silent.

One thing that is open can be in a list once, whatever its numbers: EXIST.
"""

from __future__ import annotations

import contextlib
import errno
import select
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from . import rights as r
from .beneath import os_error
from .clock import Clock
from .descriptors import Descriptor, Missing, Scene
from .protocol import OUTSIDE, Call, Stop, Suspended
from .stream import Stream
from .threads import WAIT_NS_MAX

# fmt: off
EVENTS: Final = (
    select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP, select.EPOLLPRI, select.EPOLLERR,
    select.EPOLLHUP, select.EPOLLET, select.EPOLLONESHOT,
)
# fmt: on
"""WASIX's bit -> the kernel's."""
_IN: Final = 1 << 0
_ONESHOT: Final = 1 << 7

Happened: TypeAlias = tuple[int, bytes]
"""WASIX's events, and the entry's data."""


class Entry(msgspec.Struct, frozen=True):
    """``number``: what the guest called it. ``events``: WASIX's. ``data``: what it is told then.
    ``silent``: it had ONESHOT and has been reported."""

    number: int
    events: int
    data: bytes
    silent: bool = False


class SavedEntry(msgspec.Struct, frozen=True):
    """``at``: a number that it has now, as the snapshot counts them."""

    at: int
    entry: Entry


class EpollState(msgspec.Struct, frozen=True, tag="epoll"):
    """A list."""

    number: int
    entries: list[SavedEntry]
    fdflags: int
    rights: int
    inheriting: int


class Epoll(Descriptor):
    """A list."""

    __slots__ = ("_entries", "_epoll", "_occasions", "_restored", "_with_input")

    waits = True

    def __init__(self) -> None:
        self._epoll = select.epoll()
        super().__init__(self._epoll.fileno(), r.STREAM, r.STREAM, 0)
        self._entries: dict[int, tuple[Descriptor, Entry]] = {}  # by the kernel's number
        self._with_input: set[int] = set()  # of those, what may hold something
        self._occasions: dict[str, None] = {}
        self._restored: Mapping[int, Descriptor] = {}

    # -- the list -----------------------------------------------------------------------------

    def add(self, descriptor: Descriptor, entry: Entry) -> None:
        """Raises OSError: EXIST; PERM for what is always ready; LOOP."""
        if descriptor is self:
            raise os_error(errno.EINVAL)
        if not descriptor.waits:
            raise os_error(errno.EPERM)
        self._register(descriptor, entry)

    def _register(self, descriptor: Descriptor, entry: Entry) -> None:
        stale = self._entries.get(descriptor.fileno)
        if stale is not None and not _is_open(stale[0]):
            self._forget(descriptor.fileno)
        self._epoll.register(descriptor.fileno, 0 if entry.silent else _kernels(entry.events))
        self._entries[descriptor.fileno] = descriptor, entry
        self._occasions.update(dict.fromkeys(descriptor.reading))
        if descriptor.has_input:
            self._with_input.add(descriptor.fileno)

    def change(self, descriptor: Descriptor, entry: Entry) -> None:
        """Raises OSError: NOENT: it is not in the list."""
        self._expect(descriptor, entry.number)
        self._epoll.modify(descriptor.fileno, _kernels(entry.events))
        self._entries[descriptor.fileno] = descriptor, entry

    def remove(self, descriptor: Descriptor, number: int) -> None:
        """Raises OSError: NOENT: it is not in the list."""
        self._expect(descriptor, number)
        self._forget(descriptor.fileno)

    def _forget(self, fileno: int) -> None:
        self._entries.pop(fileno, None)
        self._with_input.discard(fileno)
        with contextlib.suppress(OSError):  # the kernel has, if it was closed
            self._epoll.unregister(fileno)

    def has(self, descriptor: Descriptor, number: int) -> bool:
        """Whether it is in the list, under this number."""
        found = self._entries.get(descriptor.fileno)
        return found is not None and found[0] is descriptor and found[1].number == number

    def _expect(self, descriptor: Descriptor, number: int) -> None:
        if not self.has(descriptor, number):
            raise os_error(errno.ENOENT)

    # -- waiting ------------------------------------------------------------------------------

    def wait(self, call: Call, clock: Clock, most: int, timeout_ns: int | None) -> list[Happened]:
        """At most so many things that have happened. Empty: the time is over."""
        call.about_to(*self._occasions, OUTSIDE)
        now = clock.monotonic() if timeout_ns else 0
        until: int | None = None if timeout_ns is None else now + timeout_ns
        if call.progress:
            until = call.progress["until"]
        while True:
            found = self._ready(most)
            if found or timeout_ns == 0:
                return found
            left = None
            if until is not None:
                left = until - clock.monotonic()
                if left <= 0:
                    return []
                left = min(left, WAIT_NS_MAX)
            try:
                clock.wait(call, [self.fileno], [], left)
            except Stop:
                raise Suspended({"until": until}) from None

    def _ready(self, most: int) -> list[Happened]:
        found: list[Happened] = []
        for fileno in [*self._with_input]:
            descriptor, entry = self._entries[fileno]
            if not descriptor.has_input:
                self._with_input.discard(fileno)
            elif entry.events & _IN and not entry.silent and len(found) < most:
                self._happened(found, fileno, _IN)
        if len(found) == most:
            return found
        for fileno, events in self._epoll.poll(0, most - len(found)):
            known = self._entries.get(fileno)
            if known is None or not _is_open(known[0]):
                self._forget(fileno)
            elif not known[1].silent:
                self._happened(found, fileno, _ours(events))
        return found

    def _happened(self, found: list[Happened], fileno: int, events: int) -> None:
        descriptor, entry = self._entries[fileno]
        found.append((events, entry.data))
        if entry.events & _ONESHOT:
            entry = msgspec.structs.replace(entry, silent=True)
            self._entries[fileno] = descriptor, entry
            self._epoll.modify(fileno, 0)

    def set_flags(self, fdflags: int) -> None:
        self.fdflags = fdflags & (r.APPEND | r.NONBLOCK)

    def close(self) -> None:
        self.fileno = -1
        self._epoll.close()

    # -- snapshots ----------------------------------------------------------------------------

    def capture(self, number: int, scene: Scene) -> EpollState:
        """Its entries, but for those that were closed."""
        entries = [
            SavedEntry(scene.numbers[id(descriptor)], entry)
            for descriptor, entry in self._entries.values()
            if id(descriptor) in scene.numbers
        ]
        return EpollState(number, entries, self.fdflags, self.rights, self.inheriting)

    @classmethod
    def restore(cls, state: EpollState, scene: Scene) -> Epoll:
        """An empty one. Raises Missing."""
        try:
            made = cls()
        except OSError as error:
            raise Missing(f"a list to wait for: {error.strerror}") from None
        made._restored = scene.restored
        return made

    def rewind(self, state: EpollState) -> None:
        """Its entries: all descriptors are there."""
        self.fdflags = state.fdflags
        self.rights = state.rights
        self.inheriting = state.inheriting
        for saved in state.entries:
            descriptor = self._restored.get(saved.at)
            if descriptor is not None and descriptor.waits:
                with contextlib.suppress(OSError):  # stdin is a file now
                    self._register(descriptor, saved.entry)
        self._restored = {}


def _is_open(descriptor: Descriptor) -> bool:
    """Whether the guest has it open, under whatever number."""
    return descriptor.fileno >= 0 and not (isinstance(descriptor, Stream) and descriptor.closed)


def _kernels(events: int) -> int:
    return sum(bit for i, bit in enumerate(EVENTS) if events >> i & 1)


def _ours(events: int) -> int:
    return sum(1 << i for i, bit in enumerate(EVENTS) if events & bit)
