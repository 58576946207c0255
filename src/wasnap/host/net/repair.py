"""TCP connections that outlive their process: saved and restored with the kernel's TCP_REPAIR.

The process must end with the snapshot: what a connection is would change after it. So a snapshot that
the process ends with *freezes* its connections first: a filter drops all that comes (the peer sends it
again later), and the kernel then tells what they are: sequence numbers, windows, options, what was
received and not read, what was sent and not acknowledged. A frozen connection is closed without a
word. *Thawing* takes both back.

Restoring makes a socket that claims to be that connection, gives it all this, and has the kernel ask
the peer for an answer. Meanwhile nobody may have told the peer that there is no such connection: the
kernel does, when a packet comes for it. For as long as the process is away such packets must be
dropped (by a rule of the firewall), or none come: docs/limits.md.

It takes CAP_NET_ADMIN. Connections that are not established (half closed, being made) are reset.

Source: tcp(7); linux/tcp.h; the order is that of the kernel's own rules: queues' numbers
before connecting, options after it, windows last.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import termios
from typing import Final

import msgspec

from wasnap.errors import UsageError

from ..beneath import os_error
from .endpoint import KERNELS, Endpoint

_TCP: Final = socket.IPPROTO_TCP
_REPAIR, _REPAIR_QUEUE, _QUEUE_SEQ, _REPAIR_OPTIONS, _TIMESTAMP, _REPAIR_WINDOW = (
    *(19, 20, 21, 22, 24),
    29,
)
_ON, _OFF, _OFF_SILENT = 1, 0, -1
_NONE, _RECEIVED, _SENT = 0, 1, 2
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_DROP_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0)
"""One instruction of a classic packet filter: return 0."""
_ESTABLISHED: Final = 1
_INFO: Final = struct.Struct("8B")
"""tcp_info: state, ..., options (byte 5), window scales (byte 6: ours to send, to receive)."""
_TIMESTAMPS, _SACK, _WINDOW_SCALE = 1, 2, 4
_OPT_MSS, _OPT_WINDOW, _OPT_SACK, _OPT_TIMESTAMP = 2, 3, 4, 8
_WINDOW_SIZE: Final = 20
_UNSENT: Final = 0x894B
"""SIOCOUTQNSD."""
_MASK: Final = 0xFFFF_FFFF
_SEND_BUFFER, _RECEIVE_BUFFER = 32, 33
"""SO_SNDBUFFORCE, SO_RCVBUFFORCE: sizes that the kernel doubles, and that need no limit."""
_PLENTY: Final = 1 << 14


class Connection(msgspec.Struct, frozen=True):
    """An established connection, as the kernel has it. ``received``, ``sent``: not read, not
    acknowledged; the last ``unsent`` bytes of it have never been sent. ``*_end``: sequence numbers
    after them. ``scales``: None: windows are not scaled. ``window``: TCP_REPAIR_WINDOW.
    """

    local: Endpoint
    peer: Endpoint
    received: bytes
    received_end: int
    sent: bytes
    sent_end: int
    unsent: int
    mss: int
    scales: tuple[int, int] | None
    sack: bool
    timestamp: int | None
    window: bytes


def check() -> None:
    """Raises UsageError where the kernel does not let us."""
    with socket.socket() as probe:
        try:
            probe.setsockopt(_TCP, _REPAIR, _ON)
        except OSError as error:
            raise UsageError(
                f"--sockets repair: the kernel does not let us (TCP_REPAIR): {error.strerror}",
                "it takes CAP_NET_ADMIN; --sockets reset and reconnect do not",
            ) from None


def freeze(sock: socket.socket, local: Endpoint, peer: Endpoint) -> Connection | None:
    """Nothing comes or goes any more; what it is. None: not established, left as it is. Raises
    OSError."""
    program = array.array("B", _DROP_ALL)
    filter_ = struct.pack("@HP", 1, program.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, filter_)
    try:
        info = _INFO.unpack(sock.getsockopt(_TCP, socket.TCP_INFO, _INFO.size))
        if info[0] == _ESTABLISHED:
            sock.setsockopt(_TCP, _REPAIR, _ON)
            return _describe(sock, local, peer, info)
    except BaseException:
        thaw(sock)
        raise
    sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
    return None


def thaw(sock: socket.socket) -> None:
    """It goes on."""
    sock.setsockopt(_TCP, _REPAIR, _OFF_SILENT)
    sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _describe(
    sock: socket.socket, local: Endpoint, peer: Endpoint, info: tuple[int, ...]
) -> Connection:
    options, scales = info[5], info[6]
    received, received_end = _queue(sock, _RECEIVED, termios.FIONREAD)
    sent, sent_end = _queue(sock, _SENT, termios.TIOCOUTQ)
    sock.setsockopt(_TCP, _REPAIR_QUEUE, _NONE)
    return Connection(
        local=local,
        peer=peer,
        received=received,
        received_end=received_end,
        sent=sent,
        sent_end=sent_end,
        unsent=_count(sock, _UNSENT),
        mss=sock.getsockopt(_TCP, socket.TCP_MAXSEG),
        scales=(scales & 15, scales >> 4) if options & _WINDOW_SCALE else None,
        sack=bool(options & _SACK),
        timestamp=sock.getsockopt(_TCP, _TIMESTAMP) & _MASK if options & _TIMESTAMPS else None,
        window=sock.getsockopt(_TCP, _REPAIR_WINDOW, _WINDOW_SIZE),
    )


def _queue(sock: socket.socket, queue: int, ioctl: int) -> tuple[bytes, int]:
    """What is in it, and the number after it."""
    sock.setsockopt(_TCP, _REPAIR_QUEUE, queue)
    end = sock.getsockopt(_TCP, _QUEUE_SEQ) & _MASK
    size = _count(sock, ioctl)
    data = sock.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT) if size else b""
    if len(data) != size:
        raise os_error(errno.EIO)
    return data, end


def _count(sock: socket.socket, ioctl: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), ioctl, bytes(4)))[0])


def claim(saved: Connection) -> socket.socket:
    """A socket that says it is this connection; nothing is sent yet. Raises OSError."""
    sock = socket.socket(KERNELS[saved.local.family], socket.SOCK_STREAM)
    try:
        sock.setsockopt(_TCP, _REPAIR, _ON)
        for queue, end, data in (
            (_RECEIVED, saved.received_end, saved.received),
            (_SENT, saved.sent_end, saved.sent),
        ):
            sock.setsockopt(_TCP, _REPAIR_QUEUE, queue)
            _set_number(sock, _QUEUE_SEQ, end - len(data))
        sock.bind(saved.local.name())
        sock.connect(saved.peer.name())
        return sock
    except BaseException:
        sock.close()
        raise


def restore(sock: socket.socket, saved: Connection) -> None:
    """Give it all the rest; from here on the peer hears of it. Raises OSError."""
    options = [(_OPT_MSS, saved.mss)]
    if saved.scales is not None:
        options.append((_OPT_WINDOW, saved.scales[0] | saved.scales[1] << 16))
    if saved.sack:
        options.append((_OPT_SACK, 0))
    if saved.timestamp is not None:
        options.append((_OPT_TIMESTAMP, 0))
    packed = b"".join(struct.pack("@II", *option) for option in options)
    sock.setsockopt(_TCP, _REPAIR_OPTIONS, packed)
    if saved.timestamp is not None:
        _set_number(sock, _TIMESTAMP, saved.timestamp)
    for buffer, data in ((_RECEIVE_BUFFER, saved.received), (_SEND_BUFFER, saved.sent)):
        if len(data) > _PLENTY:  # else it has room
            sock.setsockopt(socket.SOL_SOCKET, buffer, len(data))
    _fill(sock, _RECEIVED, saved.received)
    sent = len(saved.sent) - saved.unsent
    _fill(sock, _SENT, saved.sent[:sent])
    sock.setsockopt(_TCP, _REPAIR_QUEUE, _NONE)
    sock.setsockopt(_TCP, _REPAIR_WINDOW, saved.window)
    sock.setsockopt(_TCP, _REPAIR, _OFF)
    rest = saved.sent[sent:]
    while rest:
        rest = rest[os.write(sock.fileno(), rest) :]


def _fill(sock: socket.socket, queue: int, data: bytes) -> None:
    if data:
        sock.setsockopt(_TCP, _REPAIR_QUEUE, queue)
        while data:
            data = data[sock.send(data[:_PLENTY]) :]


def _set_number(sock: socket.socket, option: int, number: int) -> None:
    sock.setsockopt(_TCP, option, struct.pack("@I", number & _MASK))
