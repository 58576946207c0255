"""Connections that outlive their process: ``--sockets repair``. Peers are on loopback, and quiet while
nobody is there."""

from __future__ import annotations

import array
import contextlib
import errno
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from cli.conftest import Command, cache, code_cache, run, wasnap
from load import free_port

from wasnap.errors import UsageError
from wasnap.host.net import repair

from . import wat
from .net import NONBLOCK, Net, server
from .test_process import exactly
from .test_sock import outside

__all__ = ["cache", "code_cache", "run", "wasnap"]

RIGHTS: dict[str, object] = {"net": True, "connections": "repair"}


@pytest.fixture
def allowed() -> None:
    """As root, mostly."""
    try:
        repair.check()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture
def net(allowed: None) -> Iterator[Net]:
    made = Net(**RIGHTS)
    yield made
    made.close()


def stop(net: Net) -> None:
    """It ends with a snapshot, and another process goes on."""
    net.guest.host.freeze()
    net.resume(**RIGHTS)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_directions(net: Net, host: str) -> None:
    """What was received and not read, and what was sent and not acknowledged, comes; then all goes on.
    Several times; and accepted connections as well as those the guest made."""
    listener = net.listener(host)
    with outside(net.local(listener)) as client, server(host) as listening:
        accepted = net.accept(listener)
        own = net.open(2 if ":" in host else 1)
        assert net.connect(own, *listening.getsockname()[:2]) == "SUCCESS"
        theirs, _ = listening.accept()
        for peer, fd in ((client, accepted), (theirs, own)):
            peer.sendall(b"abcdef")
            assert net.receive(fd, 2) == b"ab"
            net.send(fd, b"first")
        for n in range(3):
            stop(net)
            for peer, fd in ((client, accepted), (theirs, own)):
                assert net.receive(fd, 2) == b"cdefgh"[2 * n : 2 * n + 2]
                peer.sendall(b"gh"[:2] if n == 0 else b"")
                assert peer.recv(99) == (b"first" if n == 0 else b"more%d" % (n - 1))
                net.send(fd, b"more%d" % n)
        assert net.guest("sock_shutdown", accepted, 2) == "SUCCESS"
        assert client.makefile("rb").read() == b"more2"
        assert theirs.recv(9) == b"more2"
        theirs.close()
        assert net.receive(own) == b""
        with outside(net.local(listener)):
            net.accept(listener)


def test_much_on_its_way(net: Net) -> None:
    """More than fits the peer's window: a part has been sent, another never."""
    listener = net.listener()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        client.settimeout(20)
        client.connect(net.local(listener))
        fd = net.accept(listener, NONBLOCK)
        data = bytes(i * 7 >> 3 & 255 for i in range(50_000))
        sent = b""
        while (
            net.guest("sock_send", fd, *net.guest.iovs(50_000, data=data), 0, 0x4000) == "SUCCESS"
        ):
            sent += data[: net.guest.memory.u32(0x4000)]
        assert len(sent) > 100_000
        net.guest.host.freeze()
        state = net.saved()
        found: list[Any] = [getattr(d, "repair", None) for d in state.descriptors]
        (saved,) = filter(None, found)
        assert 100_000 < saved.unsent <= len(saved.sent)
        net.go_on(state, **RIGHTS)
        assert exactly(client, len(sent)) == sent
        client.sendall(b"thanks")
        net.guest("fd_fdstat_set_flags", fd, 0)
        assert net.receive(fd) == b"thanks"


def test_what_was_sent_and_not_acknowledged(net: Net) -> None:
    """The peer got nothing of it, for as long as it dropped everything; then it comes."""
    listener = net.listener()
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        program = array.array("B", struct.pack("HBBI", 6, 0, 0, 0))
        drop = struct.pack("@HP", 1, program.buffer_info()[0])
        client.setsockopt(socket.SOL_SOCKET, 26, drop)  # SO_ATTACH_FILTER
        net.send(fd, b"lost on its way")
        stop(net)
        client.setsockopt(socket.SOL_SOCKET, 27, 0)
        assert exactly(client, 15) == b"lost on its way"
        client.sendall(b"thanks")
        assert net.receive(fd) == b"thanks"


def test_one_that_does_not_end_after_all(net: Net) -> None:
    """It is thawed, and nothing was lost that came meanwhile."""
    listener = net.listener()
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        net.guest.host.freeze()
        net.saved()
        client.sendall(b"meanwhile")
        net.guest.host.thaw()
        assert net.receive(fd) == b"meanwhile"
        net.send(fd, b"here")
        assert client.recv(9) == b"here"


def test_what_is_not_established_is_reset(net: Net) -> None:
    """Half closed by the peer; and all, where the resume does not ask for repair."""
    listener = net.listener()
    with outside(net.local(listener)) as half, outside(net.local(listener)) as whole:
        one, two = net.accept(listener), net.accept(listener)
        half.sendall(b"rest")
        half.shutdown(socket.SHUT_WR)
        whole.sendall(b"abc")
        assert net.receive(one, 2) == b"re"
        assert net.receive(two, 1) == b"a"
        net.guest.host.freeze()
        net.resume(net=True)
        assert net.receive(one) == b"st"
        assert net.receive(two) == b"bc"
        assert net.try_receive(one) == net.try_receive(two) == "CONNRESET"


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name, before anything runs."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    with pytest.raises(
        UsageError, match=r"--sockets repair.*Operation not permitted.*CAP_NET_ADMIN"
    ):
        repair.check()


def serves(port: int) -> bool:
    """Whether the server of ``wat.echo`` runs there."""
    with contextlib.suppress(ConnectionError), outside(("127.0.0.1", port)) as client:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    return False


def test_a_server_that_is_stopped(wasnap: Command, allowed: None) -> None:
    """``wasnap stop``, then ``resume``: its clients notice nothing. After kill -9 they do."""
    port = free_port()
    module = wasnap.write("m.wasm", wat.echo(port))
    options = ("--snapshot-on", "explicit", "--sockets", "repair")
    rights = ("--listen", f"127.0.0.1:{port}")
    running = wasnap.start("run", "--journal", "j", *options, *rights, module)
    clients: list[socket.socket] = []
    while len(clients) < 5:
        with contextlib.suppress(ConnectionRefusedError):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=60))
    for client in clients:
        client.sendall(b"before")
        assert exactly(client, 6) == b"before"
    for n in range(2):
        assert wasnap("stop", str(running.pid)).returncode == 0
        assert running.end()[0] == 0
        running = wasnap.start("resume", *options, "j", ready=False)
        while not serves(port):  # it listens before it has its connections again
            assert not running.over(0.01)
        for i, client in enumerate(clients):
            client.sendall(b"%d-%d" % (n, i))
            assert exactly(client, 3) == b"%d-%d" % (n, i)
    assert wasnap("snapshot", str(running.pid)).returncode == 0
    running.signal(signal.SIGKILL)
    running.end()
    for client in clients:
        assert client.recv(9) == b""
        client.close()
