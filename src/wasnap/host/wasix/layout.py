"""Byte layouts of WASIX that preview1 does not have. Little-endian, offsets in bytes.

Source: https://github.com/wasix-org/wasix-libc, libc-bottom-half/headers/public/wasi/api_wasix.h
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..protocol import Memory

_TTY = struct.Struct("<IIII6?2x")
_OPTION_SOME = 1

TTY_SIZE = _TTY.size
THREAD_START_SIZE = 64


class TtyFields(NamedTuple):
    """A terminal: ``columns``, ``rows`` of characters; ``width``, ``height`` in pixels, or 0."""

    columns: int
    rows: int
    width: int
    height: int
    stdin_tty: bool
    stdout_tty: bool
    stderr_tty: bool
    echo: bool
    line_buffered: bool
    line_feeds: bool


def tty(fields: TtyFields) -> bytes:
    """``tty``.

    ::

        0      4      8       12       16         17          18          19     20         21       22 24
        | cols | rows | width | height | stdin is | stdout is | stderr is | echo | buffered | newline |  |
    """
    return _TTY.pack(*fields)


def read_tty(memory: Memory, ptr: int) -> TtyFields:
    """What ``tty`` makes."""
    return TtyFields(*_TTY.unpack(memory.read(ptr, TTY_SIZE)))


def option_timestamp(memory: Memory, ptr: int) -> int | None:
    """``option_timestamp``: ns, or None.

    ::

        0     1  8    16
        | tag |  | ns |        tag: 0 none, 1 some
    """
    memory.view(ptr, 16)
    return memory.u64(ptr + 8) if memory.u8(ptr) == _OPTION_SOME else None
