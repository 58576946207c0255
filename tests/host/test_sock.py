"""Sockets: what listens, what is accepted there, and what a resumed process finds of it."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest

from wasnap.errors import CannotListen, CannotResume, UsageError
from wasnap.host import Address, Host, HostConfig, HostState

from .conftest import MakeGuest
from .fakes import DATA, OUT, Guest, open_descriptors
from .test_poll import READ, WRITE, events, fd, setup

NONBLOCK = 4
PEEK, WAITALL = 1, 2
HANGUP = 1
LISTENER = 3


class Net:
    """A guest that listens on loopback, and its clients."""

    def __init__(self, make_guest: MakeGuest) -> None:
        self._make_guest = make_guest
        self.guest = make_guest(listen=("127.0.0.1:0",))
        self.clients: list[socket.socket] = []

    @property
    def address(self) -> str:
        return self.guest.host.listening[0]

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        client = socket.create_connection((host, int(port)), timeout=10)
        self.clients.append(client)
        return client

    def accept(self, flags: int = 0) -> int:
        assert self.guest("sock_accept", LISTENER, flags, OUT) == "SUCCESS"
        return self.guest.memory.u32(OUT)

    def pair(self) -> tuple[int, socket.socket]:
        """A connection: the guest's end and ours."""
        client = self.connect()
        return self.accept(), client

    def resume(self) -> Guest:
        """Snapshot, end, and a new guest that goes on from there."""
        data = msgspec.msgpack.encode(self.guest.host.capture().to_plain())
        address = self.address
        self.guest.host.close()
        self.guest = self._make_guest(listen=(address,))
        self.guest.host.restore(HostState.from_plain(msgspec.msgpack.decode(data)))
        return self.guest


@pytest.fixture
def net(make_guest: MakeGuest) -> Iterator[Net]:
    made = Net(make_guest)
    yield made
    for client in made.clients:
        client.close()


def recv(guest: Guest, fd: int, n: int, flags: int = 0) -> bytes:
    assert guest("sock_recv", fd, *guest.iovs(n), flags, OUT, OUT + 4) == "SUCCESS"
    assert guest.memory.u16(OUT + 4) == 0
    return guest.memory.read(DATA, guest.memory.u32(OUT))


def send(guest: Guest, fd: int, data: bytes) -> int:
    assert guest("sock_send", fd, *guest.iovs(len(data), data=data), 0, OUT) == "SUCCESS"
    return guest.memory.u32(OUT)


# -- listening and accepting --------------------------------------------------------------------


def test_sockets_come_before_directories(make_guest: MakeGuest, tmp_path: object) -> None:
    """Descriptor 3 listens, and a libc that looks for directories from 3 on finds those behind."""
    from wasnap.host import Mapping

    guest = make_guest(Mapping(str(tmp_path), "/d"), listen=("127.0.0.1:0", "127.0.0.1:0"))
    for number in (3, 4):
        with guest.writes((OUT, b"\1\0\0\0\0\0\0\0")):
            assert guest("fd_prestat_get", number, OUT) == "SUCCESS"
        assert guest("fd_prestat_dir_name", number, OUT, 8) == "NOTDIR"
    with guest.writes((OUT, b"\0\0\0\0\2\0\0\0")):
        assert guest("fd_prestat_get", 5, OUT) == "SUCCESS"
    assert guest("fd_prestat_get", 6, OUT) == "BADF"
    assert b"LISTEN_FDS=2" in guest.host.env


def test_listen_fds_of_the_user_is_left_alone(make_guest: MakeGuest) -> None:
    guest = make_guest(listen=("127.0.0.1:0",), env={"LISTEN_FDS": "7"})
    assert guest.host.env == [b"LISTEN_FDS=7"]
    assert make_guest().host.env == []


