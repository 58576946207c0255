"""sock_*: sockets among the descriptors (``host/socket.py``), and standard streams that are sockets.

Every function fails with BADF if fd is not open, and NOTSOCK if it is not a socket. On a connection
that was open when the snapshot was taken, receiving and sending give CONNRESET after a resume.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import errno
import socket
import stat

from .. import rights as r
from ..beneath import os_error
from ..descriptors import Descriptor
from ..protocol import Call
from ..socket import Listener, peek, receive, shutdown
from ..world import Host
from . import layout
from .abi import I32, Ptr, SizeAt
from .errno import invalid

_RIFLAGS_RECV_PEEK = 1 << 0
_RIFLAGS_RECV_WAITALL = 1 << 1
SDFLAGS = {1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}


class Sock:
    """Sockets."""

    _iovecs = staticmethod(layout.iovecs)

    def __init__(self, host: Host) -> None:
        self._descriptors = host.descriptors

    def _socket(self, fd: int, right: int) -> Descriptor:
        descriptor = self._descriptors.get(fd)
        if not stat.S_ISSOCK(descriptor.stat().st_mode):
            raise os_error(errno.ENOTSOCK)
        return self._descriptors.get(fd, right)

    def sock_accept(self, call: Call, fd: I32, flags: I32, result: Ptr) -> None:
        """Accept a connection; u32 descriptor at result. Like accept. flags: fdflags of the new
        one: NONBLOCK or 0. AGAIN: there is none, and fd is NONBLOCK. INVAL: fd does not listen,
        or other flags.
        """
        listener = self._socket(fd, 0)
        if not isinstance(listener, Listener):
            raise invalid("socket")
        if flags & ~r.NONBLOCK:
            raise invalid("fdflags")
        self._descriptors.get(fd, r.SOCK_ACCEPT)
        call.memory.u32(result)
        connection = listener.accept(call, flags)
        call.memory.set_u32(result, self._descriptors.add(connection))

    def sock_recv(
        self,
        call: Call,
        fd: I32,
        ri_data: Ptr,
        ri_data_len: Ptr,
        ri_flags: I32,
        ro_datalen: SizeAt,
        ro_flags: Ptr,
    ) -> None:
        """Receive into buffers. Like recv. u32 bytes at ro_datalen, u16 flags (none) at ro_flags.

        ri_data: ri_data_len ``iovec``. ri_flags: bit 0 PEEK, bit 1 WAITALL. INVAL: other
        flags. AGAIN: nothing there, and fd is NONBLOCK. NOTCONN: fd listens.
        """
        descriptor = self._socket(fd, r.FD_READ)
        if ri_flags & ~(_RIFLAGS_RECV_PEEK | _RIFLAGS_RECV_WAITALL):
            raise invalid("riflags")
        memory = call.memory
        memory.u16(ro_flags)
        views = self._iovecs(memory, ri_data, ri_data_len)
        if ri_flags & _RIFLAGS_RECV_PEEK:
            n = peek(call, descriptor, views)
        elif ri_flags & _RIFLAGS_RECV_WAITALL:
            n = receive(call, descriptor, views)
        else:
            n = descriptor.read(call, views)
        memory.set_u32(ro_datalen, n)
        memory.set_u16(ro_flags, 0)

    def sock_send(
        self, call: Call, fd: I32, si_data: Ptr, si_data_len: Ptr, si_flags: I32, so_datalen: SizeAt
    ) -> None:
        """Send buffers. Like send. si_data: si_data_len ``ciovec``. u32 bytes at so_datalen.

        INVAL: si_flags is not 0. AGAIN: no room, and fd is NONBLOCK. PIPE: the peer is gone.
        """
        descriptor = self._socket(fd, r.FD_WRITE)
        if si_flags:
            raise invalid("siflags")
        views = self._iovecs(call.memory, si_data, si_data_len)
        call.memory.set_u32(so_datalen, descriptor.write(call, views))

    def sock_shutdown(self, call: Call, fd: I32, how: I32) -> None:
        """End receiving (bit 0), sending (bit 1) or both. Like shutdown. INVAL, NOTCONN."""
        descriptor = self._socket(fd, 0)
        if how not in SDFLAGS:
            raise invalid("sdflags")
        shutdown(descriptor, SDFLAGS[how])
