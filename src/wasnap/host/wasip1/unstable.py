"""wasi_unstable (snapshot 0): preview1 before its layouts changed. Only what differs stands here.

| what | preview1 | wasi_unstable |
|---|---|---|
| whence | SET 0, CUR 1, END 2 | CUR 0, END 1, SET 2 |
| filestat | 64 bytes, u64 link count | 56 bytes, u32 link count |
| subscription | 48 bytes | 56 bytes: a clock's own userdata comes first |
| sock_accept | there | not there |

Source: https://github.com/WebAssembly/WASI/tree/wasi-0.1/preview0
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from ..descriptors import Status
from ..protocol import Memory
from . import spec
from .fd import Fd
from .layout import Subscription, filetype
from .path import Path
from .poll import Poll

_MASK64 = (1 << 64) - 1
_FILESTAT = struct.Struct("<QQB3xIQQQQ")
_SUBSCRIPTION_SIZE = 56


def filestat(status: Status) -> bytes:
    """``filestat``.

    ::

        0     8     16         17 20      24     32     40     48     56
        | dev | ino | filetype |  | nlink | size | atim | mtim | ctim |
    """
    return _FILESTAT.pack(
        status.st_dev & _MASK64,
        status.st_ino & _MASK64,
        filetype(status.st_mode),
        status.st_nlink & 0xFFFFFFFF,
        status.st_size,
        status.st_atime_ns & _MASK64,
        status.st_mtime_ns & _MASK64,
        status.st_ctime_ns & _MASK64,
    )


def subscriptions(memory: Memory, ptr: int, count: int) -> Iterator[Subscription]:
    """``subscription`` array.

    ::

        0          8     9  16                                     56
        | userdata | tag |  | fd |                                 |
                            16         24      28 32        40          48      50
                            | userdata | clock |  | timeout | precision | flags |
    """
    data = memory.read(ptr, _SUBSCRIPTION_SIZE * count)
    for at in range(0, len(data), _SUBSCRIPTION_SIZE):
        userdata, kind = struct.unpack_from("<QB", data, at)
        if kind == spec.EVENTTYPE_CLOCK:
            _, clock, timeout, _, flags = struct.unpack_from("<QI4xQQH", data, at + 16)
            yield Subscription(userdata, kind, clock=clock, timeout=timeout, flags=flags)
        else:
            yield Subscription(userdata, kind, fd=struct.unpack_from("<I", data, at + 16)[0])


class UnstableFd(Fd):
    """fd_* with the old whence and filestat."""

    _whence = (os.SEEK_CUR, os.SEEK_END, os.SEEK_SET)
    _filestat = staticmethod(filestat)


class UnstablePath(Path):
    """path_* with the old filestat."""

    _filestat = staticmethod(filestat)


class UnstablePoll(Poll):
    """poll_oneoff with the old subscription."""

    _subscriptions = staticmethod(subscriptions)
