"""A socket of the guest's own, from open to closed.

::

    OPEN --listen--> LISTENING --accept--> (another one, CONNECTED)
      |
      `--connect--> CONNECTING ----------> CONNECTED ....resume....> LOST
           ^             | fails                `.....resume.....> CONNECTING, CONNECTED again
           `-------------'

Any of them may be bound; datagrams are sent and received also while it is OPEN.

*A snapshot* has what kind it is, where it is bound, its peer, the options that the guest has set,
backlog, groups, what was shut down, and what was received and not yet read. Of a process that goes
on, or that is taken over, the kernel's socket stays as it is. Otherwise:

- what is OPEN or LISTENING is made again at the same address, or the one that ``--listen-rebind``
  says. That one is taken, or not allowed: nothing is resumed.
- a CONNECTED one is LOST by default, as if its peer had reset it: what had been received can still
  be read, then everything gives ECONNRESET. With ``--sockets reconnect`` one that the guest
  connected itself is connected to the same peer again (if that fails it is LOST).
- a guest that waits for a connection to be made waits for another one to the same peer.

What had been received is ``held`` here and read first; the kernel cannot be given it back.

A stream that is bound always has the kernel's SO_REUSEADDR, whatever the guest says: connections
that end slowly would keep a resumed process from listening where it did.

Our sockets do not block: the guest's calls wait through ``Call``, for at most as long as its
timeouts say; the moment until which they wait is the call's progress.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import select
import socket
import struct
import termios
from typing import Final

import msgspec

from wasnap.errors import CannotListen

from .. import rights as r
from ..beneath import os_error
from ..descriptors import Missing, Scene, Views
from ..protocol import LISTEN, OUTSIDE, Call, Progress, Stop, Suspended
from ..stream import ByteStream, skip
from ..threads import WAIT_NS_MAX
from . import options as opt
from . import repair as repairs
from .endpoint import KERNELS, Endpoint, Family
from .network import Network

OPEN: Final = "open"
LISTENING: Final = "listening"
CONNECTING: Final = "connecting"
CONNECTED: Final = "connected"
LOST: Final = "lost"

KINDS: Final = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM}
_RIGHTS: Final = r.STREAM | r.SOCK_SHUTDOWN | r.SOCK_ACCEPT
_DATAGRAM_MAX: Final = 1 << 16
_NOW: Final = socket.MSG_DONTWAIT
_BUFFERS_MAX: Final = 1024
_SO_PEEK_OFF: Final = 42
_libc = ctypes.CDLL(None)

log = logging.getLogger("wasnap")


class Group(msgspec.Struct, frozen=True):
    """A multicast group. ``interface``: its address (inet4), or its number."""

    family: Family
    group: str
    interface: str

    def change(self, sock: socket.socket, *, join: bool) -> None:
        """Join or leave it. Raises OSError."""
        if self.family == "inet4":
            packed = socket.inet_aton(self.group) + socket.inet_aton(self.interface)
            option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
            sock.setsockopt(socket.IPPROTO_IP, option, packed)
        else:
            group = socket.inet_pton(socket.AF_INET6, self.group)
            packed = group + struct.pack("@I", int(self.interface))
            option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
            sock.setsockopt(socket.IPPROTO_IPV6, option, packed)


class Received(msgspec.Struct, frozen=True):
    """Bytes of a stream, or a datagram and who sent it."""

    data: bytes
    sender: Endpoint | None = None


class SocketState(msgspec.Struct, frozen=True, tag="socket"):
    """A socket. ``stage``, ``kind``, ``family``: see this file. ``local``: where it is bound, None:
    nowhere; ``bound``: because the guest said so. ``accepted``: it was not the guest who connected.
    ``options``: by name; ``timeouts``: by name, in ns. ``shut``: bit 0 receiving, 1 sending.
    ``received``: what was not read; the first ``held`` of it are not in the kernel. ``failure``:
    errno of the last connect.
    """

    number: int
    family: Family
    kind: str
    protocol: int
    stage: str
    fdflags: int
    rights: int
    inheriting: int
    local: Endpoint | None = None
    bound: bool = False
    peer: Endpoint | None = None
    accepted: bool = False
    backlog: int = 0
    options: dict[str, int] = {}
    timeouts: dict[str, int] = {}
    groups: list[Group] = []
    shut: int = 0
    received: list[Received] = []
    held: int = 0
    failure: int = 0
    repair: repairs.Connection | None = None


class Socket(ByteStream):
    """``sock``: the kernel's, which we own."""

    __slots__ = (
        "accepted",
        "again",
        "backlog",
        "bound",
        "failure",
        "family",
        "frozen",
        "groups",
        "held",
        "kind",
        "local",
        "network",
        "options",
        "peer",
        "shut",
        "sock",
        "stage",
        "timeouts",
    )

    def __init__(
        self,
        sock: socket.socket,
        family: Family,
        network: Network,
        fdflags: int = 0,
        rights: int = _RIGHTS,
    ) -> None:
        os.set_blocking(sock.fileno(), False)  # Python need not know: it does not wait then
        super().__init__(sock.fileno(), rights, rights, fdflags & (r.APPEND | r.NONBLOCK))
        self.sock = sock
        self.family: Family = family
        self.kind = "dgram" if sock.type == socket.SOCK_DGRAM else "stream"
        self.has_peer = self.kind == "stream"
        self.network = network
        self.stage = OPEN
        self.local: Endpoint | None = None
        self.bound = False
        self.peer: Endpoint | None = None
        self.accepted = False
        self.again = False
        self.backlog = 0
        self.options: dict[str, int] = {}
        self.timeouts: dict[str, int] = {}
        self.groups: list[Group] = []
        self.shut = 0
        self.held: list[Received] = []
        self.failure = 0
        self.frozen: repairs.Connection | None = None

    @classmethod
    def open(cls, family: Family, kind: str, protocol: int, network: Network) -> Socket:
        """Raises OSError."""
        return cls(socket.socket(KERNELS[family], KINDS[kind], protocol), family, network)

    @property
    def reading(self) -> tuple[str, ...]:  # type: ignore[override]
        """Reading from one that listens is accepting."""
        return (LISTEN, OUTSIDE) if self.stage == LISTENING else (OUTSIDE,)

    @property
    def travels(self) -> bool:  # type: ignore[override]
        """All but what is lost."""
        return self.stage != LOST

    @property
    def has_input(self) -> bool:  # type: ignore[override]
        """Whether something is held here, which the kernel knows nothing of."""
        return bool(self.held)

    # -- addresses ----------------------------------------------------------------------------

    def bind(self, where: Endpoint) -> None:
        """Like bind. EACCES: not allowed."""
        self._expect_family(where)
        if where.port:
            self.network.demand_listen(where)
        else:
            self.network.demand_some(f"binding a socket to {where}")
        self._claimable()
        self.sock.bind(where.name())
        self.bound = True
        self.local = self._own_name()

    @property
    def listens_at(self) -> Endpoint | None:
        """Where it listens, if it does."""
        return self._own_name() if self.stage == LISTENING else None

    def _claimable(self) -> None:
        """Connections of a process that was killed must not keep the next one from the address."""
        if self.kind == "stream":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def local_name(self) -> Endpoint:
        """Like getsockname."""
        if self.stage == LOST:
            return self.local or Endpoint(self.family)
        return self._own_name()

    def _own_name(self) -> Endpoint:
        return Endpoint.of(self.family, self.sock.getsockname())

    def peer_name(self) -> Endpoint:
        """Like getpeername."""
        if self.stage not in (CONNECTED, LOST) or self.peer is None:
            raise os_error(errno.ENOTCONN)
        return self.peer

    def _expect_family(self, endpoint: Endpoint) -> None:
        if endpoint.family != self.family:
            raise os_error(errno.EAFNOSUPPORT)

    # -- listening ----------------------------------------------------------------------------

    def listen(self, call: Call, backlog: int) -> None:
        """Like listen. EACCES: not allowed. EOPNOTSUPP: no stream."""
        if self.kind != "stream":
            raise os_error(errno.EOPNOTSUPP)
        if self.stage not in (OPEN, LISTENING):
            raise os_error(errno.EINVAL)
        self.network.demand_listen(self.local or self._own_name())
        self._claimable()
        call.about_to(LISTEN)
        self.backlog = min(backlog, 0x7FFF_FFFF)
        self.sock.listen(self.backlog)
        self.stage = LISTENING
        self.local = self._own_name()

    def accept(self, call: Call, fdflags: int) -> Socket:
        """Like accept; with these flags. EINVAL: it does not listen."""
        if self.stage != LISTENING:
            raise os_error(errno.EINVAL)
        call.about_to(*self.reading)
        until = self._until(call.progress, "accept_timeout")
        while True:
            try:
                accepted, name = self.sock.accept()
                break
            except BlockingIOError:
                if self.fdflags & r.NONBLOCK:
                    raise
            except ConnectionAbortedError:
                continue
            self._wait(call, until, {})
        made = type(self)(accepted, self.family, self.network, fdflags)
        made.stage = CONNECTED
        made.accepted = True
        made.peer = Endpoint.of(self.family, name)
        return made

    # -- connecting ---------------------------------------------------------------------------

    def connect(self, call: Call, peer: Endpoint) -> None:
        """Like connect. EACCES: not allowed. EINPROGRESS: it is NONBLOCK."""
        self._expect_family(peer)
        begun = bool(call.progress)  # suspended before that, it is done anew
        if not begun:
            self.settle()
            if self.stage == CONNECTING:
                raise os_error(errno.EALREADY)
            if self.stage in (CONNECTED, LOST) and self.kind == "stream":
                raise os_error(errno.EISCONN)
            if self.stage == LISTENING:
                raise os_error(errno.EISCONN)
            self.network.demand_reach(peer)
            self.failure = 0
            call.about_to(OUTSIDE)
            self._begin(peer)
        if self.stage == CONNECTING:
            if self.fdflags & r.NONBLOCK and not begun:
                raise os_error(errno.EINPROGRESS)
            try:
                until = self._until(call.progress, "connect_timeout")
                while self.settle():
                    self._wait(call, until, {}, write=True, late=errno.ETIMEDOUT)
            except TimeoutError:
                _abort(self.fileno)
                self.stage = OPEN
                self.failure = errno.ETIMEDOUT
                raise
        if self.failure:
            raise os_error(self.failure)

    def _begin(self, peer: Endpoint) -> None:
        self.failure = 0
        self.peer = peer
        error = self.sock.connect_ex(peer.name())
        if error == errno.EINPROGRESS:
            self.stage = CONNECTING
        elif error:
            self.failure = error
        else:
            self.stage = CONNECTED
            self.local = self._own_name()

    def settle(self) -> bool:
        """Learn what became of a connection that is being made; whether it still is."""
        if self.stage != CONNECTING:
            return False
        poll = select.poll()
        poll.register(self.fileno, select.POLLOUT)
        if not poll.poll(0):
            return True
        self.failure = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.stage = CONNECTED
        if self.failure:
            self.stage = LOST if self.again else OPEN
        else:
            self.local = self._own_name()
        self.again = False
        return False

    # -- receiving ----------------------------------------------------------------------------

    def read(self, call: Call, views: Views) -> int:
        return self.receive(call, views)[0]

    def receive(
        self, call: Call, views: Views, flags: int = 0, *, now: bool = False
    ) -> tuple[int, Endpoint | None]:
        """Like recvfrom. ``flags``: ``socket.MSG_PEEK``, ``MSG_TRUNC``; ``now``: do not wait."""
        self._expect_connected()
        if call.interrupted:
            raise os_error(errno.EINTR)
        if self.held:
            return self._take(views, flags)
        now = now or bool(self.fdflags & r.NONBLOCK)
        until = self._until(call.progress, "recv_timeout")
        self._until_again(call, until, {}, now)
        if self.stage == LOST:
            raise os_error(errno.ECONNRESET)
        call.about_to(*self.reading)
        if not views and self.kind == "stream":
            return 0, None
        while True:
            try:
                n, _, _, sender = self.sock.recvmsg_into(views[:_BUFFERS_MAX], 0, flags | _NOW)
                return n, self._sender(sender)
            except BlockingIOError:
                if now:
                    raise
            self._wait(call, until, {})

    def _sender(self, name: object) -> Endpoint | None:
        if self.kind == "stream":
            return self.peer
        return Endpoint.of(self.family, name) if name else None

    def _take(self, views: Views, flags: int) -> tuple[int, Endpoint | None]:
        """From what is held."""
        first = self.held[0]
        done = 0
        for view in views:
            part = first.data[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        if not flags & socket.MSG_PEEK:
            self.held.pop(0)
            if self.kind == "stream" and done < len(first.data):
                self.held.insert(0, Received(first.data[done:], first.sender))
        whole = self.kind == "dgram" and flags & socket.MSG_TRUNC
        return len(first.data) if whole else done, first.sender

    def _expect_connected(self) -> None:
        self.settle()
        if self.again:
            return
        if self.kind == "stream" and self.stage not in (CONNECTED, LOST):
            raise os_error(errno.ENOTCONN)

    def available(self) -> int:
        if self.stage == LISTENING:
            return 1
        return sum(len(one.data) for one in self.held) or super().available()

    # -- sending ------------------------------------------------------------------------------

    def write(self, call: Call, views: Views) -> int:
        return self.send(call, views)

    def send(
        self,
        call: Call,
        views: Views,
        to: Endpoint | None = None,
        *,
        now: bool = False,
        began: Progress | None = None,
    ) -> int:
        """Like sendto; all of it, if it may wait. EACCES: not allowed to send there. ``began``: the
        progress of this, if it is not the call's own."""
        began = (call.progress if began is None else began) or {}
        done: int = began.get("written", 0)
        now = now or bool(self.fdflags & r.NONBLOCK)
        until = self._until(began, "send_timeout")
        self._until_again(call, until, {"written": done}, now)
        if not done:
            self._expect_sendable(to)
        if to is not None and self.kind == "dgram":
            self.network.demand_reach(to)
        name = to.name() if to is not None and self.kind == "dgram" else None
        left = skip(views, done)
        try:
            while True:
                try:
                    n = self.sock.sendmsg(left[:_BUFFERS_MAX], (), _NOW | socket.MSG_NOSIGNAL, name)
                    done += n
                    self.written += n
                    left = skip(left, n)
                    if not left or self.kind == "dgram":
                        return done
                    if now:
                        return done
                except BlockingIOError:
                    if now:
                        raise
                    self._wait(call, until, {"written": done}, write=True)
        except OSError:
            if not done:
                raise
        return done

    def _expect_sendable(self, to: Endpoint | None) -> None:
        self.settle()
        if to is not None:
            self._expect_family(to)
        if self.stage == LOST:
            raise os_error(errno.ECONNRESET)
        if self.kind == "stream" and self.stage != CONNECTED:
            raise os_error(errno.ENOTCONN if self.stage == CONNECTING else errno.EPIPE)
        if self.kind == "dgram" and to is None and self.stage != CONNECTED:
            raise os_error(errno.EDESTADDRREQ)

    def shutdown(self, how: int) -> None:
        """Like shutdown. ``how``: ``socket.SHUT_*``."""
        self.settle()
        if self.stage != CONNECTED:
            raise os_error(errno.ENOTCONN)
        self.sock.shutdown(how)
        self.shut |= {socket.SHUT_RD: 1, socket.SHUT_WR: 2}.get(how, 3)

    def _until_again(
        self, call: Call, until: int | None, progress: dict[str, int], now: bool
    ) -> None:
        """Wait until it is connected again, or lost."""
        while self.again and self.settle():
            if now:
                raise os_error(errno.EAGAIN)
            self._wait(call, until, progress, write=True)

    # -- waiting ------------------------------------------------------------------------------

    def _until(self, began: Progress | None, timeout: str) -> int | None:
        """The moment, in the guest's monotonic time, at which a call has waited enough."""
        if began and "until" in began:
            saved: int | None = began["until"]
            return saved
        ns = self.timeouts.get(timeout)
        return None if ns is None else self.network.clock().monotonic() + ns

    def _wait(
        self,
        call: Call,
        until: int | None,
        progress: dict[str, int],
        *,
        write: bool = False,
        late: int = errno.EAGAIN,
    ) -> None:
        """Until the kernel has something for us. Raises OSError (``late``): ``until`` is over."""
        clock = self.network.clock()
        left = None
        if until is not None:
            left = until - clock.monotonic()
            if left <= 0:
                raise os_error(late)
            left = min(left, WAIT_NS_MAX)
        reads, writes = ((), (self.fileno,)) if write else ((self.fileno,), ())
        try:
            clock.wait(call, reads, writes, left)
        except Stop:
            raise Suspended({**progress, "until": until}) from None

    # -- options ------------------------------------------------------------------------------

    def set_option(self, name: str, value: int) -> None:
        """A flag or a size. Raises OSError."""
        if name != "reuse_addr" or self.kind != "stream":  # see _claimable
            opt.set_number(self.sock, name, value)
        self.options[name] = value

    def get_option(self, name: str) -> int:
        """A flag or a size. Raises OSError."""
        if name == "reuse_addr":
            return self.options.get(name, 0)
        return opt.get_number(self.sock, name)

    def set_time(self, name: str, ns: int | None) -> None:
        """A timeout, or how long closing lingers. None: for ever; it does not."""
        if name == "linger":
            self.options[name] = -1 if ns is None else ns // 1_000_000_000
            opt.set_linger(self.sock, self.options[name])
        elif name not in opt.TIMEOUTS:
            raise os_error(errno.ENOPROTOOPT)
        elif ns is None:
            self.timeouts.pop(name, None)
        else:
            self.timeouts[name] = ns

    def get_time(self, name: str) -> int | None:
        """ns."""
        if name == "linger":
            seconds = self.options.get(name, -1)
            return None if seconds < 0 else seconds * 1_000_000_000
        if name not in opt.TIMEOUTS:
            raise os_error(errno.ENOPROTOOPT)
        return self.timeouts.get(name)

    def change_group(self, group: Group, *, join: bool) -> None:
        """Join or leave it. EACCES: it may not send there either."""
        if join:
            self.network.demand_reach(Endpoint(group.family, group.group, self._port()))
        group.change(self.sock, join=join)
        if join:
            self.groups.append(group)
        else:
            self.groups.remove(group)

    def _port(self) -> int:
        return 0 if self.local is None else self.local.port

    def close(self) -> None:
        self.sock.detach()
        super().close()

    # -- snapshots ----------------------------------------------------------------------------

    def freeze(self) -> None:
        self.settle()
        if self.kind == "stream" and self.stage == CONNECTED and self.peer is not None:
            try:
                self.frozen = repairs.freeze(self.sock, self._own_name(), self.peer)
            except OSError as error:
                log.warning("the connection with %s will be reset: %s", self.peer, error.strerror)

    def thaw(self) -> None:
        if self.frozen is not None:
            repairs.thaw(self.sock)
            self.frozen = None

    def capture(self, number: int, scene: Scene) -> SocketState:
        """With what was received, which stays where it is."""
        self.settle()
        if self.local is None and self.kind == "dgram" and self.stage == OPEN:
            own = self._own_name()
            self.local = own if own.port else None
        return SocketState(
            number=number,
            family=self.family,
            kind=self.kind,
            protocol=self.sock.proto,
            stage=CONNECTED if self.again else self.stage,
            fdflags=self.fdflags,
            rights=self.rights,
            inheriting=self.inheriting,
            local=self.local,
            bound=self.bound,
            peer=self.peer,
            accepted=self.accepted,
            backlog=self.backlog,
            options=dict(self.options),
            timeouts=dict(self.timeouts),
            groups=list(self.groups),
            shut=self.shut,
            received=[*self.held, *([] if self.frozen else self._received())],
            held=len(self.held),
            failure=self.failure,
            repair=self.frozen,
        )

    def _received(self) -> list[Received]:
        """What the kernel has of it."""
        if self.stage in (LOST, LISTENING, CONNECTING) or (
            self.kind == "stream" and self.stage != CONNECTED
        ):
            return []
        with contextlib.suppress(OSError):
            if self.kind == "dgram":
                return self._datagrams()
            data = b""
            if size := _unread(self.fileno):
                data = self.sock.recv(size, socket.MSG_PEEK | _NOW)
            return [Received(data, self.peer)] if data else []
        return []

    def _datagrams(self) -> list[Received]:
        found: list[Received] = []
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        try:
            while True:
                data, sender = self.sock.recvfrom(_DATAGRAM_MAX, socket.MSG_PEEK | _NOW)
                found.append(Received(data, self._sender(sender)))
        except BlockingIOError:
            return found
        finally:
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, -1)

    @classmethod
    def restore(cls, state: SocketState, scene: Scene) -> Socket:
        """The very one, or another in its place. Raises Missing, CannotListen."""
        network = scene.network
        assert network is not None
        if state.number in scene.sockets:
            fileno = os.dup(scene.sockets[state.number])
            sock = socket.socket(KERNELS[state.family], KINDS[state.kind], state.protocol, fileno)
            made = cls(sock, state.family, network, state.fdflags, state.rights)
            made.stage = state.stage
            made.held = state.received[: state.held]
            return made
        if state.repair is not None and network.connections == "repair":
            made = cls._claimed(state.repair, state, network)
            made.held = list(state.received)
            return made
        made = (
            cls._made_again(state, network) if _again(state, network) else cls._lost(state, network)
        )
        made.held = list(state.received)
        if state.repair is not None and state.repair.received:
            made.held.append(Received(state.repair.received, state.peer))
        return made

    @classmethod
    def _claimed(cls, saved: repairs.Connection, state: SocketState, network: Network) -> Socket:
        """The connection itself, but for what the kernel had of it."""
        if not state.accepted:
            allowed = network.may_reach(saved.peer)
            _demand(allowed, f"it is connected to {saved.peer}", f"--net-allow {saved.peer}")
        try:
            sock = repairs.claim(saved)
        except OSError as error:
            raise Missing(f"the connection with {saved.peer}: {error.strerror}") from None
        made = cls(sock, state.family, network, state.fdflags, state.rights)
        made.stage = CONNECTED
        return made

    @classmethod
    def _lost(cls, state: SocketState, network: Network) -> Socket:
        """One that was reset. Its kernel's socket is the end of a pair without another end, so that
        waiting for it needs no special case."""
        ours, theirs = socket.socketpair()
        theirs.close()
        made = cls(ours, state.family, network, state.fdflags, state.rights)
        made.stage = LOST
        return made

    @classmethod
    def _made_again(cls, state: SocketState, network: Network) -> Socket:
        """All but the connection, if it is to have one."""
        if state.peer is not None and state.stage in (CONNECTED, CONNECTING):
            allowed = network.may_reach(state.peer)
            _demand(allowed, f"it is connected to {state.peer}", f"--net-allow {state.peer}")
        try:
            made = cls.open(state.family, state.kind, state.protocol, network)
        except OSError as error:
            raise Missing(f"a socket: {error.strerror}") from None
        made.fdflags, made.rights = state.fdflags, state.rights
        try:
            opt.set_again(made.sock, state.options, bound=False)
            made._bind_again(state)
            opt.set_again(made.sock, state.options, bound=True)
            for group in state.groups:
                group.change(made.sock, join=True)
        except OSError as error:
            made.close()
            raise Missing(f"a socket as it was: {error.strerror}") from None
        except BaseException:
            made.close()
            raise
        return made

    def _bind_again(self, state: SocketState) -> None:
        """The address and the backlog. What the guest did not ask for (``bound``) may be another."""
        listens = state.stage == LISTENING
        where = state.local
        if where is None or not (listens or state.bound or state.kind == "dgram"):
            return
        asked = listens or state.bound
        moved = self.network.rebind.get(str(where))
        if moved is not None:
            where = Endpoint(where.family, moved.host, moved.port, where.flow, where.scope)
        if asked:
            allowed = self.network.may_listen(where) or (not listens and self.network.any)
            _demand(allowed, f"a socket is bound to {where}", f"--listen {where}")
        try:
            self._claimable()
            self.sock.bind(where.name())
            if listens:
                self.sock.listen(state.backlog)
        except OSError as error:
            if not asked:
                return
            hint = ""
            if error.errno == errno.EADDRINUSE:
                hint = f"who is there? --listen-rebind {where}=HOST:PORT moves it"
            raise CannotListen(f"cannot listen on {where}: {error.strerror}", hint) from None
        if listens:
            self.stage = LISTENING

    def rewind(self, state: SocketState) -> None:
        """What it knows of itself; and the connection, if there is to be one."""
        self.inheriting = state.inheriting
        self.local, self.bound = state.local, state.bound
        self.peer, self.accepted = state.peer, state.accepted
        self.backlog = state.backlog
        self.options = dict(state.options)
        self.timeouts = dict(state.timeouts)
        self.groups = list(state.groups)
        self.failure = state.failure
        self.shut = state.shut
        if state.repair is not None and self.network.connections == "repair" and self.stage != LOST:
            self._repair(state.repair, state)
        if self.stage == OPEN and state.stage in (CONNECTED, CONNECTING) and self.peer is not None:
            self._begin(self.peer)
            self.again = self.kind == "stream" and state.stage == CONNECTED
            if self.again and self.failure:
                self.stage = LOST

    def _repair(self, saved: repairs.Connection, state: SocketState) -> None:
        try:
            opt.set_again(self.sock, state.options, bound=True)
            repairs.restore(self.sock, saved)
        except OSError as error:
            log.warning("the connection with %s was not restored: %s", saved.peer, error.strerror)


def _again(state: SocketState, network: Network) -> bool:
    """Whether the kernel's socket can be made again, rather than be lost."""
    if state.kind == "dgram" or state.stage in (OPEN, LISTENING, CONNECTING):
        return True
    theirs = state.accepted or state.shut
    return state.stage == CONNECTED and network.connections == "reconnect" and not theirs


def _demand(allowed: bool, what: str, give: str) -> None:
    if not allowed:
        raise Missing(f"{what}, which is not allowed ({give}, or --net)")


def _unread(fileno: int) -> int:
    """Bytes that were received."""
    return int(struct.unpack("i", fcntl.ioctl(fileno, termios.FIONREAD, bytes(4)))[0])


def _abort(fileno: int) -> None:
    """Have a socket that is connecting not do so (connect to an address of no family)."""
    _libc.connect(fileno, bytes(16), 16)
