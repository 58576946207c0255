"""Sockets of preview1: what it listens on (``--listen``), and the connections it accepts there.

A guest of preview1 can neither make a socket nor connect one. It is given listening sockets, as
descriptors 3 and up (before the mappings: where LISTEN_FDS, the convention of socket activation,
has them), and accepts on them.

*A snapshot* saves which of the given sockets a descriptor listens on, and of a connection only that
it was there. The process that goes on in place keeps its connections. One that is resumed listens
again, on the address its new host was given (``Host`` makes these sockets before anything else is
touched, and an address that is taken ends it there). A connection has another end that knows
nothing of snapshots, so it is *lost*: reading and writing give ECONNRESET, and poll says ready, as
if the peer had reset it. It still has a kernel's descriptor, one end of a pair whose other end is
closed, so that waiting for it needs no special case. Only a process that is *taken over* while the
old one stands still keeps its sockets: they are handed to the new one (``control/handover.py``),
with all that the kernel has in them.

Our sockets do not block, and belong to us alone: the guest's blocking calls wait through ``Call``.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from ..errors import CannotListen, UsageError
from . import rights as r
from .beneath import os_error
from .descriptors import Descriptor, Missing, Scene, Views
from .protocol import LISTEN, OUTSIDE, Call, Stop, Suspended
from .stream import ByteStream, skip

_BACKLOG = 128
_NONBLOCK = ",nonblock"

_CONNECTION = r.STREAM | r.SOCK_SHUTDOWN
_LISTENER = (_CONNECTION | r.SOCK_ACCEPT) & ~(r.FD_WRITE | r.SOCK_SHUTDOWN)


class ListenerState(msgspec.Struct, frozen=True, tag="listener"):
    """A listening socket: ``index`` among those the guest was given."""

    number: int
    index: int
    fdflags: int
    rights: int
    inheriting: int


class ConnectionState(msgspec.Struct, frozen=True, tag="connection"):
    """A connection. Nothing of it outlives the process."""

    number: int
    fdflags: int
    rights: int
    inheriting: int


class Address(msgspec.Struct, frozen=True):
    """Where to listen. Port 0: any that is free. ``nonblock``: the guest gets the socket with
    NONBLOCK set, as wasmtime gives it and Go takes for granted; POSIX programs expect it without.
    """

    host: str
    port: int
    nonblock: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """``HOST:PORT`` or ``[HOST]:PORT`` (for IPv6), and perhaps ``,nonblock``. Raises
        UsageError.
        """
        where = text.removesuffix(_NONBLOCK)
        host, _, port = where.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise UsageError(
                f"{text} is no address to listen on",
                "write HOST:PORT, as in 127.0.0.1:8080, or HOST:PORT,nonblock",
            )
        return cls(host, int(port), where != text)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}{_NONBLOCK * self.nonblock}"

    def listen(self) -> int:
        """The descriptor of a socket that listens there. Raises CannotListen."""
        try:
            ((family, kind, protocol, _, where), *_) = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            raise CannotListen(f"cannot listen on {self}: {error.strerror}") from None
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            hint = "who listens there?" if error.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"cannot listen on {self}: {error.strerror}", hint) from None
        return sock.detach()


class Listener(Descriptor):
    """A socket that listens. ``index``: see ``ListenerState``."""

    __slots__ = ("index",)

    waits = True
    travels = True
    reading = (LISTEN, OUTSIDE)

    def __init__(self, fileno: int, index: int, fdflags: int) -> None:
        os.set_blocking(fileno, False)
        super().__init__(fileno, _LISTENER, _CONNECTION, fdflags)
        self.index = index

    @classmethod
    def open(cls, address: Address, index: int) -> Listener:
        """Raises CannotListen."""
        return cls(address.listen(), index, r.NONBLOCK * address.nonblock)

    @property
    def address(self) -> Address:
        """Where it listens, with the true port."""
        with _borrowed(self.fileno) as sock:
            host, port = sock.getsockname()[:2]
        return Address(host, port)

    def accept(self, call: Call, fdflags: int) -> Connection:
        """The next connection, with these flags. EAGAIN: there is none, and NONBLOCK is set."""
        call.about_to(*self.reading)
        while True:
            if not self.fdflags & r.NONBLOCK:
                call.wait([self.fileno], [], None)
            try:
                with _borrowed(self.fileno) as sock:
                    accepted, _ = sock.accept()
            except BlockingIOError:  # it went away before we came
                if self.fdflags & r.NONBLOCK:
                    raise
                continue
            return Connection(accepted.detach(), self.inheriting & _CONNECTION, fdflags)

    def read(self, call: Call, views: Views) -> int:
        raise os_error(errno.ENOTCONN)

    def set_flags(self, fdflags: int) -> None:
        self.fdflags = fdflags & (r.APPEND | r.NONBLOCK)

    def available(self) -> int:
        """Asked when something is there: a connection. How many is not known."""
        return 1

    def capture(self, number: int, scene: Scene) -> ListenerState:
        """Which one it is."""
        return ListenerState(number, self.index, self.fdflags, self.rights, self.inheriting)

    @classmethod
    def restore(cls, state: ListenerState, scene: Scene) -> Listener:
        """The one the host was given in its place, or the very one. Raises Missing."""
        if state.number in scene.sockets:
            return cls(os.dup(scene.sockets[state.number]), state.index, state.fdflags)
        if state.index >= len(scene.listening):
            raise Missing(f"nothing listens as number {state.index + 1} (--listen HOST:PORT)")
        return cls(os.dup(scene.listening[state.index]), state.index, state.fdflags)

    def rewind(self, state: ListenerState) -> None:
        """Its rights; connections that nobody had accepted are gone."""
        self.rights = state.rights
        self.inheriting = state.inheriting


class Connection(ByteStream):
    """An accepted connection. ``lost``: it was another process's, see above."""

    __slots__ = ("lost",)

    def __init__(self, fileno: int, rights: int, fdflags: int, *, lost: bool = False) -> None:
        os.set_blocking(fileno, False)
        super().__init__(fileno, rights, rights, fdflags & (r.APPEND | r.NONBLOCK))
        self._writer = fileno
        self.lost = lost

    @property
    def travels(self) -> bool:  # type: ignore[override]
        """Unless it is lost."""
        return not self.lost

    def read(self, call: Call, views: Views) -> int:
        self.check()
        return super().read(call, views)

    def write(self, call: Call, views: Views) -> int:
        if not (call.progress and call.progress.get("written")):  # else: it tells how much
            self.check()
        return super().write(call, views)

    def check(self) -> None:
        """Raises ECONNRESET if it is lost."""
        if self.lost:
            raise os_error(errno.ECONNRESET)

    def capture(self, number: int, scene: Scene) -> ConnectionState:
        """That it is there."""
        return ConnectionState(number, self.fdflags, self.rights, self.inheriting)

    @classmethod
    def restore(cls, state: ConnectionState, scene: Scene) -> Connection:
        """A lost one, or the very one."""
        if state.number in scene.sockets:
            return cls(os.dup(scene.sockets[state.number]), state.rights, state.fdflags)
        ours, theirs = socket.socketpair()
        theirs.close()
        return cls(ours.detach(), state.rights, state.fdflags, lost=True)

    def rewind(self, state: ConnectionState) -> None:
        """Nothing: it has no past."""
        self.inheriting = state.inheriting


