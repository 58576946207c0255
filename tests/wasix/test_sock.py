"""Sockets of the guest's own: streams and datagrams, in place and in a resumed process."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from host.fakes import DATA, OUT, SENTINEL
from host.test_poll import READ, WRITE, events, setup
from host.test_poll import fd as subscribe

from wasnap.errors import CannotListen, CannotResume, UsageError

from .net import (
    ADDR,
    DGRAM,
    DONT_WAIT,
    INET4,
    INET6,
    NONBLOCK,
    PEEK,
    STREAM,
    TRUNCATED,
    UNIX,
    WAITALL,
    Net,
    server,
)

OPENING, OPENED, CLOSED, FAILED = range(4)


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net()
    yield made
    made.close()


def outside(address: tuple[str, int]) -> socket.socket:
    """A client."""
    return socket.create_connection(address, timeout=20)


# -- streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server(net: Net, host: str) -> None:
    listener = net.listener(host)
    address = net.local(listener)
    assert address[0] == host
    assert net.guest.host.listening == (
        f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}",
    )
    with outside(address) as client:
        fd = net.accept(listener)
        assert net.read_address() == client.getsockname()[:2]
        client.sendall(b"question")
        assert net.receive(fd, 5, PEEK) == b"quest"
        assert net.receive(fd, 5) == b"quest"
        assert net.guest.read(fd, 99) == b"ion"
        assert net.send(fd, b"ans") == 3
        assert net.guest.write(fd, b"wer") == 3
        assert net.guest("sock_shutdown", fd, 2) == "SUCCESS"
        assert client.makefile("rb").read() == b"answer"
        assert net.guest("sock_addr_peer", fd, ADDR) == "SUCCESS"
        assert net.read_address() == client.getsockname()[:2]
        assert net.guest("sock_send", fd, *net.guest.iovs(1), 0, OUT) == "PIPE"
    assert net.receive(fd) == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_client(net: Net, host: str) -> None:
    with server(host) as listening:
        fd = net.open(INET6 if ":" in host else INET4)
        assert net.status(fd) == OPENING
        assert net.try_receive(fd) == "NOTCONN"
        assert net.guest("sock_addr_peer", fd, ADDR) == "NOTCONN"
        assert net.connect(fd, *listening.getsockname()[:2]) == "SUCCESS"
        assert net.status(fd) == OPENED
        theirs, name = listening.accept()
        assert net.local(fd) == name[:2]
        assert net.connect(fd, *listening.getsockname()[:2]) == "ISCONN"
        net.send(fd, b"hello")
        assert theirs.recv(9) == b"hello"
        theirs.close()
        assert net.receive(fd) == b""


def test_addresses_take_no_more_room_than_they_need(net: Net) -> None:
    listener = net.listener()
    _, port = net.local(listener)
    net.guest.memory.write(ADDR, bytes([SENTINEL]) * 110)
    with net.guest.writes((ADDR, struct.pack("<BxH", 1, port) + b"\x7f\0\0\1")):
        assert net.guest("sock_addr_local", listener, ADDR) == "SUCCESS"
    six = net.listener("::1")
    _, port = net.local(six)
    net.guest.memory.write(ADDR, bytes([SENTINEL]) * 110)
    expected = struct.pack("<BxH", 2, port) + bytes(15) + b"\1"
    with net.guest.writes((ADDR, expected + bytes(8))):
        assert net.guest("sock_addr_local", six, ADDR) == "SUCCESS"
    net.guest.host.old_wasix = True
    net.guest.memory.write(ADDR, bytes([SENTINEL]) * 110)
    with net.guest.writes((ADDR, expected)):
        assert net.guest("sock_addr_local", six, ADDR) == "SUCCESS"


def test_what_cannot_be_opened(net: Net) -> None:
    for arguments, result in (
        ((UNIX, STREAM, 0), "AFNOSUPPORT"),
        ((0, STREAM, 0), "AFNOSUPPORT"),
        ((9, STREAM, 0), "AFNOSUPPORT"),
        ((INET4, 3, 0), "PROTONOSUPPORT"),
        ((INET4, 4, 0), "PROTONOSUPPORT"),
        ((INET4, 5, 0), "INVAL"),
        ((INET4, STREAM, 17), "PROTONOSUPPORT"),
        ((INET4, DGRAM, 6), "PROTONOSUPPORT"),
    ):
        assert net.guest("sock_open", *arguments, OUT) == result
    assert net.guest("sock_bind", 0, net.address("127.0.0.1", 0)) == "NOTSOCK"
    assert net.guest("sock_bind", 99, ADDR) == "BADF"
    fd = net.open()
    assert net.guest("sock_bind", fd, net.address("::1", 0)) == "AFNOSUPPORT"
    assert net.guest("sock_accept_v2", fd, 0, OUT, ADDR) == "INVAL"
    assert net.guest("sock_shutdown", fd, 3) == "NOTCONN"
    assert net.guest("sock_listen", net.open(INET4, DGRAM), 1) == "NOTSUP"


def test_waiting_ends_with_a_stop(net: Net) -> None:
    """Whatever it was is done when the process goes on."""
    listener = net.listener()
    address = net.local(listener)
    accept = ("sock_accept_v2", listener, 0, OUT, ADDR)
    progress = net.guest.suspended(*accept)
    with outside(address) as client:
        assert net.guest.completed(progress, *accept) == "SUCCESS"
        fd = net.guest.memory.u32(OUT)
        receive = ("sock_recv", fd, *net.guest.iovs(2, 4), WAITALL, OUT, OUT + 4)
        client.sendall(b"abc")
        progress = net.guest.suspended(*receive)
        assert progress["received"] == 3
        client.sendall(b"defghi")
        assert net.guest.completed(progress, *receive) == "SUCCESS"
        assert net.guest.memory.read(DATA, net.guest.memory.u32(OUT)) == b"abcdef"


def test_without_waiting(net: Net) -> None:
    listener = net.listener()
    assert net.guest("fd_fdstat_set_flags", listener, NONBLOCK) == "SUCCESS"
    assert net.guest("sock_accept_v2", listener, 0, OUT, ADDR) == "AGAIN"
    with outside(net.local(listener)):
        plain = net.accept(listener)
        assert net.try_receive(plain, 9, DONT_WAIT) == "AGAIN"
    with outside(net.local(listener)):
        fd = net.accept(listener, NONBLOCK)
        assert net.try_receive(fd) == "AGAIN"
        data = b"x" * 50_000
        while net.guest("sock_send", fd, *net.guest.iovs(50_000, data=data), 0, OUT) == "SUCCESS":
            pass
        assert net.guest("sock_send", fd, *net.guest.iovs(9), 0, OUT) == "AGAIN"


def test_connecting_without_waiting(net: Net) -> None:
    """INPROGRESS, and poll says when; a refusal is told by status and last error."""
    with server() as listening:
        fd = net.open()
        net.guest("fd_fdstat_set_flags", fd, NONBLOCK)
        assert net.connect(fd, *listening.getsockname()) in ("INPROGRESS", "SUCCESS")
        assert net.guest("poll_oneoff", *setup(net.guest, subscribe(1, WRITE, fd))) == "SUCCESS"
        assert net.status(fd) == OPENED
        address = listening.getsockname()
    fd = net.open()
    net.guest("fd_fdstat_set_flags", fd, NONBLOCK)
    if net.connect(fd, *address) == "INPROGRESS":
        assert net.guest("poll_oneoff", *setup(net.guest, subscribe(1, WRITE, fd))) == "SUCCESS"
        assert net.status(fd) == FAILED
        assert net.guest("sock_get_opt_size", fd, 11, OUT) == "SUCCESS"
        assert net.guest.memory.u64(OUT) == 14  # CONNREFUSED
    blocking = net.open()
    assert net.connect(blocking, *address) == "CONNREFUSED"


def test_times(net: Net) -> None:
    """A receive that takes too long, an accept, a connect; and what is left of them after a stop."""
    some = struct.pack("<B7xQ", 1, 20_000_000)
    net.guest.memory.write(DATA, some)
    listener = net.listener()
    assert net.guest("sock_set_opt_time", listener, 22, DATA) == "SUCCESS"
    assert net.guest("sock_accept_v2", listener, 0, OUT, ADDR) == "AGAIN"
    with outside(net.local(listener)):
        fd = net.accept(listener)
        net.guest.memory.write(DATA, some)
        assert net.guest("sock_set_opt_time", fd, 19, DATA) == "SUCCESS"
        assert net.guest("sock_get_opt_time", fd, 19, DATA + 32) == "SUCCESS"
        assert net.guest.memory.read(DATA + 32, 16) == some
        assert net.try_receive(fd) == "AGAIN"
        receive = ("sock_recv", fd, *net.guest.iovs(9), 0, OUT, OUT + 4)
        progress = net.guest.suspended(*receive)
        assert progress["until"] <= net.guest.host.clock.monotonic() + 20_000_000
        assert net.guest.completed(progress, *receive) == "AGAIN"
        net.guest.memory.write(DATA, bytes(16))
        assert net.guest("sock_set_opt_time", fd, 19, DATA) == "SUCCESS"
        assert net.guest.suspended(*receive)["until"] is None


def test_a_large_send_goes_on_after_a_stop(net: Net) -> None:
    listener = net.listener()
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        data = bytes(i * 7 & 0xFF for i in range(150_000))
        net.guest("fd_fdstat_set_flags", fd, NONBLOCK)
        sent = 0
        while net.guest("sock_send", fd, *net.guest.iovs(150_000, data=data), 0, OUT) == "SUCCESS":
            sent += net.guest.memory.u32(OUT)
        net.guest("fd_fdstat_set_flags", fd, 0)
        call = ("sock_send", fd, *net.guest.iovs(150_000, data=data), 0, OUT)
        progress = net.guest.suspended(*call)
        received: list[bytes] = []

        def drain() -> None:
            left = sent + len(data)
            while left:
                received.append(client.recv(min(left, 65536)))
                left -= len(received[-1])

        thread = threading.Thread(target=drain)
        thread.start()
        assert net.guest.completed(progress, *call) == "SUCCESS"
        thread.join()
        assert b"".join(received).endswith(data)


def test_a_file_is_sent(net: Net, tmp_path: object) -> None:
    """From an offset, a part of it; more than there is."""
    from pathlib import Path

    from wasnap.host import Mapping

    directory = Path(str(tmp_path))
    (directory / "f").write_bytes(bytes(range(256)) * 4)
    net.guest = net.make(net=True, dirs=(Mapping(str(directory), "/d"),))
    file = net.guest.open("f", rights=2 | 4)
    listener = net.listener()
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        for offset, count, sent in ((250, 10, 10), (1000, 99, 24), (5000, 9, 0)):
            assert net.guest("sock_send_file", fd, file, offset, count, OUT) == "SUCCESS"
            assert net.guest.memory.u64(OUT) == sent
        assert net.guest("sock_shutdown", fd, 2) == "SUCCESS"
        whole = bytes(range(256)) * 4
        assert client.makefile("rb").read() == whole[250:260] + whole[1000:]
    assert net.guest.tell(file) == 0


# -- datagrams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams(net: Net, host: str) -> None:
    """Each with its sender; cut off where there is no room; to a peer, or to an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as theirs:
        theirs.bind((host, 0))
        theirs.settimeout(20)
        name = theirs.getsockname()[:2]
        fd = net.bound(host, DGRAM)
        address = net.local(fd)
        for data in (b"one", b"", b"three"):
            theirs.sendto(data, address)
        assert net.receive_from(fd, 99, PEEK) == (b"one", name)
        assert net.receive_from(fd) == (b"one", name)
        assert net.receive_from(fd) == (b"", name)
        assert net.guest("sock_recv", fd, *net.guest.iovs(2), TRUNCATED, OUT, OUT + 4) == "SUCCESS"
        assert net.guest.memory.u32(OUT) == 5
        assert net.try_receive(fd, 9, DONT_WAIT) == "AGAIN", "the rest is gone"
        assert net.guest("sock_send", fd, *net.guest.iovs(1), 0, OUT) == "DESTADDRREQ"
        assert net.send_to(fd, b"answer", name) == "SUCCESS"
        assert theirs.recvfrom(99)[0] == b"answer"
        assert net.connect(fd, *name) == "SUCCESS"
        assert net.send(fd, b"again") == 5
        assert theirs.recv(99) == b"again"
        assert net.guest("fd_fdstat_get", fd, OUT) == "SUCCESS"
        assert net.guest.memory.u8(OUT) == 5


