"""sock_*, resolve: sockets of the guest's own (``host/net/``).

Every function fails with BADF if fd is not open, NOTSOCK if it is not a socket, ACCES for what the user
has not allowed (``host/net/network.py``), FAULT if a pointer leaves the memory, and with what the
operating system says; the comments name what is particular.

Addresses: ``layout.endpoint`` (110 bytes; only those that a family needs are read or written).
"""

from __future__ import annotations

import errno
import socket

from .. import rights as r
from ..beneath import os_error
from ..net import names, options, pair
from ..net.endpoint import Endpoint
from ..net.socket import CONNECTED, LISTENING, LOST, Group, Socket
from ..protocol import Call, Memory, Progress, Stop, Suspended
from ..stream import skip
from ..wasip1 import sock as preview1
from ..wasip1.abi import I32, I64, Ptr, Size, SizeAt
from ..wasip1.errno import WASI_ERRNO, invalid
from ..world import Host
from . import layout

_STREAM, _DGRAM = "stream", "dgram"
_KINDS = {0: _DGRAM, 1: _STREAM, 2: _DGRAM}
"""``sock_type``; 0 is what an older ABI has for datagrams."""
_RAW, _SEQPACKET = 3, 4
_PROTOCOLS = {
    _STREAM: (0, socket.IPPROTO_TCP),
    _DGRAM: (0, socket.IPPROTO_UDP),
}
_PEEK, _WAITALL, _TRUNCATED, _DONT_WAIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_SEND_DONT_WAIT = 1 << 0
_OPENING, _OPENED, _CLOSED, _FAILED = range(4)
_CHUNK = 1 << 18


