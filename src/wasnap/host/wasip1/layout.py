"""Byte layouts: what lies where in guest memory. Little-endian, offsets in bytes.

The pictures stand here once; the functions that write them name the layout.

Source: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#types
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..descriptors import Status
from ..protocol import Memory
from . import spec

_MASK64 = (1 << 64) - 1
_IOV_MAX = 1024
"""Buffers the kernel takes in one call; a guest that gives more gets a short count."""

_FDSTAT = struct.Struct("<BxH4xQQ")
_FILESTAT = struct.Struct("<QQB7xQQQQQ")
_DIRENT = struct.Struct("<QQIB3x")
_PRESTAT = struct.Struct("<B3xI")
_EVENT = struct.Struct("<QHB5xQH6x")
_SUBSCRIPTION_SIZE = 48

FDSTAT_SIZE = _FDSTAT.size
FILESTAT_SIZE = _FILESTAT.size
EVENT_SIZE = _EVENT.size
DIRENT_SIZE = _DIRENT.size
POINTER_SIZE = 4

_FILETYPES = {
    stat.S_IFBLK: spec.FILETYPE_BLOCK_DEVICE,
    stat.S_IFCHR: spec.FILETYPE_CHARACTER_DEVICE,
    stat.S_IFDIR: spec.FILETYPE_DIRECTORY,
    stat.S_IFREG: spec.FILETYPE_REGULAR_FILE,
    stat.S_IFSOCK: spec.FILETYPE_SOCKET_STREAM,
    stat.S_IFLNK: spec.FILETYPE_SYMBOLIC_LINK,
}


def filetype(mode: int) -> int:
    """``filetype`` of a ``st_mode``. WASI has no word for a pipe: UNKNOWN."""
    return _FILETYPES.get(stat.S_IFMT(mode), spec.FILETYPE_UNKNOWN)


def windows(iovec: struct.Struct) -> Callable[[Memory, int, int], list[memoryview]]:
    """What reads an array of buffers that are written so, of an address and a length: windows of guest
    memory, empty ones left out."""
    size, entries = iovec.size, iovec.iter_unpack

    def read(memory: Memory, ptr: int, count: int) -> list[memoryview]:
        views: list[memoryview] = []
        view = memory.view
        for buffer, length in entries(view(ptr, size * count)):
            if length:
                views.append(view(buffer, length))
                if len(views) == _IOV_MAX:
                    break
        return views

    return read


iovecs = windows(struct.Struct("<II"))
"""``iovec`` array.

::

    0    4      8
    | buf | len | ... count times
"""


def fdstat(mode: int, fdflags: int, rights: int, inheriting: int) -> bytes:
    """``fdstat``.

    ::

        0          1  2       4  8             16                  24
        | filetype |  | flags |  | rights base | rights inheriting |
    """
    return _FDSTAT.pack(filetype(mode), fdflags, rights, inheriting)


def filestat(status: Status) -> bytes:
    """``filestat`` of preview1. Times in ns since the epoch.

    ::

        0     8     16         17 24      32     40     48     56     64
        | dev | ino | filetype |  | nlink | size | atim | mtim | ctim |
    """
    return _FILESTAT.pack(
        status.st_dev & _MASK64,
        status.st_ino & _MASK64,
        filetype(status.st_mode),
        status.st_nlink,
        status.st_size,
        status.st_atime_ns & _MASK64,
        status.st_mtime_ns & _MASK64,
        status.st_ctime_ns & _MASK64,
    )


def dirent(following: int, inode: int, name: bytes, mode: int) -> bytes:
    """``dirent`` and the name behind it. ``following``: the cookie of the next entry.

    ::

        0      8     16       20     21 24
        | next | ino | namlen | type |  | name (namlen bytes, no NUL)
    """
    return _DIRENT.pack(following, inode & _MASK64, len(name), filetype(mode)) + name


def prestat(name_length: int, tag: int = spec.PREOPENTYPE_DIR) -> bytes:
    """``prestat``; the length is that of a directory's name.

    ::

        0     1  4             8
        | tag |  | name length |
    """
    return _PRESTAT.pack(tag, name_length)


def event(userdata: int, error: int, kind: int, nbytes: int = 0, flags: int = 0) -> bytes:
    """``event``.

    ::

        0          8       10     11 16       24      26 32
        | userdata | error | type |  | nbytes | flags |  |
    """
    return _EVENT.pack(userdata, error, kind, nbytes, flags)


class Subscription(NamedTuple):
    """One thing to wait for. ``fd`` for FD_READ and FD_WRITE, the others for CLOCK."""

    userdata: int
    kind: int
    fd: int = 0
    clock: int = 0
    timeout: int = 0
    flags: int = 0


def subscriptions(memory: Memory, ptr: int, count: int) -> Iterator[Subscription]:
    """``subscription`` array of preview1.

    ::

        0          8     9  16                          48
        | userdata | tag |  | fd |                      |
                            16      20 24        32          40      42
                            | clock |  | timeout | precision | flags |
    """
    data = memory.read(ptr, _SUBSCRIPTION_SIZE * count)
    for at in range(0, len(data), _SUBSCRIPTION_SIZE):
        userdata, kind = struct.unpack_from("<QB", data, at)
        if kind == spec.EVENTTYPE_CLOCK:
            clock, timeout, _, flags = struct.unpack_from("<I4xQQH", data, at + 16)
            yield Subscription(userdata, kind, clock=clock, timeout=timeout, flags=flags)
        else:
            yield Subscription(userdata, kind, fd=struct.unpack_from("<I", data, at + 16)[0])
