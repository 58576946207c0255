"""The guest's table of descriptors, and what all descriptors have in common.

Descriptors speak POSIX inside: they raise ``OSError`` with an errno of this machine, and the ABI
rooms (``wasip1/``) translate. ``NotCapable`` is the one refusal POSIX has no word for.

Each kind (``file.File``, ``directory.Directory``, ``stream.Stream``, ...) captures itself into a
msgspec Struct and restores itself from it in two steps: ``restore`` opens and checks and changes
nothing, raising ``Missing`` with one difference; ``rewind`` then makes the world as it was.

Invariants: a number is unique while it is open; a new one gets the lowest free number (POSIX). What
is open may have several numbers (``duplicate``), also in several processes (``copy``): it is closed
with the last of them, and a snapshot holds it once (``SameState`` stands for the others).
Methods that a kind does not define fail as ``refuse`` says.
"""

from __future__ import annotations

import errno
import heapq
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from . import rights as r
from .beneath import os_error
from .protocol import Call

if TYPE_CHECKING:
    from .mapped import Root
    from .net.network import Network

NUMBERS_MAX = 65_536
"""A guest cannot choose a number as large as this."""

Views = Sequence[memoryview]
K = TypeVar("K", bound="Root")


class NotCapable(Exception):
    """The descriptor lacks a right that its kind could have: ERRNO_NOTCAPABLE."""


class Missing(Exception):
    """One thing a snapshot needs that is not there, or not as it was."""


class Status(Protocol):
    """Attributes of a file, as ``os.stat_result`` calls them."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_mode(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class Access(msgspec.Struct, frozen=True):
    """What a file or device in a mapping was opened for, and what the guest may do with it now.

    ``readable``, ``writable``: how it was opened; the rest is as for ``Descriptor``.
    """

    readable: bool
    writable: bool
    fdflags: int
    rights: int
    inheriting: int

    @classmethod
    def of(cls, descriptor: Descriptor, readable: bool, writable: bool) -> Access:
        """As it is now, of one that was opened for this."""
        d = descriptor
        return cls(readable, writable, d.fdflags, d.rights, d.inheriting)


class SameState(msgspec.Struct, frozen=True, tag="same"):
    """A further number of what ``of``, a lower number, is."""

    number: int
    of: int


class Scene(msgspec.Struct):
    """What descriptors need of each other while a snapshot is captured or restored."""

    roots: dict[str, Root]
    """By guest path."""
    standard: dict[str, int]
    """stdin, stdout, stderr -> the descriptor of this process."""
    listening: Sequence[int] = ()
    """Descriptors of this process that listen: what the guest is given."""
    sockets: Mapping[int, int] = {}
    """Guest descriptor -> a socket of this process, of one that is taken over."""
    network: Network | None = None
    numbers: dict[int, int] = {}
    """Capture: id of a descriptor -> a number that the snapshot has it under."""
    first: dict[int, int] = {}
    """Capture: id of a descriptor -> the number that it is saved under."""
    unlinked: dict[tuple[int, int], int] = {}
    """Capture: (device, inode) of a file without a name -> the descriptor that has its content."""
    unlinked_bytes: int = 0
    """Capture: what they have together."""
    restored: dict[int, Descriptor] = {}
    pipes: dict[int, dict[bool, int]] = {}
    """Restore: ends of new pipes (writing: descriptor) that nobody has got yet, by pipe."""
    pairs: dict[int, dict[int, Descriptor]] = {}
    """The same of new pairs of sockets."""

    def close_rest(self) -> None:
        """Nobody is going to get them."""
        for sockets in self.pairs.values():
            while sockets:
                sockets.popitem()[1].close()
        for ends in self.pipes.values():
            while ends:
                os.close(ends.popitem()[1])

    def root(self, guest: str, kind: type[K]) -> K:
        """The mapping called ``guest``, which must be of the kind it was."""
        try:
            root = self.roots[guest]
        except KeyError:
            raise Missing(f"no directory is mapped as {guest} (--dir HOST::{guest})") from None
        if not isinstance(root, kind):
            raise Missing(f"{guest} is mapped in another way than it was")
        return root


class Descriptor(ABC):
    """Something open. ``fileno`` is the descriptor of this process behind it (-1: there is none,
    and the kind has a ``stat`` and a ``close`` of its own).
    """

    __slots__ = ("fdflags", "fileno", "inheriting", "numbers", "rights")

    waits = False
    """Whether reading or writing can block: poll asks the kernel only for these."""

    has_peer = False
    """Whether it is a pipe or a socket, which somebody else may close at the other end."""

    tells_writers = False
    """Whether a process that writes to it when nobody reads is sent SIGPIPE."""

    travels = False
    """Whether a process that takes over from this one is given the kernel's descriptor."""

    has_input = False
    """Whether there is something to read that the kernel does not know of."""

    reading: tuple[str, ...] = ()
    """The occasions (protocol.py) that reading from it is."""

    def __init__(self, fileno: int, rights: int, inheriting: int, fdflags: int) -> None:
        self.fileno = fileno
        self.rights = rights
        self.inheriting = inheriting
        self.fdflags = fdflags
        self.numbers = 0
        """How many it has, in the tables of all processes; counted by ``Descriptors``."""

    @abstractmethod
    def capture(self, number: int, scene: Scene) -> Any:
        """A msgspec Struct with all that is needed to open it again as descriptor ``number``."""

    @abstractmethod
    def rewind(self, state: Any) -> None:
        """After ``restore(state, scene)``, which opens: make it, and the world, as it was."""

    def refuse(self, right: int) -> Exception:
        """What to raise when ``right`` is missing."""
        if right & r.TRANSFER:
            return os_error(errno.EBADF)
        return NotCapable()

    def read(self, call: Call, views: Views) -> int:
        """Fill ``views`` from the present offset; the number of bytes."""
        raise os_error(errno.EBADF)

    def write(self, call: Call, views: Views) -> int:
        """Write ``views`` at the present offset (or the end); the number of bytes."""
        raise os_error(errno.EBADF)

    def read_at(self, views: Views, offset: int) -> int:
        """Like ``read`` at ``offset`` (bytes), which does not move."""
        raise os_error(errno.EBADF)

    def write_at(self, views: Views, offset: int) -> int:
        """Like ``write`` at ``offset`` (bytes), which does not move."""
        raise os_error(errno.EBADF)

    def seek(self, offset: int, whence: int) -> int:
        """Move to ``offset`` (bytes) from ``os.SEEK_SET|CUR|END``; the new offset."""
        raise os_error(errno.EBADF)

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""
        raise os_error(errno.EBADF)

    def allocate(self, offset: int, length: int) -> None:
        """Make sure that space for these bytes is there."""
        raise os_error(errno.EBADF)

    def advise(self, offset: int, length: int, advice: int) -> None:
        """Say how these bytes are going to be used (``os.POSIX_FADV_*``)."""
        raise os_error(errno.EBADF)

    def sync(self, *, data_only: bool) -> None:
        """Wait until everything (or the data and what is needed to read it) is on disk."""
        raise os_error(errno.EBADF)

    def set_flags(self, fdflags: int) -> None:
        """Replace the flags that can change: APPEND and NONBLOCK."""
        raise os_error(errno.EBADF)

    def set_times(self, access: int | None, modification: int | None) -> None:
        """Set time stamps (ns since the epoch; None: leave)."""
        raise os_error(errno.EBADF)

    def available(self) -> int:
        """How many bytes can be read without waiting."""
        return 0

    def freeze(self) -> None:
        """The process is going to end with a snapshot: from here on nothing happens to it."""
        return

    def thaw(self) -> None:
        """It did not."""
        return

    def polled(self) -> None:
        """A poll is going to say that it can be read."""
        return

    def stat(self) -> Status:
        """Attributes of the open thing."""
        return os.fstat(self.fileno)

    def close(self) -> None:
        """Give the descriptor of this process back. A guest thread that waits for it gets EBADF."""
        fileno, self.fileno = self.fileno, -1
        os.close(fileno)