class Sock(preview1.Sock):
    """Sockets."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._host = host

    # -- making -------------------------------------------------------------------------------

    def sock_open(self, call: Call, af: I32, socktype: I32, sock_proto: I32, result: Ptr) -> None:
        """A socket: u32 descriptor at result. Like socket.

        AFNOSUPPORT: no such family, or one that has no addresses here (unix). PROTONOSUPPORT: raw,
        seqpacket, or a protocol that is not this type's.
        """
        call.memory.u32(result)
        family = layout.family(af & 0xFF)
        if family == "unix":
            raise os_error(errno.EAFNOSUPPORT)
        made = Socket.open(family, *_kind(socktype, sock_proto), self._host.network)
        call.memory.set_u32(result, self._descriptors.add(made))

    def sock_pair(
        self, call: Call, af: I32, socktype: I32, sock_proto: I32, one: Ptr, two: Ptr
    ) -> None:
        """Two sockets that are connected: u32 descriptors at one and two. Like socketpair."""
        call.memory.u32(one)
        call.memory.u32(two)
        family = layout.family(af & 0xFF)
        kind, _ = _kind(socktype, sock_proto)
        ends = pair.new(family, kind, self._host.network)
        for end, at in zip(ends, (one, two), strict=True):
            call.memory.set_u32(at, self._descriptors.add(end))

    # -- addresses ----------------------------------------------------------------------------

    def _own(self, fd: int, right: int = 0) -> Socket:
        found = self._socket(fd, right)
        if not isinstance(found, Socket):
            raise os_error(errno.EOPNOTSUPP)  # a standard stream
        return found

    def _read_endpoint(self, memory: Memory, ptr: int) -> Endpoint:
        return layout.read_endpoint(memory, ptr, old=self._host.old_wasix)

    def _write_endpoint(self, memory: Memory, ptr: int, endpoint: Endpoint | None) -> None:
        if endpoint is not None:
            memory.write(ptr, layout.endpoint(endpoint, old=self._host.old_wasix))
        else:
            memory.set_u8(ptr, 0)

    def sock_bind(self, call: Call, fd: I32, addr: Ptr) -> None:
        """Give it an address. Like bind. A port needs ``--listen``, 0 anything that is allowed."""
        self._own(fd).bind(self._read_endpoint(call.memory, addr))

    def sock_addr_local(self, call: Call, fd: I32, result: Ptr) -> None:
        """Its address at result. Like getsockname."""
        self._write_endpoint(call.memory, result, self._own(fd).local_name())

    def sock_addr_peer(self, call: Call, fd: I32, result: Ptr) -> None:
        """Its peer's address at result. Like getpeername. NOTCONN."""
        self._write_endpoint(call.memory, result, self._own(fd).peer_name())

    # -- connections --------------------------------------------------------------------------

    def sock_listen(self, call: Call, fd: I32, backlog: Size) -> None:
        """Have it accept connections. Like listen. NOTSUP: it is none for streams."""
        self._own(fd).listen(call, backlog)

    def sock_accept(self, call: Call, fd: I32, flags: I32, result: Ptr) -> None:
        """As ``sock_accept_v2``, without the address."""
        self._accept(call, fd, flags, result, None)

    def sock_accept_v2(self, call: Call, fd: I32, flags: I32, result: Ptr, addr: Ptr) -> None:
        """Accept a connection: u32 descriptor at result, its peer at addr. Like accept4.

        flags: NONBLOCK or 0. AGAIN: there is none, and fd is NONBLOCK, or ACCEPT_TIMEOUT is over.
        INVAL: fd does not listen.
        """
        self._accept(call, fd, flags, result, addr)

    def _accept(self, call: Call, fd: int, flags: int, result: int, addr: int | None) -> None:
        if flags & ~r.NONBLOCK:
            raise invalid("fdflags")
        listener = self._own(fd, r.SOCK_ACCEPT)
        call.memory.u32(result)
        if addr is not None:
            call.memory.view(addr, layout.ADDRESS_SIZE)
        accepted = listener.accept(call, flags)
        if addr is not None:
            self._write_endpoint(call.memory, addr, accepted.peer)
        call.memory.set_u32(result, self._descriptors.add(accepted))

    def sock_connect(self, call: Call, fd: I32, addr: Ptr) -> None:
        """Connect it; or, of datagrams, say where they go. Like connect.

        INPROGRESS: it is NONBLOCK, and poll tells when it can be written to. TIMEDOUT: also after
        CONNECT_TIMEOUT. ISCONN, ALREADY.
        """
        self._own(fd).connect(call, self._read_endpoint(call.memory, addr))

    def sock_status(self, call: Call, fd: I32, result: Ptr) -> None:
        """u8 at result: 0 not connected yet, 1 it is (or listens, or needs not be), 2 its peer is
        gone, 3 connecting failed."""
        found = self._own(fd)
        found.settle()
        status = _OPENED
        if found.failure:
            status = _FAILED
        elif found.stage == LOST:
            status = _CLOSED
        elif found.kind == _STREAM and found.stage not in (LISTENING, CONNECTED):
            status = _OPENED if found.again else _OPENING
        call.memory.set_u8(result, status)

    def sock_shutdown(self, call: Call, fd: I32, how: I32) -> None:
        """End receiving (bit 0), sending (bit 1) or both. Like shutdown. INVAL, NOTCONN."""
        found = self._socket(fd, 0)
        if not isinstance(found, Socket):
            super().sock_shutdown(call, fd, how)
            return
        if how not in preview1.SDFLAGS:
            raise invalid("sdflags")
        found.shutdown(preview1.SDFLAGS[how])

    # -- receiving and sending ----------------------------------------------------------------

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

        ri_data: ri_data_len ``iovec``. ri_flags: bit 0 PEEK, bit 1 WAITALL, bit 2 the whole length of
        a datagram that was cut off, bit 3 do not wait. AGAIN: nothing there, and fd or the call
        is not to wait, or RECV_TIMEOUT is over. NOTCONN.
        """
        if not isinstance(self._socket(fd, 0), Socket):
            super().sock_recv(call, fd, ri_data, ri_data_len, ri_flags, ro_datalen, ro_flags)
            return
        self._receive(call, fd, ri_data, ri_data_len, ri_flags, ro_datalen, ro_flags)

    def sock_recv_from(
        self,
        call: Call,
        fd: I32,
        ri_data: Ptr,
        ri_data_len: Ptr,
        ri_flags: I32,
        ro_datalen: SizeAt,
        ro_flags: Ptr,
        addr: Ptr,
    ) -> None:
        """As ``sock_recv``, with the sender's address at addr. Like recvfrom."""
        call.memory.view(addr, layout.ADDRESS_SIZE)
        self._own(fd)
        sender = self._receive(call, fd, ri_data, ri_data_len, ri_flags, ro_datalen, ro_flags)
        self._write_endpoint(call.memory, addr, sender)

    def _receive(
        self, call: Call, fd: int, data: int, count: int, flags: int, datalen: int, roflags: int
    ) -> Endpoint | None:
        found = self._own(fd, r.FD_READ)
        if flags & ~(_PEEK | _WAITALL | _TRUNCATED | _DONT_WAIT):
            raise invalid("riflags")
        memory = call.memory
        memory.u16(roflags)
        memory.u32(datalen)
        views = self._iovecs(memory, data, count)
        ours = socket.MSG_PEEK if flags & _PEEK else 0
        if flags & _TRUNCATED and found.kind == _DGRAM:
            ours |= socket.MSG_TRUNC
        now = bool(flags & _DONT_WAIT)
        if flags & _WAITALL and not flags & _PEEK and found.kind == _STREAM:
            n, sender = _all(call, found, views, now), found.peer
        else:
            n, sender = found.receive(call, views, ours, now=now)
        memory.set_u32(datalen, n)
        memory.set_u16(roflags, 0)
        return sender

    def sock_send(
        self, call: Call, fd: I32, si_data: Ptr, si_data_len: Ptr, si_flags: I32, so_datalen: SizeAt
    ) -> None:
        """Send buffers. Like send. si_data: si_data_len ``ciovec``. u32 bytes at so_datalen.

        si_flags: bit 0 do not wait. AGAIN: no room, and fd or the call is not to wait, or
        SEND_TIMEOUT is over. PIPE: the peer is gone. DESTADDRREQ: datagrams need an address.
        """
        if not isinstance(self._socket(fd, 0), Socket):
            super().sock_send(call, fd, si_data, si_data_len, si_flags, so_datalen)
            return
        self._send(call, fd, si_data, si_data_len, si_flags, None, so_datalen)

    def sock_send_to(
        self,
        call: Call,
        fd: I32,
        si_data: Ptr,
        si_data_len: Ptr,
        si_flags: I32,
        addr: Ptr,
        so_datalen: SizeAt,
    ) -> None:
        """As ``sock_send``, to the address at addr (a stream has its peer). Like sendto."""
        to = self._read_endpoint(call.memory, addr)
        self._send(call, fd, si_data, si_data_len, si_flags, to, so_datalen)

    def _send(
        self,
        call: Call,
        fd: int,
        data: int,
        count: int,
        flags: int,
        to: Endpoint | None,
        datalen: int,
    ) -> None:
        found = self._own(fd, r.FD_WRITE)
        if flags & ~_SEND_DONT_WAIT:
            raise invalid("siflags")
        call.memory.u32(datalen)
        views = self._iovecs(call.memory, data, count)
        n = found.send(call, views, to, now=bool(flags & _SEND_DONT_WAIT))
        call.memory.set_u32(datalen, n)

    def sock_send_file(
        self, call: Call, out_fd: I32, in_fd: I32, offset: I64, count: I64, result: Ptr
    ) -> None:
        """Send bytes of a file, from offset on: u64 bytes sent at result. Like sendfile; the file's
        own offset stays. Fewer: the file ended, or out_fd is NONBLOCK and has no room for more.
        """
        found = self._own(out_fd, r.FD_WRITE)
        file = self._descriptors.get(in_fd, r.FD_READ)
        call.memory.u64(result)
        done: int = call.progress.get("sent", 0) if call.progress else 0
        began: Progress = call.progress.get("began", {}) if call.progress else {}
        try:
            while done < count:
                data = memoryview(bytearray(min(_CHUNK, count - done)))
                n = file.read_at([data], offset + done)
                if not n:
                    break
                sent = found.send(call, [data[:n]], began=began)
                began = {}
                done += sent
                if sent < n:
                    break
        except Suspended as suspended:
            raise Suspended({"sent": done, "began": suspended.progress}) from None
        except OSError:
            if not done:
                raise
        call.memory.set_u64(result, done)

    # -- options ------------------------------------------------------------------------------

    def sock_set_opt_flag(self, call: Call, fd: I32, sockopt: I32, flag: I32) -> None:
        """Set or clear a flag. Like setsockopt. NOPROTOOPT: it is none, or cannot be set."""
        found, name = self._own(fd), options.name_of(sockopt & 0xFF)
        if name not in options.FLAGS:
            raise os_error(errno.ENOPROTOOPT)
        found.set_option(name, int(flag & 0xFF != 0))

    def sock_get_opt_flag(self, call: Call, fd: I32, sockopt: I32, result: Ptr) -> None:
        """u8 at result."""
        found, name = self._own(fd), options.name_of(sockopt & 0xFF)
        if name == "listening":
            value = found.stage == LISTENING
        elif name == "last_error":
            value = bool(_last_error(found))
        elif name not in options.FLAGS:
            raise os_error(errno.ENOPROTOOPT)
        else:
            value = bool(found.get_option(name))
        call.memory.set_u8(result, value)

    def sock_set_opt_size(self, call: Call, fd: I32, sockopt: I32, size: I64) -> None:
        """Set a number. NOPROTOOPT: it is none, or cannot be set."""
        found, name = self._own(fd), options.name_of(sockopt & 0xFF)
        if name not in options.SIZES:
            raise os_error(errno.ENOPROTOOPT)
        found.set_option(name, size)

    def sock_get_opt_size(self, call: Call, fd: I32, sockopt: I32, result: Ptr) -> None:
        """u64 at result. Of LAST_ERROR an errno, of TYPE and PROTO numbers of the ABI."""
        found, name = self._own(fd), options.name_of(sockopt & 0xFF)
        if name == "last_error":
            value = WASI_ERRNO.get(_last_error(found), 0)
        elif name == "type":
            value = 1 if found.kind == _STREAM else 2
        elif name == "proto":
            value = _PROTOCOLS[found.kind][1]
        elif name not in options.SIZES:
            raise os_error(errno.ENOPROTOOPT)
        else:
            value = found.get_option(name)
        call.memory.set_u64(result, value)

    def sock_set_opt_time(self, call: Call, fd: I32, sockopt: I32, timeout: Ptr) -> None:
        """Set a time. timeout: ``layout.option_timestamp`` (ns); none: for ever (LINGER: do not)."""
        ns = layout.option_timestamp(call.memory, timeout)
        self._own(fd).set_time(options.name_of(sockopt & 0xFF), ns)

    def sock_get_opt_time(self, call: Call, fd: I32, sockopt: I32, result: Ptr) -> None:
        """``layout.option_timestamp`` at result."""
        ns = self._own(fd).get_time(options.name_of(sockopt & 0xFF))
        layout.write_option_timestamp(call.memory, result, ns)

    # -- groups -------------------------------------------------------------------------------

    def sock_join_multicast_v4(self, call: Call, fd: I32, multiaddr: Ptr, interface: Ptr) -> None:
        """Join a group. 4 bytes each: its address, and that of the interface."""
        self._change(call, fd, multiaddr, interface, join=True)

    def sock_leave_multicast_v4(self, call: Call, fd: I32, multiaddr: Ptr, interface: Ptr) -> None:
        """Leave it. ADDRNOTAVAIL: it is not in this group."""
        self._change(call, fd, multiaddr, interface, join=False)

    def _change(self, call: Call, fd: int, multiaddr: int, interface: int, *, join: bool) -> None:
        group, at = (socket.inet_ntoa(call.memory.read(ptr, 4)) for ptr in (multiaddr, interface))
        self._own(fd).change_group(Group("inet4", group, at), join=join)

    def sock_join_multicast_v6(self, call: Call, fd: I32, multiaddr: Ptr, interface: I32) -> None:
        """Join a group. 16 bytes: its address. interface: a number."""
        self._change_v6(call, fd, multiaddr, interface, join=True)

    def sock_leave_multicast_v6(self, call: Call, fd: I32, multiaddr: Ptr, interface: I32) -> None:
        """Leave it. ADDRNOTAVAIL: it is not in this group."""
        self._change_v6(call, fd, multiaddr, interface, join=False)

    def _change_v6(self, call: Call, fd: int, multiaddr: int, at: int, *, join: bool) -> None:
        group = socket.inet_ntop(socket.AF_INET6, call.memory.read(multiaddr, 16))
        self._own(fd).change_group(Group("inet6", group, str(at)), join=join)

    # -- names --------------------------------------------------------------------------------

    def resolve(
        self,
        call: Call,
        host: Ptr,
        host_len: Ptr,
        port: I32,
        addrs: Ptr,
        naddrs: Size,
        result: SizeAt,
    ) -> None:
        """Look a name up: at most naddrs ``layout.ip`` (18 bytes each) at addrs, and u32 at result how many.

        NOENT: there is no such name. AGAIN: it is not known now. ILSEQ: it is no text.
        """
        memory = call.memory
        try:
            name = memory.read(host, host_len).partition(b"\0")[0].decode()
        except UnicodeDecodeError:
            raise os_error(errno.EILSEQ) from None
        memory.u32(result)
        found = names.resolve(call, self._host.network, name)[:naddrs]
        call.memory.write(addrs, b"".join(map(layout.ip, found)))
        call.memory.set_u32(result, len(found))


