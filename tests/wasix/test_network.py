"""What a guest may reach, and where it may be reached: the user's rules."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
from host.fakes import DATA, OUT, PATH

from wasnap.errors import CannotResume, UsageError
from wasnap.host.net.endpoint import Endpoint
from wasnap.host.net.rules import Rule

from .net import DGRAM, INET4, Net, server


@pytest.fixture
def nets() -> Iterator[list[Net]]:
    made: list[Net] = []
    yield made
    for each in made:
        each.close()


def start(nets: list[Net], **rights: object) -> Net:
    nets.append(Net(**(rights or {"net": False})))
    return nets[-1]


def at(host: str, port: int = 80) -> Endpoint:
    return Endpoint("inet6" if ":" in host else "inet4", host, port)


@pytest.mark.parametrize(
    ("rule", "covered", "others"),
    [
        (
            "127.0.0.1:*",
            [at("127.0.0.1", 1), at("0.0.0.0", 9), at("::ffff:127.0.0.1")],
            [at("127.0.0.2"), at("::1")],
        ),
        (
            "10.0.0.0/8:80",
            [at("10.1.2.3"), at("::ffff:10.9.9.9")],
            [at("10.1.2.3", 81), at("11.0.0.1")],
        ),
        ("10.9.9.9/8:80", [at("10.1.2.3")], []),
        ("[::1]:80", [at("::1"), at("::")], [at("::2"), at("127.0.0.1")]),
        ("[fd00::/8]:1-99", [at("fd00::7"), at("fd12::", 99)], [at("fd00::", 100), at("fe80::1")]),
        ("*:443", [at("192.0.2.1", 443), at("2001:db8::1", 443)], [at("192.0.2.1")]),
        ("example.com:80", [], [at("192.0.2.1")]),
        (
            "unix:/run/*",
            [Endpoint("unix", path=b"/run/a")],
            [Endpoint("unix", path=b"/tmp/a"), at("::1")],
        ),
    ],
)
def test_rules(rule: str, covered: list[Endpoint], others: list[Endpoint]) -> None:
    parsed = Rule.parse(rule)
    assert all(parsed.covers(endpoint) for endpoint in covered)
    assert not any(parsed.covers(endpoint) for endpoint in others)


def test_names() -> None:
    for rule, named, others in (
        ("example.com:80", ["example.com"], ["a.example.com", "xexample.com"]),
        ("Example.COM.:80", ["example.com"], []),
        ("*.example.com:*", ["a.example.com", "a.b.example.com"], ["example.com", "xexample.com"]),
        ("*:80", ["anything"], []),
        ("127.0.0.1:80", [], ["127.0.0.1", "localhost"]),
    ):
        parsed = Rule.parse(rule)
        assert all(parsed.names(name) for name in named), rule
        assert not any(parsed.names(name) for name in others), rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":80",
        "host:x",
        "h:1-",
        "h:9-1",
        "h:65536",
        "::1:80",
        "[::1]",
        "a*b:1",
        "1.2.3.4/99:1",
        "[x]:1",
        "unix:",
    ],
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        Rule.parse(text)


def test_nothing_is_reached_without_rights(
    nets: list[Net], caplog: pytest.LogCaptureFixture
) -> None:
    """EACCES, and one warning for each thing that would have to be given."""
    net = start(nets)
    with server() as listening:
        host, port = listening.getsockname()
        for _ in range(2):
            assert net.connect(net.open(), host, port) == "ACCES"
        fd = net.open(INET4, DGRAM)
        assert net.send_to(fd, b"x", (host, port)) == "ACCES"
        assert net.guest("sock_bind", fd, net.address("127.0.0.1", port)) == "ACCES"
        assert net.guest("sock_bind", fd, net.address("0.0.0.0", 0)) == "ACCES"
        assert net.guest("sock_bind", fd, net.address("0.0.0.0", 10275)) == "ACCES"
        assert net.guest("sock_listen", net.open(), 1) == "ACCES"
        at, n = net.guest.path(b"localhost")
        assert net.guest("resolve", at, n, 0, DATA, 9, OUT) == "ACCES"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        f"connecting to {host}:{port} is not allowed: EACCES (--net-allow {host}:{port}, or --net)",
        f"listening on {host}:{port} is not allowed: EACCES (--listen {host}:{port}, or --net)",
        "binding a socket to 0.0.0.0:0 is not allowed: EACCES (--net-allow HOST:PORT, or --net)",
        "listening on 0.0.0.0:0 is not allowed: EACCES (--listen 0.0.0.0:0, or --net)",
        "looking up localhost is not allowed: EACCES (--net-allow localhost:PORT, or --net)",
    ]
    assert net.guest("sock_pair", INET4, 1, 0, OUT, OUT + 4) == "SUCCESS", "nobody is reached"


def test_what_a_rule_allows(nets: list[Net]) -> None:
    """To connect there, and to send; not to be reached, but for what comes back."""
    with server() as listening, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        host, port = listening.getsockname()
        theirs.bind((host, port))
        net = start(nets, net_allow=(f"{host}:{port}",))
        assert net.connect(net.open(), host, port) == "SUCCESS"
        assert net.connect(net.open(), host, port - 1) == "ACCES"
        assert net.connect(net.open(), "127.0.0.2", port) == "ACCES"
        fd = net.bound("0.0.0.0", DGRAM)
        assert net.send_to(fd, b"x", (host, port)) == "SUCCESS"
        assert net.send_to(fd, b"x", (host, port - 1)) == "ACCES"
        assert net.guest("sock_listen", net.bound(), 1) == "ACCES"
        assert net.guest("sock_bind", net.open(), net.address(host, port)) == "ACCES"


def test_where_it_may_listen(nets: list[Net]) -> None:
    """Port 0 is any; an address of all interfaces is also each of them; nothing is reached so."""
    net = start(nets, listen=("127.0.0.1:0",))
    fd = net.listener()
    assert net.connect(net.open(), *net.local(fd)) == "ACCES"
    assert net.guest("sock_listen", net.bound("127.0.0.2"), 1) == "ACCES"
    assert net.guest("sock_listen", net.bound("0.0.0.0"), 1) == "ACCES"
    net = start(nets, listen=("0.0.0.0:0",))
    net.listener()
    net.listener("0.0.0.0")
    assert net.guest("sock_listen", net.bound("::1"), 1) == "ACCES"


def resolve(net: Net, name: bytes, room: int = 9) -> list[bytes] | str:
    at, n = net.guest.path(name)
    result = net.guest("resolve", at, n, 0, DATA, room, OUT)
    if result != "SUCCESS":
        return result
    count = net.guest.memory.u32(OUT)
    return [net.guest.memory.read(DATA + 18 * i, 18) for i in range(count)]


def test_names_are_looked_up(nets: list[Net]) -> None:
    """Where a rule has them; their addresses may then be connected to. Numbers need no look-up."""
    with server() as listening:
        _, port = listening.getsockname()
        net = start(nets, net_allow=(f"localhost:{port}",))
        loopback = b"\1\0\x7f\0\0\1" + bytes(12)
        found = resolve(net, b"localhost")
        assert isinstance(found, list)
        assert loopback in found
        assert resolve(net, b"LOCALHOST", 1) == found[:1]
        assert resolve(net, b"localhost", 0) == []
        assert resolve(net, b"example.com") == "ACCES"
        assert resolve(net, b"192.0.2.7") == [b"\1\0\xc0\0\2\7" + bytes(12)]
        assert resolve(net, b"::1") == [b"\2\0" + bytes(15) + b"\1"]
        assert resolve(net, b"\xff") == "ILSEQ"
        assert net.connect(net.open(), "127.0.0.1", port) == "SUCCESS"
        assert net.connect(net.open(), "127.0.0.1", port - 1) == "ACCES"
        another = start(nets, net_allow=(f"localhost:{port}",))  # it has the address from elsewhere
        assert another.connect(another.open(), "127.0.0.1", port) == "SUCCESS"


def test_a_look_up_ends_with_a_stop(nets: list[Net], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made again when the process goes on; and the one before is left to itself."""
    import threading

    go, asked = threading.Event(), threading.Semaphore(0)

    def slow(*arguments: object, **options: object) -> list[object]:
        asked.release()
        go.wait()
        return [(socket.AF_INET, 0, 0, "", ("192.0.2.9", 0))]

    net = start(nets, net_allow=("slow.example:80",))
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    name = net.guest.path(b"slow.example")
    call = ("resolve", *name, 0, DATA, 9, OUT)
    progress = net.guest.suspended(*call)
    assert asked.acquire(timeout=20)
    go.set()
    assert net.guest.completed(progress, *call) == "SUCCESS"
    assert net.guest.memory.read(DATA, 6) == b"\1\0\xc0\0\2\x09"
    assert net.guest.memory.read(PATH, 4) == b"slow"


def test_rights_are_those_of_whoever_resumes(nets: list[Net]) -> None:
    """A socket that listens needs them, and one with a port; it is said what to give."""
    net = start(nets, net=True)
    listener = net.listener()
    _, port = net.local(listener)
    state = net.saved()
    with pytest.raises(
        CannotResume, match=rf"bound to 127.0.0.1:{port}.*--listen 127.0.0.1:{port}"
    ):
        net.go_on(state, net=False)
    with pytest.raises(CannotResume, match=rf"--listen 127.0.0.1:{port}"):
        net.go_on(state, net_allow=("*:*",))
    net.go_on(state, listen=(f"127.0.0.1:{port}",))
    assert net.connect(net.open(), "127.0.0.1", port) == "ACCES"