def test_fdstat(net: Net) -> None:
    """Both are stream sockets; only one may be accepted on."""
    for number, accepts in ((LISTENER, True), (net.pair()[0], False)):
        assert net.guest("fd_fdstat_get", number, OUT) == "SUCCESS"
        assert net.guest.memory.u8(OUT) == 6
        assert bool(net.guest.memory.u64(OUT + 8) >> 29 & 1) == accepts


def test_accept_writes_one_number(net: Net) -> None:
    net.connect()
    with net.guest.writes((OUT, b"\4\0\0\0")):
        assert net.guest("sock_accept", LISTENER, 0, OUT) == "SUCCESS"


def test_accept_waits(net: Net) -> None:
    """A stop finds it waiting, with nothing done; then it is simply done again."""
    assert net.guest.suspended("sock_accept", LISTENER, 0, OUT) == {}
    net.connect()
    assert net.guest.completed({}, "sock_accept", LISTENER, 0, OUT) == "SUCCESS"


def test_accept_without_waiting(net: Net) -> None:
    assert net.guest("fd_fdstat_set_flags", LISTENER, NONBLOCK) == "SUCCESS"
    assert net.guest("sock_accept", LISTENER, 0, OUT) == "AGAIN"
    net.connect()
    plain = net.accept()
    assert net.guest("fd_fdstat_get", plain, OUT) == "SUCCESS"
    assert net.guest.memory.u16(OUT + 2) == 0
    net.connect()
    nonblocking = net.accept(NONBLOCK)
    assert net.guest("fd_fdstat_get", nonblocking, OUT) == "SUCCESS"
    assert net.guest.memory.u16(OUT + 2) == NONBLOCK
    assert net.guest("sock_recv", nonblocking, *net.guest.iovs(1), 0, OUT, OUT + 4) == "AGAIN"
    assert net.guest("sock_recv", nonblocking, *net.guest.iovs(1), PEEK, OUT, OUT + 4) == "AGAIN"


def test_a_socket_that_is_given_without_waiting(make_guest: MakeGuest) -> None:
    """As programs for wasmtime, and Go's, want it; also after a resume."""
    guest = make_guest(listen=("127.0.0.1:0,nonblock",))
    assert guest("sock_accept", LISTENER, 0, OUT) == "AGAIN"
    again = make_guest(listen=("127.0.0.1:0",))
    again.host.restore(guest.host.capture())
    assert again("sock_accept", LISTENER, 0, OUT) == "AGAIN"


def test_what_cannot_be_accepted_on(net: Net) -> None:
    number, _ = net.pair()
    assert net.guest("sock_accept", number, 0, OUT) == "INVAL"
    assert net.guest("sock_accept", LISTENER, 1, OUT) == "INVAL"
    assert net.guest("sock_accept", 0, 0, OUT) == "NOTSOCK"
    assert net.guest("sock_accept", 99, 0, OUT) == "BADF"
    assert net.guest("sock_accept", LISTENER, 0, len(net.guest.memory.bytes)) == "FAULT"
    assert net.guest("fd_read", LISTENER, *net.guest.iovs(1), OUT) == "NOTCONN"
    assert net.guest("fd_write", LISTENER, *net.guest.iovs(1), OUT) == "BADF"
    assert net.guest("fd_fdstat_set_rights", LISTENER, 1 << 27, 0) == "SUCCESS"
    assert net.guest("sock_accept", LISTENER, 0, OUT) == "NOTCAPABLE"


def test_a_closed_listener_listens_no_more(net: Net) -> None:
    assert net.guest("fd_close", LISTENER) == "SUCCESS"
    with pytest.raises(ConnectionRefusedError):
        net.connect()


# -- connections --------------------------------------------------------------------------------


def test_receive_and_send(net: Net) -> None:
    number, client = net.pair()
    client.sendall(b"abcdef")
    assert recv(net.guest, number, 3, PEEK) == b"abc"
    assert recv(net.guest, number, 3) == b"abc"
    assert net.guest.read(number, 9) == b"def"
    assert send(net.guest, number, b"hello ") == 6
    assert net.guest.write(number, b"there") == 5
    assert net.guest("sock_shutdown", number, 2) == "SUCCESS"
    assert client.makefile("rb").read() == b"hello there"
    assert net.guest("sock_send", number, *net.guest.iovs(1), 0, OUT) == "PIPE"
    client.close()
    assert recv(net.guest, number, 9) == b""


