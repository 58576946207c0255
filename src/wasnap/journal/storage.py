"""The one place where a journal touches its file.

Everything is positioned (pread, pwrite), so a storage has no state but its descriptor. Fault
tests put their own ``Storage`` in its place. All methods may raise OSError and nothing else.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

IOV_MAX = 1024

WRITE_MAX = 1 << 18
"""Bytes in one call. For a larger one the kernel takes its cache's memory in pieces as large, which a
virtual machine may have given back to its host: 1 to 2 s of processor for a GiB, not 0.3.
"""


_RANGE_WRITE = 2
"""SYNC_FILE_RANGE_WRITE: begin to write what is dirty, and do not wait for it."""
_libc = ctypes.CDLL(None)


class Storage:
    """An open file of bytes. Owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read(self, position: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``position``; fewer only at the end of the file."""
        data = os.pread(self.fd, size, position)
        if len(data) in (0, size):
            return data
        parts = [data]
        done = len(data)
        while done < size and (data := os.pread(self.fd, size - done, position + done)):
            parts.append(data)
            done += len(data)
        return b"".join(parts)

    def write(self, position: int, buffers: Sequence[Buffer]) -> int:
        """Writes up to all of at most ``IOV_MAX`` buffers, returns how many bytes it wrote."""
        room = WRITE_MAX
        for count, buffer in enumerate(buffers):
            if len(buffer) > room:
                buffers = [*buffers[:count], memoryview(buffer)[:room]]
                break
            room -= len(buffer)
        return os.pwritev(self.fd, buffers, position)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def hurry(self, position: int, size: int) -> None:
        """``sync`` will come: have the system begin with these bytes. Promises nothing, and fails
        silently (sync_file_range(2))."""
        begin = getattr(_libc, "sync_file_range", None)
        if begin is not None:
            begin(self.fd, ctypes.c_int64(position), ctypes.c_int64(size), _RANGE_WRITE)

    def sync(self) -> None:
        """Returns when what was written is on the device (fdatasync)."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Closes the file, once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Window:
    """Reads many small pieces of a file that lie close together with few calls."""

    SIZE = 1 << 14

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._start = 0
        self._data = b""

    def read(self, position: int, size: int) -> bytes:
        """As ``Storage.read``; what was read once may not be seen to change."""
        start = position - self._start
        if start < 0 or start + size > len(self._data):
            if size > self.SIZE:
                return self.storage.read(position, size)
            self._start, start = position, 0
            self._data = self.storage.read(position, self.SIZE)
        return self._data[start : start + size]


def write_all(storage: Storage, position: int, buffers: Sequence[Buffer]) -> int:
    """Writes all of ``buffers`` at ``position`` however short the single writes are; returns the
    end position.
    """
    pending = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    first = 0
    while first < len(pending):
        written = storage.write(position, pending[first : first + IOV_MAX])
        if written <= 0:
            raise OSError(5, "the write made no progress")
        position += written
        while first < len(pending) and written >= len(pending[first]):
            written -= len(pending[first])
            first += 1
        if written:
            pending[first] = pending[first][written:]
    return position