def test_datagrams_in_a_resumed_process(net: Net) -> None:
    """Bound to the same port; what had come is read first, what comes then, after it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind(("127.0.0.1", 0))
        name = theirs.getsockname()
        fd = net.bound(kind=DGRAM)
        address = net.local(fd)
        for data in (b"one", b"two", b""):
            theirs.sendto(data, address)
        state = net.saved()
        assert net.receive_from(fd) == (b"one", name)  # in place nothing has changed
        assert net.receive_from(fd) == (b"two", name)
        net.go_on(state)
        assert net.local(fd) == address
        theirs.sendto(b"four", address)
        assert net.guest("poll_oneoff", *setup(net.guest, subscribe(1, READ, fd))) == "SUCCESS"
        assert events(net.guest) == [(1, 0, READ, 6, 0)]
        net.resume()  # what is held is saved again; what the kernel has, too
        for data in (b"one", b"two", b"", b"four"):
            assert net.receive_from(fd) == (data, name)
        assert net.try_receive(fd, 9, DONT_WAIT) == "AGAIN"


def test_a_peer_of_datagrams_is_kept(net: Net) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind(("127.0.0.1", 0))
        theirs.settimeout(20)
        fd = net.open(INET4, DGRAM)
        assert net.connect(fd, *theirs.getsockname()) == "SUCCESS"
        address = net.local(fd)
        net.resume()
        assert net.local(fd) == address
        net.send(fd, b"x")
        assert theirs.recvfrom(9) == (b"x", address)


def test_a_snapshot_before_connecting(net: Net) -> None:
    """Nothing has been done then, and is done when the process goes on: to the new peer."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        for theirs in (first, second):
            theirs.bind(("127.0.0.1", 0))
            theirs.settimeout(20)
        fd = net.open(INET4, DGRAM)
        assert net.connect(fd, *first.getsockname()) == "SUCCESS"
        occasions = net.guest.host.occasions
        occasions.watch("nondeterministic", lambda: True, once=True)
        net.guest.call.audience = occasions
        call = ("sock_connect", fd, net.address(*second.getsockname()))
        assert net.guest.suspended(*call) == {}
        net.resume()
        net.address(*second.getsockname())
        assert net.guest.completed({}, *call) == "SUCCESS"
        net.send(fd, b"x")
        assert second.recv(9) == b"x"