def test_a_reset_is_seen(net: Net) -> None:
    """By the peer itself, that is."""
    number, client = net.pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert net.guest("sock_recv", number, *net.guest.iovs(1), 0, OUT, OUT + 4) == "CONNRESET"


def test_waitall_survives_a_stop(net: Net) -> None:
    """What has been received is in the guest's memory, and progress says how much."""
    number, client = net.pair()
    client.sendall(b"abc")
    arguments = (number, *net.guest.iovs(2, 4), WAITALL, OUT, OUT + 4)
    progress = net.guest.suspended("sock_recv", *arguments)
    assert progress == {"received": 3}
    client.sendall(b"defghi")
    assert net.guest.completed(progress, "sock_recv", *arguments) == "SUCCESS"
    assert net.guest.memory.read(DATA, net.guest.memory.u32(OUT)) == b"abcdef"
    assert recv(net.guest, number, 9) == b"ghi"
    client.close()
    assert recv(net.guest, number, 9, WAITALL) == b""


def test_a_large_write_goes_on_after_a_stop(net: Net) -> None:
    number, client = net.pair()
    data = bytes(i * 7 & 0xFF for i in range(180_000))
    iovs = net.guest.iovs(len(data), data=data)
    sent = b""
    while True:  # until the kernel's buffers are full
        before = net.guest.call.progress
        try:
            progress = net.guest.suspended("sock_send", number, *iovs, 0, OUT)
            break
        except AssertionError:
            assert before is None
            sent += data
    received: list[bytes] = []

    def drain() -> None:
        left = len(sent) + len(data)
        while left:
            received.append(client.recv(min(left, 65536)))
            left -= len(received[-1])

    thread = threading.Thread(target=drain)
    thread.start()
    assert net.guest.completed(progress, "sock_send", number, *iovs, 0, OUT) == "SUCCESS"
    thread.join()
    assert net.guest.memory.u32(OUT) == len(data)
    assert b"".join(received) == sent + data


def test_poll(net: Net) -> None:
    """A listener is ready when somebody wants in; a connection when it has bytes, or none ever."""
    client = net.connect()
    wanted = setup(net.guest, fd(1, READ, LISTENER))
    assert net.guest("poll_oneoff", *wanted) == "SUCCESS"
    assert events(net.guest) == [(1, 0, READ, 1, 0)]
    number = net.accept()
    client.sendall(b"abc")
    wanted = setup(net.guest, fd(2, READ, number), fd(3, WRITE, number), fd(4, READ, LISTENER))
    assert net.guest("poll_oneoff", *wanted) == "SUCCESS"
    assert (2, 0, READ, 3, 0) in events(net.guest)
    assert (3, 0, WRITE, 1, 0) in events(net.guest)
    assert len(events(net.guest)) == 2, "nobody else wants in"
    net.guest.read(number, 9)
    client.close()
    assert net.guest("poll_oneoff", *setup(net.guest, fd(2, READ, number))) == "SUCCESS"
    assert events(net.guest) == [(2, 0, READ, 0, HANGUP)]


# -- snapshots ----------------------------------------------------------------------------------


def test_a_snapshot_in_place_leaves_connections_alone(net: Net) -> None:
    number, client = net.pair()
    client.sendall(b"abc")
    net.guest.host.capture()
    assert recv(net.guest, number, 9) == b"abc"
    assert send(net.guest, number, b"x") == 1
    assert client.recv(9) == b"x"


