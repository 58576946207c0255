"""A guest of WASIX without an engine, its sockets, and what a resumed process has of them."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import msgspec
from host.fakes import DATA, OUT, Guest

from wasnap.host import Host, HostConfig, HostState
from wasnap.host.world import WASIX

ADDR = 0x6000
NONBLOCK = 4
INET4, INET6, UNIX = 1, 2, 3
STREAM, DGRAM = 1, 2
PEEK, WAITALL, TRUNCATED, DONT_WAIT = 1, 2, 4, 8
NET: dict[str, object] = {"net": True}


class Net:
    """One process after the other, in ``guest``. ``rights``: of the present one."""

    def __init__(self, **rights: object) -> None:
        self._null = os.open(os.devnull, os.O_RDWR)
        self._open = contextlib.ExitStack()
        self._open.callback(os.close, self._null)
        self.guest = self.make(**(rights or NET))

    def make(self, **rights: object) -> Guest:
        """A process that has nothing yet."""
        config = HostConfig(
            stdin=self._null,
            stdout=self._null,
            stderr=self._null,
            own_sockets=True,
            **rights,  # type: ignore[arg-type]
        )
        host = Host(config)
        self._open.callback(host.close)
        return Guest(host, WASIX)

    def saved(self) -> HostState:
        """A snapshot, as a journal gives it back."""
        plain = self.guest.host.capture().to_plain()
        return HostState.from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(plain)))

    def resume(self, **rights: object) -> Guest:
        """Snapshot, end, and a process that goes on from there."""
        return self.go_on(self.saved(), **rights)

    def go_on(self, state: HostState, **rights: object) -> Guest:
        """End, and a process that goes on from there."""
        self.guest.host.close()
        self.guest = self.make(**(rights or NET))
        self.guest.host.restore(state)
        return self.guest

    def close(self) -> None:
        self._open.close()

    # -- what the guest does --------------------------------------------------------------------

    def number(self, name: str, *arguments: int) -> int:
        """A call that gives a descriptor."""
        assert self.guest(name, *arguments, OUT) == "SUCCESS"
        return self.guest.memory.u32(OUT)

    def open(self, family: int = INET4, kind: int = STREAM) -> int:
        return self.number("sock_open", family, kind, 0)

    def address(self, host: str, port: int) -> int:
        """Write it; where."""
        if ":" in host:
            data = struct.pack("<BxH", INET6, port) + socket.inet_pton(socket.AF_INET6, host)
            self.guest.memory.write(ADDR, data + bytes(8))
        else:
            data = struct.pack("<BxH", INET4, port) + socket.inet_aton(host)
            self.guest.memory.write(ADDR, data)
        return ADDR

    def read_address(self, at: int = ADDR) -> tuple[str, int]:
        memory = self.guest.memory
        port = memory.u16(at + 2)
        if memory.u8(at) == INET4:
            return socket.inet_ntoa(memory.read(at + 4, 4)), port
        assert memory.u8(at) == INET6
        assert memory.read(at + 20, 8) == bytes(8)
        return socket.inet_ntop(socket.AF_INET6, memory.read(at + 4, 16)), port

    def local(self, fd: int) -> tuple[str, int]:
        assert self.guest("sock_addr_local", fd, ADDR) == "SUCCESS"
        return self.read_address()

    def bound(self, host: str = "127.0.0.1", kind: int = STREAM) -> int:
        fd = self.open(INET6 if ":" in host else INET4, kind)
        assert self.guest("sock_bind", fd, self.address(host, 0)) == "SUCCESS"
        return fd

    def listener(self, host: str = "127.0.0.1", backlog: int = 16) -> int:
        fd = self.bound(host)
        assert self.guest("sock_listen", fd, backlog) == "SUCCESS"
        return fd

    def accept(self, fd: int, flags: int = 0) -> int:
        assert self.guest("sock_accept_v2", fd, flags, OUT, ADDR) == "SUCCESS"
        return self.guest.memory.u32(OUT)

    def connect(self, fd: int, host: str, port: int) -> str:
        return self.guest("sock_connect", fd, self.address(host, port))

    def send(self, fd: int, data: bytes) -> int:
        iovs = self.guest.iovs(len(data), data=data)
        assert self.guest("sock_send", fd, *iovs, 0, OUT) == "SUCCESS"
        return self.guest.memory.u32(OUT)

    def receive(self, fd: int, n: int = 99, flags: int = 0) -> bytes:
        result = self.try_receive(fd, n, flags)
        assert isinstance(result, bytes), result
        return result

    def try_receive(self, fd: int, n: int = 99, flags: int = 0) -> bytes | str:
        result = self.guest("sock_recv", fd, *self.guest.iovs(n), flags, OUT, OUT + 4)
        if result != "SUCCESS":
            return result
        return self.guest.memory.read(DATA, min(n, self.guest.memory.u32(OUT)))

    def send_to(self, fd: int, data: bytes, where: tuple[str, int]) -> str:
        at = self.address(*where)
        iovs = self.guest.iovs(len(data), data=data)
        return self.guest("sock_send_to", fd, *iovs, 0, at, OUT)

    def receive_from(self, fd: int, n: int = 99, flags: int = 0) -> tuple[bytes, tuple[str, int]]:
        arguments = (fd, *self.guest.iovs(n), flags, OUT, OUT + 4, ADDR)
        assert self.guest("sock_recv_from", *arguments) == "SUCCESS"
        return self.guest.memory.read(DATA, self.guest.memory.u32(OUT)), self.read_address()

    def close_fd(self, fd: int) -> None:
        assert self.guest("fd_close", fd) == "SUCCESS"

    def status(self, fd: int) -> int:
        assert self.guest("sock_status", fd, OUT) == "SUCCESS"
        return self.guest.memory.u8(OUT)


@contextlib.contextmanager
def server(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Somebody outside who listens, on loopback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        listening.settimeout(20)
        yield listening
