"""The log: an append-only file of entries, each with its own crc. See docs/files-format.md.

Writing is one system call, no buffer: an entry is in the page cache when ``append`` returns, and
survives any death of this process.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from .entries import Entry, decode, encode

MAGIC = b"\x89WSNFIL\n"
MAJOR = 1
MINOR = 0
HEADER = struct.Struct("<8sHHI16s28xI")
RECORD = struct.Struct("<4I")
START = HEADER.size
"""Position of the first record."""

_SIZES = struct.Struct("<3I")
_SEED = struct.Struct("<16sQ")
_CRC = struct.Struct("<I")


class DamagedLog(Exception):
    """The log cannot be read from some position on; the message says why."""


class Stored(NamedTuple):
    """An entry and where it stands. ``end``: of its record; ``data``: position of its data."""

    position: int
    entry: Entry
    data: int
    end: int


class Log:
    """An open log. Owns the descriptor."""

    def __init__(self, fd: int, id: bytes, end: int) -> None:
        self.fd = fd
        self.id = id
        self.end = end

    @classmethod
    def create(cls, path: Path, id: bytes) -> Log:
        """A new one at ``path``, where nothing is. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        head = HEADER.pack(MAGIC, MAJOR, MINOR, 0, id, 0)[:-4]
        os.pwrite(fd, head + _CRC.pack(zlib.crc32(head)), 0)
        return cls(fd, id, START)

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> Log:
        """An existing one, whose ``end`` is that of the file. Raises OSError, DamagedLog."""
        how = os.O_RDWR if writable else os.O_RDONLY
        fd = os.open(path, how | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            head = os.pread(fd, START, 0)
            if len(head) < START:
                raise DamagedLog("it is too short")
            magic, major, _, _, id, crc = HEADER.unpack(head)
            if magic != MAGIC or crc != zlib.crc32(head[:-4]):
                raise DamagedLog("it is not a log of changes")
            if major != MAJOR:
                raise DamagedLog(f"it is of version {major}, and this wasnap reads {MAJOR}")
            return cls(fd, id, os.fstat(fd).st_size)
        except BaseException:
            os.close(fd)
            raise

    def append(self, entry: Entry, data: bytes = b"") -> int:
        """Write an entry; its position. Raises OSError, and the log is as it was."""
        encoded = encode(entry)
        position = self.end
        head = _SIZES.pack(len(encoded), len(data), zlib.crc32(data, zlib.crc32(encoded)))
        head += _CRC.pack(zlib.crc32(head, self._seed(position)))
        size = RECORD.size + len(encoded) + len(data)
        try:
            written = os.pwritev(self.fd, (head, encoded, data), position)
            if written != size:  # the disk is full, or nearly
                rest = b"".join((head, encoded, data))
                while written < size:
                    written += os.pwrite(self.fd, rest[written:], position + written)
        except OSError:
            self.cut(position)
            raise
        self.end = position + size
        return position

    def cut(self, position: int) -> None:
        """Take back everything from ``position`` on."""
        os.ftruncate(self.fd, position)
        self.end = position

    def read(self, position: int) -> Iterator[Stored]:
        """The entries from ``position`` on. At the torn tail, if there is one, the log's ``end``
        is moved to before it; the file is not touched. Raises DamagedLog.

        The crc of data is not looked at: see ``data``.
        """
        while position < self.end:
            head = os.pread(self.fd, RECORD.size, position)
            if len(head) < RECORD.size:
                self.end = position
                return
            entry_size, data_size, _, crc = RECORD.unpack(head)
            if crc != zlib.crc32(head[:-4], self._seed(position)):
                raise DamagedLog(f"it is damaged at byte {position}")
            at = position + RECORD.size
            end = at + entry_size + data_size
            if end > self.end:
                self.end = position
                return
            stored = self._stored(position, at, entry_size, end)
            yield stored
            position = end

    def _stored(self, position: int, at: int, entry_size: int, end: int) -> Stored:
        encoded = os.pread(self.fd, entry_size, at)
        if at + entry_size == end:
            self._check(position, encoded, b"")
        try:
            return Stored(position, decode(encoded), at + entry_size, end)
        except msgspec.MsgspecError as error:
            raise DamagedLog(f"the entry at byte {position} is none: {error}") from None

    def data(self, stored: Stored) -> bytes:
        """An entry's data. Raises DamagedLog."""
        encoded = os.pread(
            self.fd, stored.data - stored.position - RECORD.size, stored.position + RECORD.size
        )
        data = os.pread(self.fd, stored.end - stored.data, stored.data)
        self._check(stored.position, encoded, data)
        return data

    def _check(self, position: int, encoded: bytes, data: bytes) -> None:
        crc = RECORD.unpack(os.pread(self.fd, RECORD.size, position))[2]
        if crc != zlib.crc32(data, zlib.crc32(encoded)):
            raise DamagedLog(f"it is damaged at byte {position}")

    def _seed(self, position: int) -> int:
        return zlib.crc32(_SEED.pack(self.id, position))

    def sync(self) -> None:
        """Returns when everything written is on the device."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)