def receive(call: Call, descriptor: Descriptor, views: Views) -> int:
    """Read until ``views`` are full, or nothing more comes (MSG_WAITALL)."""
    done: int = call.progress.get("received", 0) if call.progress else 0
    try:
        while rest := skip(views, done):
            n = descriptor.read(call, rest)
            done += n
            if n == 0:
                break
    except Stop:
        raise Suspended({"received": done}) from None
    except OSError:
        if not done:
            raise
    return done


def peek(call: Call, descriptor: Descriptor, views: Views) -> int:
    """Read, and leave it there (MSG_PEEK)."""
    if isinstance(descriptor, Connection):
        descriptor.check()
    call.about_to(*descriptor.reading)
    while True:
        if not descriptor.fdflags & r.NONBLOCK:
            call.wait([descriptor.fileno], [], None)
        try:
            with _borrowed(descriptor.fileno) as sock:
                return sock.recvmsg_into(views, 0, socket.MSG_PEEK | socket.MSG_DONTWAIT)[0]
        except BlockingIOError:
            if descriptor.fdflags & r.NONBLOCK:
                raise


def shutdown(descriptor: Descriptor, how: int) -> None:
    """End receiving, sending or both: ``socket.SHUT_*``."""
    if isinstance(descriptor, Connection) and descriptor.lost:
        raise os_error(errno.ENOTCONN)
    with _borrowed(descriptor.fileno) as sock:
        sock.shutdown(how)


@contextmanager
def _borrowed(fileno: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=fileno)
    try:
        yield sock
    finally:
        sock.detach()