# -- what a resumed process has ------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_listens_again(net: Net, host: str) -> None:
    """On the same address; under its number; a stopped accept is completed."""
    listener = net.listener(host)
    address = net.local(listener)
    progress = net.guest.suspended("sock_accept_v2", listener, 0, OUT, ADDR)
    net.resume()
    with outside(address) as client:
        assert net.guest.completed(progress, "sock_accept_v2", listener, 0, OUT, ADDR) == "SUCCESS"
        client.sendall(b"new")
        assert net.receive(net.guest.memory.u32(OUT)) == b"new"
    assert net.local(listener) == address


def test_connections_are_reset(net: Net) -> None:
    """What had been received is still read; then all gives CONNRESET, ever again."""
    listener = net.listener()
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        client.sendall(b"abcdef")
        assert net.receive(fd, 2) == b"ab"
        net.guest("fd_fdstat_set_flags", fd, NONBLOCK)
        for _ in range(2):
            net.resume()
            assert net.receive(fd, 2, PEEK) == b"cd"
        assert net.receive(fd, 3) == b"cde"
        assert net.receive(fd, 3) == b"f"
        for _ in range(2):
            assert net.try_receive(fd) == "CONNRESET"
            assert net.guest("sock_send", fd, *net.guest.iovs(1), 0, OUT) == "CONNRESET"
            assert net.guest("fd_write", fd, *net.guest.iovs(1), OUT) == "CONNRESET"
            assert net.guest("sock_shutdown", fd, 3) == "NOTCONN"
        assert net.status(fd) == CLOSED
        assert net.guest("sock_addr_peer", fd, ADDR) == "SUCCESS"
        assert net.read_address() == client.getsockname()
        wanted = setup(net.guest, subscribe(1, READ, fd), subscribe(2, WRITE, fd))
        assert net.guest("poll_oneoff", *wanted) == "SUCCESS"
        assert [e[:2] for e in events(net.guest)] == [(1, 0), (2, 0)]
        with pytest.raises(ConnectionResetError):
            client.recv(9)