def test_a_resumed_process_listens_again(net: Net) -> None:
    """On the same address, with its flags, under its number."""
    assert net.guest("fd_fdstat_set_flags", LISTENER, NONBLOCK) == "SUCCESS"
    address = net.address
    net.resume()
    assert net.address == address
    assert net.guest("sock_accept", LISTENER, 0, OUT) == "AGAIN"
    number, client = net.pair()
    client.sendall(b"new")
    assert recv(net.guest, number, 9) == b"new"


def test_connections_are_lost(net: Net) -> None:
    """To the guest they were reset; poll says so at once, in every direction, and ever again."""
    number, client = net.pair()
    client.sendall(b"never seen")
    net.guest("fd_fdstat_set_flags", number, NONBLOCK)
    for _ in range(2):  # a snapshot of the resumed process has them, too
        guest = net.resume()
        for _ in range(2):
            assert guest("sock_recv", number, *guest.iovs(9), 0, OUT, OUT + 4) == "CONNRESET"
        assert guest("sock_recv", number, *guest.iovs(9), PEEK, OUT, OUT + 4) == "CONNRESET"
        assert guest("sock_recv", number, *guest.iovs(9), WAITALL, OUT, OUT + 4) == "CONNRESET"
        assert guest("fd_read", number, *guest.iovs(9), OUT) == "CONNRESET"
        assert guest("fd_write", number, *guest.iovs(9), OUT) == "CONNRESET"
        assert guest("sock_shutdown", number, 3) == "NOTCONN"
        wanted = setup(guest, fd(1, READ, number), fd(2, WRITE, number))
        assert guest("poll_oneoff", *wanted) == "SUCCESS"
        assert [(e[0], e[1]) for e in events(guest)] == [(1, 0), (2, 0)]
        assert guest("fd_fdstat_get", number, OUT) == "SUCCESS"
        assert (guest.memory.u8(OUT), guest.memory.u16(OUT + 2)) == (6, NONBLOCK)
    assert net.guest("fd_close", number) == "SUCCESS"