class Descriptors:
    """Number -> Descriptor, of one process. ``lock``: of all tables that may share descriptors."""

    def __init__(self, lock: threading.Lock | None = None) -> None:
        self._open: dict[int, Descriptor] = {}
        self._free: list[int] = []
        self._next = 0
        self._lock = lock or threading.Lock()
        self.cloexec: set[int] = set()
        """Numbers that a program which takes this one's place is not to get."""

    def get(self, number: int, right: int = 0) -> Descriptor:
        """The descriptor, if it has all of ``right``. Raises OSError (EBADF) or NotCapable."""
        try:
            descriptor = self._open[number]
        except KeyError:
            raise os_error(errno.EBADF) from None
        if right & ~descriptor.rights:
            raise descriptor.refuse(right & ~descriptor.rights)
        return descriptor

    def find(self, number: int) -> Descriptor | None:
        """The descriptor, if there is one of this number."""
        return self._open.get(number)

    def add(self, descriptor: Descriptor) -> int:
        """Give it the lowest free number."""
        with self._lock:
            number = self._lowest(0)
            self._open[number] = _once_more(descriptor)
        return number

    def add_as(self, descriptor: Descriptor, number: int) -> None:
        """Give it this number, closing what has it. Raises OSError (EBADF): it is too large."""
        if number >= NUMBERS_MAX:
            descriptor.close()
            raise os_error(errno.EBADF)
        if number in self._open:
            self.close(number)
        with self._lock:
            self._take(number)
            self._open[number] = _once_more(descriptor)

    def copy(self) -> Descriptors:
        """A table of another process, with the same things open under the same numbers."""
        other = Descriptors(self._lock)
        with self._lock:
            other._open = {n: _once_more(d) for n, d in self._open.items()}
            other._free, other._next = list(self._free), self._next
            other.cloexec = set(self.cloexec)
        return other

    def move_to(self, other: Descriptors) -> None:
        """Another program takes this one's place: give it all, but what it is not to get."""
        for number in sorted(self.cloexec):
            self.close(number)
        with self._lock:
            other._open, other._free, other._next = self._open, self._free, self._next
            self._open, self._free, self._next = {}, [], 0

    def exchange(self, other: Descriptors) -> None:
        """Have what the other has, and the other what this one had."""
        with self._lock:
            mine = self._open, self._free, self._next, self.cloexec
            self._open, self._free, self._next = other._open, other._free, other._next
            self.cloexec = other.cloexec
            other._open, other._free, other._next, other.cloexec = mine

    def _lowest(self, least: int) -> int:
        """Take the lowest free number that is not below ``least``."""
        higher = []
        while self._free:
            number = heapq.heappop(self._free)
            if number >= least:
                break
            higher.append(number)
        else:
            number = self._next
            while number < least:
                heapq.heappush(self._free, number)
                number += 1
            self._next = number + 1
        for free in higher:
            heapq.heappush(self._free, free)
        return number

    def duplicate(self, number: int, least: int = 0) -> int:
        """A further number, not below ``least``, of what ``number`` is. Raises OSError: EBADF,
        EINVAL for one that is too large."""
        if least >= NUMBERS_MAX:
            raise os_error(errno.EINVAL)
        with self._lock:
            if number not in self._open:
                raise os_error(errno.EBADF)
            new = self._lowest(least)
            self._open[new] = _once_more(self._open[number])
        return new

    def duplicate_as(self, source: int, target: int) -> None:
        """``target``, which is closed if it is open, is then a further number of ``source``."""
        with self._lock:
            if source not in self._open or target >= NUMBERS_MAX:
                raise os_error(errno.EBADF)
            if source == target:
                return
            replaced = self._open.pop(target, None)
            if replaced is None:
                self._take(target)
            self._open[target] = _once_more(self._open[source])
            self.cloexec.discard(target)
            last = replaced is not None and _dropped(replaced)
        if last and replaced is not None:
            replaced.close()

    def _take(self, number: int) -> None:
        """A free number is free no more."""
        if number >= self._next:
            for free in range(self._next, number):
                heapq.heappush(self._free, free)
            self._next = number + 1
        else:
            self._free.remove(number)
            heapq.heapify(self._free)

    def close(self, number: int) -> None:
        """Close and free the number. The number is free even if closing reports an error."""
        with self._lock:
            descriptor = self._open.pop(number, None)
            if descriptor is None:
                raise os_error(errno.EBADF)
            heapq.heappush(self._free, number)
            self.cloexec.discard(number)
            last = _dropped(descriptor)
        if last:
            descriptor.close()

    def renumber(self, source: int, target: int) -> None:
        """``target`` is closed, and what ``source`` was is then called ``target``."""
        with self._lock:
            if source not in self._open or target not in self._open:
                raise os_error(errno.EBADF)
            if source == target:
                return
            replaced = self._open[target]
            self._open[target] = self._open.pop(source)
            heapq.heappush(self._free, source)
            self.cloexec -= {source, target}
            last = _dropped(replaced)
        if last:
            replaced.close()

    def replace_all(self, descriptors: dict[int, Descriptor]) -> None:
        """Become exactly these (closing what was open)."""
        self.close_all()
        self._open = {n: _once_more(d) for n, d in descriptors.items()}
        self._next = max(descriptors, default=-1) + 1
        self._free = [n for n in range(self._next) if n not in descriptors]
        self.cloexec = set()

    def capture(self, scene: Scene, base: int = 0) -> list[Any]:
        """The state of each, in the order of the numbers, to which ``base`` is added."""
        states: list[Any] = []
        for own, descriptor in self.items():
            number = base + own
            of = scene.first.setdefault(id(descriptor), number)
            same = of != number
            states.append(SameState(number, of) if same else descriptor.capture(number, scene))
        return states

    def items(self) -> Iterator[tuple[int, Descriptor]]:
        """In the order of the numbers."""
        return iter(sorted(self._open.items()))

    def close_all(self) -> None:
        """The end of the process."""
        for number in list(self._open):
            self.close(number)


def _once_more(descriptor: Descriptor) -> Descriptor:
    descriptor.numbers += 1
    return descriptor


def _dropped(descriptor: Descriptor) -> bool:
    """It lost a number; whether that was its last."""
    descriptor.numbers -= 1
    return descriptor.numbers == 0
