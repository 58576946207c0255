"""Byte layouts of WASIX that preview1 does not have. Little-endian, offsets in bytes.

Source: https://github.com/wasix-org/wasix-libc, libc-bottom-half/headers/public/wasi/api_wasix.h
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from ..beneath import os_error
from ..net.endpoint import Endpoint, Family
from ..processes import Ended
from ..protocol import Memory
from ..wasip1.errno import invalid

_TTY = struct.Struct("<IIII6?2x")
_OPTION_SOME = 1
_JOIN = struct.Struct("<BxHH")
_NOTHING, _EXIT_NORMAL, _EXIT_SIGNAL = range(3)
_FD_OP = struct.Struct("<B3xIIIIIHxxxxxxQQHH4x")
_WIDE_FD_OP = struct.Struct("<B3xII4xQQIHxxQQHH4x")

TTY_SIZE = _TTY.size
THREAD_START_POINTERS = 16
STACK_SNAPSHOT_SIZE = 24
JOIN_STATUS_SIZE = _JOIN.size
PROCESS_HANDLES_SIZE = 28


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


def write_stack_snapshot(memory: Memory, ptr: int, address: int, number: int) -> None:
    """``stack_snapshot``; the hash is ours to choose: where it was first written, and a number.

    ::

        0      8         16       24
        | user | address | number |         user: the guest's own, left alone
    """
    memory.set_u64(ptr + 8, address)
    memory.set_u64(ptr + 16, number)


def read_stack_snapshot(memory: Memory, ptr: int) -> tuple[int, int]:
    """Address and number."""
    return memory.u64(ptr + 8), memory.u64(ptr + 16)


def option_timestamp(memory: Memory, ptr: int) -> int | None:
    """``option_timestamp``: ns, or None.

    ::

        0     1  8    16
        | tag |  | ns |        tag: 0 none, 1 some
    """
    memory.view(ptr, 16)
    return memory.u64(ptr + 8) if memory.u8(ptr) == _OPTION_SOME else None


# -- sockets ----------------------------------------------------------------------------------

_FAMILIES: Final[dict[int, Family]] = {1: "inet4", 2: "inet6", 3: "unix"}
_TAGS: Final = {family: tag for tag, family in _FAMILIES.items()}
_UNIX_PATH_SIZE: Final = 108
ADDRESS_SIZE: Final = 18


def family(tag: int) -> Family:
    """``address_family``. Raises OSError (EAFNOSUPPORT)."""
    try:
        return _FAMILIES[tag]
    except KeyError:
        raise os_error(errno.EAFNOSUPPORT) from None


def endpoint(endpoint: Endpoint, *, old: bool = False) -> bytes:
    """``addr_port``, as much of it as this family has.

    ::

        0     1 2      4                                    110
        | tag | | port | address |                          |       tag: 1 inet4: 4 bytes
        | tag | | port | address (16) | flow | scope |      |            2 inet6; the numbers' upper halves first
        | tag | | path, with a NUL                          |            3 unix

    ``old``: the older ABI's, 20 bytes, has neither flow nor scope. The port is little-endian, the
    address as the network has it.
    """
    head = struct.pack("<BxH", _TAGS[endpoint.family], endpoint.port)
    if endpoint.family == "inet4":
        return head + socket.inet_aton(endpoint.host)
    if endpoint.family == "inet6":
        data = head + socket.inet_pton(socket.AF_INET6, endpoint.host)
        return data if old else data + _halves(endpoint.flow) + _halves(endpoint.scope)
    return head[:2] + endpoint.path[: _UNIX_PATH_SIZE - 1] + b"\0"


def read_endpoint(memory: Memory, ptr: int, *, old: bool = False) -> Endpoint:
    """What ``endpoint`` makes. Raises OSError (EAFNOSUPPORT)."""
    kind = family(memory.u8(ptr))
    if kind == "inet4":
        return Endpoint(kind, socket.inet_ntoa(memory.read(ptr + 4, 4)), memory.u16(ptr + 2))
    if kind == "inet6":
        host = socket.inet_ntop(socket.AF_INET6, memory.read(ptr + 4, 16))
        numbers = (0, 0) if old else (_whole(memory, ptr + 20), _whole(memory, ptr + 24))
        return Endpoint(kind, host, memory.u16(ptr + 2), *numbers)
    path = memory.read(ptr + 2, _UNIX_PATH_SIZE)
    return Endpoint(kind, path=path.partition(b"\0")[0])


def _halves(number: int) -> bytes:
    return struct.pack("<HH", number >> 16 & 0xFFFF, number & 0xFFFF)


def _whole(memory: Memory, ptr: int) -> int:
    return memory.u16(ptr) << 16 | memory.u16(ptr + 2)


def ip(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """``addr_ip``.

    ::

        0     1 2         18
        | tag | | address |        as the network has it; of inet4 the first 4 bytes
    """
    return struct.pack("<Bx16s", 1 if address.version == 4 else 2, address.packed)


def write_option_timestamp(memory: Memory, ptr: int, ns: int | None) -> None:
    """What ``option_timestamp`` reads."""
    memory.write(ptr, struct.pack("<B7xQ", ns is not None, ns or 0))


# -- epoll ------------------------------------------------------------------------------------

EPOLL_EVENT_SIZE: Final = 32


def epoll_event(events: int, data: bytes) -> bytes:
    """``epoll_event``. ``data``: what the guest gave.

    ::

        0        4 8     12   16      20 24      32
        | events | | ptr | fd | data1 |  | data2 |        of the guest, but for events
    """
    return struct.pack("<I4x", events) + data


def read_epoll_event(memory: Memory, ptr: int) -> tuple[int, bytes]:
    """Events and data."""
    return memory.u32(ptr), memory.read(ptr + 8, EPOLL_EVENT_SIZE - 8)


def read_option_pid(memory: Memory, ptr: int) -> int | None:
    """``option_pid``. INVAL: another tag.

    ::

        0     1  4     8
        | tag |  | pid |        tag: 0 none, 1 some
    """
    memory.view(ptr, 8)
    tag = memory.u8(ptr)
    if tag > _OPTION_SOME:
        raise invalid("option_pid")
    return memory.u32(ptr + 4) if tag else None


def write_option_pid(memory: Memory, ptr: int, pid: int) -> None:
    """``option_pid``, some."""
    memory.set_u8(ptr, _OPTION_SOME)
    memory.set_u32(ptr + 4, pid)


def join_status(ended: Ended | None) -> bytes:
    """``join_status``. A process that a signal ended has exit code 0 here, as in waitpid's status.

    ::

        0     1  2      4        6
        | tag |  | code | signal |        tag: 0 nothing, 1 exit_normal (code), 2 exit_signal
    """
    if ended is None:
        return _JOIN.pack(_NOTHING, 0, 0)
    if ended.signal:
        return _JOIN.pack(_EXIT_SIGNAL, 0, ended.signal)
    return _JOIN.pack(_EXIT_NORMAL, ended.code & 0xFFFF, 0)


def process_handles(pid: int, ends: Sequence[int | None]) -> bytes:
    """``process_handles``: ``ends``, of pipes to stdin, stdout and stderr.

    ::

        0     4     5  8    12    13 16   20    21 24   28
        | pid | tag |  | fd | tag |  | fd | tag |  | fd |      tag: 0 none, 1 some
    """
    return struct.pack("<I", pid) + b"".join(
        struct.pack("<B3xI", end is not None, end or 0) for end in ends
    )


class FdOp(NamedTuple):
    """``proc_spawn_fd_op``: ``cmd`` 0 close fd, 1 dup2 (src_fd, fd), 2 open as fd, 3 chdir, 4 fchdir."""

    cmd: int
    fd: int
    src_fd: int
    path: int
    path_len: int
    dirflags: int
    oflags: int
    rights_base: int
    rights_inheriting: int
    fdflags: int
    fdflagsext: int


def read_fd_ops(memory: Memory, ptr: int, count: int) -> list[FdOp]:
    """``proc_spawn_fd_op`` array.

    ::

        0     1  4    8        12     16         20         24       26 32       40          48        50          52 56
        | cmd |  | fd | src_fd | path | path_len | dirflags | oflags |  | rights | inheriting| fdflags | fdflagsext |  |
    """
    return _fd_ops(_FD_OP, memory, ptr, count)


def read_wide_fd_ops(memory: Memory, ptr: int, count: int) -> list[FdOp]:
    """The same with pointers of 64 bits.

    ::

        0     1  4    8        12 16     24         32         36       38 40
        | cmd |  | fd | src_fd |  | path | path_len | dirflags | oflags |  |
        40       48           56        58           60 64
        | rights | inheriting | fdflags | fdflagsext |  |
    """
    return _fd_ops(_WIDE_FD_OP, memory, ptr, count)


def _fd_ops(kind: struct.Struct, memory: Memory, ptr: int, count: int) -> list[FdOp]:
    return [FdOp(*fields) for fields in kind.iter_unpack(memory.read(ptr, kind.size * count))]
