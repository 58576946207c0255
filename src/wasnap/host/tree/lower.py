"""The lower directory of an overlay: read, never written, and never left.

Its paths are those of names the guest has looked at one by one (``Tree``), so none of their
components is a symbolic link or ``..``; should one be turned into a link meanwhile, the kernel
still resolves it beneath the directory (``beneath.py``).

A lower directory that is not there any more, when a process is resumed, has no names.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..beneath import O_PATH, open_beneath, os_error, parent, storable
from .node import Node

if TYPE_CHECKING:
    from .volume import Volume

_PIECE = 1 << 20
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EPERM)
"""What looking for a name gives when somebody has put something else there."""


class Found(NamedTuple):
    """Something in the lower directory; ``target`` of a symbolic link."""

    status: os.stat_result
    target: bytes


class Lower:
    """An open host directory."""

    def __init__(self, host: str, *, may_be_missing: bool = False) -> None:
        """Raises OSError."""
        self.host = host
        self._fileno: int | None = None
        try:
            self._fileno = os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            if not may_be_missing:
                raise

    @property
    def is_missing(self) -> bool:
        return self._fileno is None

    def look(self, path: bytes) -> Found | None:
        """What is there now; None: nothing."""
        if self._fileno is None:
            return None
        try:
            fd = open_beneath(self._fileno, path, O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        target = b""
        if stat.S_ISLNK(status.st_mode):
            with parent(self._fileno, path) as (fd, name):
                try:
                    target = os.readlink(name, dir_fd=fd)
                except OSError:  # replaced since
                    return None
        return Found(status, target)

    def names(self, path: bytes) -> list[bytes]:
        """All names in a directory; none if it is not there any more."""
        if self._fileno is None:
            return []
        try:
            fd = open_beneath(self._fileno, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return []
            raise
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def copy(self, path: bytes, node: Node, volume: Volume) -> None:
        """The file's content, size and times into ``node``; holes stay holes.

        ENOENT: it is not there any more, or no regular file. ENOSPC.
        """
        if self._fileno is None:
            raise os_error(errno.ENOENT)
        try:
            fd = open_beneath(self._fileno, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise os_error(
                errno.ENOENT if error.errno in _NOT_THERE else error.errno or 0
            ) from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise os_error(errno.ENOENT)
            buffer = memoryview(bytearray(_PIECE))
            for start, end in _data(fd, status.st_size):
                while start < end:
                    n = os.preadv(fd, [buffer[: end - start]], start)
                    if not n:
                        break
                    if volume.write(node, [buffer[:n]], start) < n:
                        raise os_error(errno.ENOSPC)
                    start += n
            node.size = status.st_size
            node.mtime = storable(status.st_mtime_ns)
            node.ctime = storable(status.st_ctime_ns)
        finally:
            os.close(fd)

    def close(self) -> None:
        if self._fileno is not None:
            os.close(self._fileno)
            self._fileno = None


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: start and end, in bytes. What is left out are holes."""
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = min(size, os.lseek(fd, at, os.SEEK_HOLE))
        yield at, end
        at = end