def _kind(socktype: int, protocol: int) -> tuple[str, int]:
    """Raises OSError (EPROTONOSUPPORT, EINVAL)."""
    number = socktype & 0xFF
    if number in (_RAW, _SEQPACKET):
        raise os_error(errno.EPROTONOSUPPORT)
    if number not in _KINDS:
        raise invalid("sock_type")
    kind = _KINDS[number]
    if protocol & 0xFFFF not in _PROTOCOLS[kind]:
        raise os_error(errno.EPROTONOSUPPORT)
    return kind, protocol & 0xFFFF


def _all(call: Call, found: Socket, views: list[memoryview], now: bool) -> int:
    """Until the buffers are full, or nothing more comes (MSG_WAITALL)."""
    done: int = call.progress.get("received", 0) if call.progress else 0
    try:
        while rest := skip(views, done):
            n, _ = found.receive(call, rest, now=now)
            done += n
            if n == 0:
                break
    except Suspended as suspended:
        raise Suspended({**suspended.progress, "received": done}) from None
    except Stop:
        raise Suspended({"received": done}) from None
    except OSError:
        if not done:
            raise
    return done


def _last_error(found: Socket) -> int:
    """What went wrong since it was asked last; it is then forgotten."""
    found.settle()
    error, found.failure = found.failure, 0
    return error or found.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