def test_in_place_nothing_is_noticed(net: Net) -> None:
    listener = net.listener()
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        client.sendall(b"abc")
        client.shutdown(socket.SHUT_WR)
        net.saved()
        assert net.receive(fd, 2) == b"ab"
        net.saved()
        assert net.receive(fd) == b"c"
        assert net.receive(fd) == b""
        net.saved()
        assert net.send(fd, b"x") == 1
        assert client.recv(9) == b"x"


def test_connected_again(net: Net) -> None:
    """Its own connections, with ``reconnect``; what it had received first. Others are reset."""
    with server() as listening:
        fd = net.open()
        net.guest("sock_set_opt_flag", fd, 3, 1)
        assert net.connect(fd, *listening.getsockname()) == "SUCCESS"
        first, _ = listening.accept()
        first.sendall(b"old")
        accepting = net.listener()
        client = outside(net.local(accepting))
        other = net.accept(accepting)
        net.resume(net=True, connections="reconnect")
        second, _ = listening.accept()
        second.sendall(b"new")
        assert net.receive(fd, 9) == b"old"
        assert net.receive(fd, 9) == b"new"
        net.send(fd, b"hello")
        assert second.recv(9) == b"hello"
        assert net.guest("sock_get_opt_flag", fd, 3, OUT) == "SUCCESS"
        assert net.guest.memory.u8(OUT) == 1
        assert net.try_receive(other) == "CONNRESET"
        state = net.saved()
    net.go_on(state, net=True, connections="reconnect")  # nobody listens there any more
    assert net.try_receive(fd) == "CONNRESET"
    with pytest.raises(CannotResume, match=r"it is connected to .*--net-allow 127"):
        net.go_on(state, net_allow=("192.0.2.1:1",), connections="reconnect")
    for each in (first, second, client):
        each.close()


