"""sock_*: sockets among the descriptors.

None can be there unless this process got one as a standard stream: preview1 cannot make one.
Every function fails with BADF if fd is not open, and NOTSOCK if it is not a socket.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .. import rights as r
from ..beneath import os_error
from ..descriptors import Descriptor
from ..protocol import Call
from ..world import Host
from . import layout
from .abi import I32
from .errno import invalid

_RIFLAGS_RECV_PEEK = 1 << 0
_RIFLAGS_RECV_WAITALL = 1 << 1
_ROFLAGS_RECV_DATA_TRUNCATED = 1 << 0
_SDFLAGS = {1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}


class Sock:
    """Sockets."""

    def __init__(self, host: Host) -> None:
        self._descriptors = host.descriptors

    def _socket(self, fd: int, right: int) -> Descriptor:
        descriptor = self._descriptors.get(fd)
        if not stat.S_ISSOCK(descriptor.stat().st_mode):
            raise os_error(errno.ENOTSOCK)
        return self._descriptors.get(fd, right)

    def sock_accept(self, call: Call, fd: I32, flags: I32, result: I32) -> None:
        """Accept a connection; u32 descriptor at result. Like accept. NOTSUP for what is a socket:
        listening sockets are not among the descriptors yet."""
        self._socket(fd, 0)
        raise os_error(errno.EOPNOTSUPP)

    def sock_recv(
        self,
        call: Call,
        fd: I32,
        ri_data: I32,
        ri_data_len: I32,
        ri_flags: I32,
        ro_datalen: I32,
        ro_flags: I32,
    ) -> None:
        """Receive into buffers. Like recv. u32 bytes at ro_datalen, u16 flags at ro_flags.

        ri_data: ri_data_len ``iovec``. ri_flags: bit 0 PEEK, bit 1 WAITALL. INVAL: other flags.
        """
        descriptor = self._socket(fd, r.FD_READ)
        if ri_flags & ~(_RIFLAGS_RECV_PEEK | _RIFLAGS_RECV_WAITALL):
            raise invalid("riflags")
        memory = call.memory
        views = layout.iovecs(memory, ri_data, ri_data_len)
        if ri_flags & _RIFLAGS_RECV_PEEK:
            call.wait([descriptor.fileno], [], None)
            with _borrowed(descriptor.fileno) as sock:
                n, _, message, _ = sock.recvmsg_into(views, 0, socket.MSG_PEEK)
        else:
            n, message = descriptor.read(call, views), 0
        memory.set_u32(ro_datalen, n)
        memory.set_u16(ro_flags, _ROFLAGS_RECV_DATA_TRUNCATED if message & socket.MSG_TRUNC else 0)

    def sock_send(
        self, call: Call, fd: I32, si_data: I32, si_data_len: I32, si_flags: I32, so_datalen: I32
    ) -> None:
        """Send buffers. Like send. si_data: si_data_len ``ciovec``. u32 bytes at so_datalen.

        INVAL: si_flags is not 0.
        """
        descriptor = self._socket(fd, r.FD_WRITE)
        if si_flags:
            raise invalid("siflags")
        views = layout.iovecs(call.memory, si_data, si_data_len)
        call.memory.set_u32(so_datalen, descriptor.write(call, views))

    def sock_shutdown(self, call: Call, fd: I32, how: I32) -> None:
        """End receiving (bit 0), sending (bit 1) or both. Like shutdown. INVAL, NOTCONN."""
        descriptor = self._socket(fd, 0)
        if how not in _SDFLAGS:
            raise invalid("sdflags")
        with _borrowed(descriptor.fileno) as sock:
            sock.shutdown(_SDFLAGS[how])


@contextmanager
def _borrowed(fileno: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=os.dup(fileno))
    try:
        yield sock
    finally:
        sock.close()