def test_calls_that_waited_for_a_lost_connection(net: Net) -> None:
    """They end, with the error or with what they had done."""
    number, client = net.pair()
    read = (number, *net.guest.iovs(9), 0, OUT, OUT + 4)
    waiting = net.guest.suspended("sock_recv", *read)
    client.sendall(b"abc")
    every = (number, *net.guest.iovs(9), WAITALL, OUT, OUT + 4)
    partly = net.guest.suspended("sock_recv", *every)
    assert partly == {"received": 3}
    guest = net.resume()
    guest.iovs(9)
    assert guest.completed(waiting, "sock_recv", *read) == "CONNRESET"
    guest.iovs(9)
    assert guest.completed(partly, "sock_recv", *every) == "SUCCESS"
    assert guest.memory.u32(OUT) == 3
    guest.iovs(9)
    assert guest.completed({"written": 5}, "sock_send", number, *guest.iovs(9), 0, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == 5


def test_a_listener_that_was_closed_is_not_opened_again(net: Net) -> None:
    net.guest("fd_close", LISTENER)
    net.resume()
    with pytest.raises(ConnectionRefusedError):
        net.connect()


def test_resuming_without_an_address(net: Net, make_guest: MakeGuest) -> None:
    """It is said which is missing, and how to give it."""
    state = net.guest.host.capture()
    other = make_guest()
    with pytest.raises(CannotResume, match=r"number 1 \(--listen HOST:PORT"):
        other.host.restore(state)


# -- addresses ----------------------------------------------------------------------------------


def test_an_address_that_is_taken(net: Net) -> None:
    """An error that names it; nothing is left open."""
    before = open_descriptors()
    with pytest.raises(CannotListen, match=f"{net.address}: Address already in use") as caught:
        Host(HostConfig(listen=("127.0.0.1:0", net.address)))
    assert caught.value.exit_code == 71
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "text", ["", "80", ":80", "host", "host:", "host:x", "a:1:2", "h:70000", "h:1,x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        Address.parse(text)


def test_addresses_are_written_as_they_are_read() -> None:
    for text in ("127.0.0.1:0", "localhost:8080", "[::1]:443", "h:1,nonblock"):
        assert str(Address.parse(text)) == text
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:1"):
        Address("192.0.2.1", 1).listen()


def test_ipv6(make_guest: MakeGuest) -> None:
    try:
        guest = make_guest(listen=("[::1]:0",))
    except CannotListen as error:
        if os.strerror(errno.EADDRNOTAVAIL) in str(error) or "not supported" in str(error):
            pytest.skip("this machine has no IPv6")
        raise
    (address,) = guest.host.listening
    assert address.startswith("[::1]:")
    state = guest.host.capture()
    guest.host.close()
    again = make_guest(listen=(address,))
    again.host.restore(state)
    with socket.create_connection(("::1", int(address.rpartition(":")[2])), timeout=10) as client:
        client.sendall(b"six")
        assert again("sock_accept", LISTENER, 0, OUT) == "SUCCESS"
        assert recv(again, again.memory.u32(OUT), 9) == b"six"


# -- half of a connection, many of them, and more than are accepted -----------------------------


def test_what_the_client_has_closed_on_its_side(net: Net) -> None:
    """All that it sent is there, then the end; it still gets answers. Before and after a snapshot
    in place."""
    number, client = net.pair()
    client.sendall(b"abcdef")
    client.shutdown(socket.SHUT_WR)
    assert recv(net.guest, number, 3) == b"abc"
    net.guest.host.capture()
    assert recv(net.guest, number, 9) == b"def"
    assert recv(net.guest, number, 9) == b""
    net.guest.host.capture()
    assert recv(net.guest, number, 9) == b""
    assert send(net.guest, number, b"answer") == 6
    assert net.guest("sock_shutdown", number, 2) == "SUCCESS"
    assert client.makefile("rb").read() == b"answer"


def test_what_the_guest_has_closed_on_its_side(net: Net) -> None:
    """It still receives; and a snapshot in place does not open it again."""
    number, client = net.pair()
    assert net.guest("sock_shutdown", number, 2) == "SUCCESS"
    net.guest.host.capture()
    assert client.recv(9) == b""
    client.sendall(b"more")
    assert recv(net.guest, number, 9) == b"more"
    assert net.guest("sock_send", number, *net.guest.iovs(1), 0, OUT) == "PIPE"


def test_a_thousand_connections(net: Net) -> None:
    """Each has its own bytes, on either side of a snapshot; in a resumed process all are lost."""
    pairs = [net.pair() for _ in range(1000)]
    for number, client in pairs:
        client.sendall(b"<%d>" % number)
    net.guest.host.capture()
    for number, client in pairs:
        assert recv(net.guest, number, 9) == b"<%d>" % number
        assert send(net.guest, number, b"%d!" % number) == len(b"%d!" % number)
        assert client.recv(9) == b"%d!" % number
    guest = net.resume()
    for number, _ in pairs:
        assert guest("sock_recv", number, *guest.iovs(9), 0, OUT, OUT + 4) == "CONNRESET"
        assert guest("fd_close", number) == "SUCCESS"
    assert net.pair()[0] == LISTENER + 1, "the numbers are free again"


def test_a_full_backlog(net: Net) -> None:
    """As many as it holds have come in, and sent; a snapshot in place leaves them there. The rest
    wait outside, as the kernel has it."""
    host, _, port = net.address.rpartition(":")
    for _ in range(200):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((host, int(port)))
        net.clients.append(client)
    inside = []
    for client in net.clients:
        try:
            client.send(b"x")
            inside.append(client)
        except OSError:
            assert len(inside) >= 128
    net.guest.host.capture()
    assert len(inside) < 200
    for _ in inside:
        number = net.accept()
        assert recv(net.guest, number, 9) == b"x"
        assert send(net.guest, number, b"y") == 1
    for client in inside:
        client.setblocking(True)
        assert client.recv(9) == b"y"