def test_a_connection_that_was_being_made_is_made(net: Net) -> None:
    """The backlog is full, so it waits; the resumed process has it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        listening.settimeout(20)
        address = listening.getsockname()
        fill = [socket.socket() for _ in range(2)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(address)
        fd = net.open()
        progress = net.guest.suspended("sock_connect", fd, net.address(*address))
        state = net.saved()
        for _ in fill:
            listening.accept()[0].close()
        net.go_on(state)
        call = ("sock_connect", fd, net.address(*address))
        assert net.guest.completed(progress, *call) == "SUCCESS"
        net.send(fd, b"here")
        while True:
            theirs, _ = listening.accept()
            if theirs.recv(9) == b"here":
                break
        for each in fill:
            each.close()


def test_an_address_that_is_taken(net: Net) -> None:
    """Nothing is resumed; ``rebind`` moves it, for that time."""
    listener = net.listener()
    host, port = net.local(listener)
    name = f"{host}:{port}"
    state = net.saved()
    net.guest.host.close()
    with socket.create_server((host, port)):
        with pytest.raises(
            CannotListen, match=f"cannot listen on {name}: Address already in use"
        ) as caught:
            net.go_on(state)
        assert f"--listen-rebind {name}=" in caught.value.hint
        net.go_on(state, rebind={name: f"127.0.0.2:{port}"})
        assert net.local(listener) == ("127.0.0.2", port)
        state = net.saved()
    with pytest.raises(UsageError, match=f"did not listen on 127.0.0.3:1 .*{name}"):
        net.go_on(state, rebind={"127.0.0.3:1": "127.0.0.1:0"}, net=True)
    net.go_on(state)
    assert net.local(listener) == (host, port)


def test_options_are_kept(net: Net) -> None:
    """Flags, sizes, times, of a socket that listens."""
    fd = net.open()
    for option in (1, 2, 3, 4, 12, 14):
        assert net.guest("sock_set_opt_flag", fd, option, 1) == "SUCCESS"
    for option, size in ((15, 70_000), (16, 80_000), (23, 9)):
        assert net.guest("sock_set_opt_size", fd, option, size) == "SUCCESS"
    for option in (13, 19, 20, 21, 22):
        net.guest.memory.write(DATA, struct.pack("<B7xQ", 1, option * 10**9))
        assert net.guest("sock_set_opt_time", fd, option, DATA) == "SUCCESS"
    assert net.guest("sock_bind", fd, net.address("127.0.0.1", 0)) == "SUCCESS"
    assert net.guest("sock_listen", fd, 7) == "SUCCESS"
    for again in (False, True):
        if again:
            net.resume()
        for option in (1, 2, 3, 4, 10, 12, 14):
            with net.guest.writes((OUT, b"\1")):
                assert net.guest("sock_get_opt_flag", fd, option, OUT) == "SUCCESS"
        for option, size in ((15, 70_000), (16, 80_000), (23, 9), (25, STREAM), (26, 6)):
            with net.guest.writes((OUT, struct.pack("<Q", size))):
                assert net.guest("sock_get_opt_size", fd, option, OUT) == "SUCCESS"
        for option in (13, 19, 20, 21, 22):
            with net.guest.writes((OUT, struct.pack("<B7xQ", 1, option * 10**9))):
                assert net.guest("sock_get_opt_time", fd, option, OUT) == "SUCCESS"
    for name in ("sock_get_opt_flag", "sock_get_opt_size", "sock_get_opt_time"):
        assert net.guest(name, fd, 9, OUT) == "NOPROTOOPT"
        assert net.guest(name, fd, 27, OUT) == "INVAL"


def test_groups(net: Net) -> None:
    """A multicast group on loopback is joined again."""
    fd = net.open(INET4, DGRAM)
    assert net.guest("sock_bind", fd, net.address("0.0.0.0", 0)) == "SUCCESS"
    net.guest.memory.write(DATA, socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1"))
    assert net.guest("sock_join_multicast_v4", fd, DATA, DATA + 4) == "SUCCESS"
    _, port = net.local(fd)
    net.resume()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        theirs.sendto(b"all", ("239.1.2.3", port))
        assert net.receive(fd) == b"all"
    net.guest.memory.write(DATA, socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1"))
    assert net.guest("sock_leave_multicast_v4", fd, DATA, DATA + 4) == "SUCCESS"
    assert net.guest("sock_leave_multicast_v4", fd, DATA, DATA + 4) == "ADDRNOTAVAIL"
    six = net.open(INET6, DGRAM)
    index = socket.if_nametoindex("lo")
    net.guest.memory.write(DATA, socket.inet_pton(socket.AF_INET6, "ff01::7"))
    assert net.guest("sock_join_multicast_v6", six, DATA, index) == "SUCCESS"
    net.resume()
    net.guest.memory.write(DATA, socket.inet_pton(socket.AF_INET6, "ff01::7"))
    assert net.guest("sock_leave_multicast_v6", six, DATA, index) == "SUCCESS"


# -- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
def test_a_pair(net: Net, kind: int) -> None:
    """All of it is saved: what was sent and not received, either way; an end that was closed."""
    assert net.guest("sock_pair", INET4, kind, 0, OUT, OUT + 4) == "SUCCESS"
    one, two = net.guest.memory.u32(OUT), net.guest.memory.u32(OUT + 4)
    net.send(one, b"abc")
    net.send(one, b"def")
    net.send(two, b"back")
    state = net.saved()
    parts = [b"abc", b"def"] if kind == DGRAM else [b"abcdef"]
    for again in range(2):
        if again:
            net.go_on(state)
        assert [net.receive(two) for _ in parts] == parts
        assert net.receive(one) == b"back"
        net.send(two, b"more")
        assert net.receive(one) == b"more"
    net.send(one, b"last")
    net.close_fd(one)
    net.resume()
    assert net.receive(two) == b"last"
    if kind == STREAM:
        assert net.receive(two) == b""
        assert net.guest("sock_send", two, *net.guest.iovs(1), 0, OUT) == "PIPE"


def test_half_of_a_pair_is_shut_down(net: Net) -> None:
    assert net.guest("sock_pair", UNIX, STREAM, 0, OUT, OUT + 4) == "SUCCESS"
    one, two = net.guest.memory.u32(OUT), net.guest.memory.u32(OUT + 4)
    net.send(one, b"x")
    assert net.guest("sock_shutdown", one, 2) == "SUCCESS"
    net.resume()
    assert net.receive(two) == b"x"
    assert net.receive(two) == b""
    net.send(two, b"y")
    assert net.receive(one) == b"y"
    assert net.guest("sock_send", one, *net.guest.iovs(1), 0, OUT) == "PIPE"


# -- many -----------------------------------------------------------------------------------------


def test_a_thousand_connections(net: Net) -> None:
    """Each keeps its bytes in a snapshot in place; in a resumed process all can read what they had
    received, and are reset."""
    listener = net.listener(backlog=64)
    address = net.local(listener)
    pairs = []
    for _ in range(1000):
        client = outside(address)
        pairs.append((net.accept(listener), client))
        client.sendall(b"<%d>" % pairs[-1][0])
    state = net.saved()
    for fd, client in pairs:
        assert net.receive(fd) == b"<%d>" % fd
        assert net.send(fd, b"!") == 1
        assert client.recv(9) == b"!"
    net.go_on(state)
    for fd, client in pairs:
        assert net.receive(fd) == b"<%d>" % fd
        assert net.try_receive(fd) == "CONNRESET"
        net.close_fd(fd)
        client.close()
    assert net.open() == pairs[0][0]


def test_a_full_backlog(net: Net) -> None:
    """What waits to be accepted is still there after a snapshot in place."""
    listener = net.listener(backlog=3)
    clients = [socket.socket() for _ in range(8)]
    inside = []
    for client in clients:
        client.setblocking(False)
        client.connect_ex(net.local(listener))
    for client in clients:
        try:
            client.send(b"x")
            inside.append(client)
        except OSError:
            continue
    assert 3 <= len(inside) < 8
    net.saved()
    for _ in inside:
        assert net.receive(net.accept(listener)) == b"x"
    for client in clients:
        client.close()


def test_sockets_that_are_handed_over(net: Net) -> None:
    """Connections go on as they are; nothing is received twice, also not what was held."""
    listener = net.listener()
    udp = net.bound(kind=DGRAM)
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        client.sendall(b"abc")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
            theirs.sendto(b"one", net.local(udp))
            net.resume()
            assert net.try_receive(fd, 2) == b"ab", "it was reset, and holds this"
            theirs.sendto(b"two", net.local(udp))
    with outside(net.local(listener)) as client:
        fd = net.accept(listener)
        client.sendall(b"abc")
        assert net.guest("sock_pair", INET4, STREAM, 0, OUT, OUT + 4) == "SUCCESS"
        one, two = net.guest.memory.u32(OUT), net.guest.memory.u32(OUT + 4)
        net.send(one, b"pair")
        old, state = net.guest, net.saved()
        net.guest = net.make(net=True, sockets=old.host.live_sockets())
        net.guest.host.restore(state)
        old.host.close()
        assert net.receive(fd) == b"abc"
        client.sendall(b"def")
        assert net.receive(fd) == b"def"
        assert net.try_receive(fd, 9, DONT_WAIT) == "AGAIN"
        assert [net.receive(udp), net.receive(udp)] == [b"one", b"two"]
        assert net.try_receive(udp, 9, DONT_WAIT) == "AGAIN"
        assert net.receive(two) == b"pair"
        with outside(net.local(listener)):
            net.accept(listener)
