"""The table: what each file that we changed looked like after our own last change to it.

It is mapped into memory, so keeping it costs no system call and it survives any death of the
process. Around each change a row is *begun* and *settled*: a process that dies in between leaves a
row that says which sizes are ours, and any time is.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .entries import Identity
from .log import DamagedLog

MAGIC = b"\x89WSNTAB\n"
HEADER = struct.Struct("<8sII16s32x")
ROW = struct.Struct("<QQQQqQ16x")

FREE, SETTLED, BEGUN = 0, 1, 2

_STATE = struct.Struct("<Q")
_BROKEN = struct.Struct("<I")
_AFTER = struct.Struct("<Qq")
_GOAL = struct.Struct("<Q")
_ROWS_MIN = 63
_SIZE_MAX = (1 << 63) - 1


def _wrapped(time_ns: int) -> int:
    """A time as a row has it: 64 bits, signed. A file may be of any year."""
    return (time_ns + (1 << 63)) % (1 << 64) - (1 << 63)


class Row(NamedTuple):
    """``size`` and ``modified`` (ns) after our last change; while one is ``begun``, any size from
    ``size`` to ``goal`` is ours."""

    begun: bool
    identity: Identity
    size: int
    modified: int
    goal: int

    def is_as_left(self, size: int, modified: int) -> bool:
        """Whether a file of this size and modification time (ns) is as we left it."""
        if self.begun:
            return min(self.size, self.goal) <= size <= max(self.size, self.goal)
        return (self.size, self.modified) == (size, _wrapped(modified))


class Table:
    """The mapped table. ``rows``: identity -> number of its row."""

    def __init__(self, path: Path, id: bytes, *, new: bool) -> None:
        """Raises OSError, DamagedLog for one that is not this log's."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
        self.rows: dict[Identity, int] = {}
        try:
            if new:
                self._allocate(_ROWS_MIN)
                os.pwrite(self._fd, HEADER.pack(MAGIC, 0, 0, id), 0)
            size = os.fstat(self._fd).st_size
            head = os.pread(self._fd, HEADER.size, 0)
            if len(head) < HEADER.size or head[:8] != MAGIC or HEADER.unpack(head)[3] != id:
                raise DamagedLog("its table belongs to another one")
            self._map = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self._count = (size - HEADER.size) // ROW.size
        self._free: list[int] = []
        for number in range(self._count - 1, -1, -1):
            state, device, inode, *_ = ROW.unpack_from(self._map, self._at(number))
            if state == FREE:
                self._free.append(number)
            else:
                self.rows[device, inode] = number

    def _allocate(self, rows: int) -> None:
        """Blocks and all: a page without one, on a full disk, would kill us when it is written."""
        os.posix_fallocate(self._fd, 0, HEADER.size + rows * ROW.size)

    @staticmethod
    def _at(number: int) -> int:
        return HEADER.size + number * ROW.size

    # -- files ------------------------------------------------------------------------------

    def new(self, identity: Identity, size: int, modified: int) -> int:
        """The row of this file, settled; one that it had before is used again. Raises OSError."""
        number = self.rows.get(identity)
        if number is None:
            if not self._free:
                self._grow()
            number = self._free.pop()
        after = size, _wrapped(modified)
        ROW.pack_into(self._map, self._at(number), FREE, *identity, *after, 0)
        _STATE.pack_into(self._map, self._at(number), SETTLED)
        self.rows[identity] = number
        return number

    def begin(self, number: int, goal: int) -> None:
        """A change begins, after which the file has ``goal`` bytes."""
        at = self._at(number)
        _GOAL.pack_into(self._map, at + 40, min(goal, _SIZE_MAX))
        _STATE.pack_into(self._map, at, BEGUN)

    def settle(self, number: int, size: int, modified: int) -> None:
        """The change is made."""
        at = self._at(number)
        _AFTER.pack_into(self._map, at + 24, size, _wrapped(modified))
        _STATE.pack_into(self._map, at, SETTLED)

    def forget(self, identity: Identity) -> None:
        """The file is no more."""
        number = self.rows.pop(identity, None)
        if number is not None:
            _STATE.pack_into(self._map, self._at(number), FREE)
            self._free.append(number)

    def row(self, identity: Identity) -> Row | None:
        """What is known of a file."""
        number = self.rows.get(identity)
        if number is None:
            return None
        state, device, inode, size, modified, goal = ROW.unpack_from(self._map, self._at(number))
        return Row(state == BEGUN, (device, inode), size, modified, goal)

    def renumber(self, devices: dict[int, int]) -> None:
        """Devices have other numbers since the machine was started again."""
        for identity, number in list(self.rows.items()):
            device = devices.get(identity[0])
            if device is not None:
                del self.rows[identity]
                self.rows[device, identity[1]] = number
                _STATE.pack_into(self._map, self._at(number) + 8, device)

    def _grow(self) -> None:
        self._allocate(2 * self._count + 1)
        self._free.extend(range(2 * self._count, self._count - 1, -1))
        self._count = 2 * self._count + 1
        self._map.resize(HEADER.size + self._count * ROW.size)

    # -- the whole --------------------------------------------------------------------------

    @property
    def broken(self) -> bool:
        """Whether changes are being made that could not be noted."""
        return bool(_BROKEN.unpack_from(self._map, 8)[0])

    @broken.setter
    def broken(self, value: bool) -> None:
        _BROKEN.pack_into(self._map, 8, value)

    def __iter__(self) -> Iterator[Identity]:
        return iter(self.rows)

    def sync(self) -> None:
        """Returns when it is on the device. From any thread: the mapping may move meanwhile."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Unmap it."""
        self._map.close()
        os.close(self._fd)
