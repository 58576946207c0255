"""Servers none of us wrote the socket code of: wasi-libc's, CPython's, Go's; saved and resumed.

Their state outlives them, their connections do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import guests
import pytest
from process.conftest import Run, run
from process.test_listen import Server

__all__ = ["run"]

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
pytestmark = [pytest.mark.real, pytest.mark.slow]


class Client:
    """Sends lines and reads lines."""

    def __init__(self, server: Server) -> None:
        self._socket = server.connect()
        self._file = self._socket.makefile("rb")

    def ask(self, text: bytes) -> bytes:
        self.say(text)
        return self._file.readline()

    def say(self, text: bytes) -> None:
        self._socket.sendall(text + b"\n")

    def gone(self) -> bool:
        """Whether the other end is."""
        try:
            return self._file.readline() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the servers are given."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/hello").write_text("hello")
    yield {"dirs": {"data": tmp_path / "data"}, "listen": ["127.0.0.1:0"]}


def test_several_clients_in_c(run: Run, world: dict[str, Any]) -> None:
    """poll over all of them. Half a line that was received is lost with its connection."""
    server = Server(run, guests.zig(PROGRAMS / "echo.c"), **world).ready()
    first, second, third = (Client(server) for _ in range(3))
    assert [c.ask(b"hi") for c in (first, second, third)] == [b"1 hi\n", b"2 hi\n", b"3 hi\n"]
    third.close()
    assert server.printed() == b"closed\n"
    server.process.snapshot()
    assert second.ask(b"d") == b"4 d\n"
    second.say(b"quit")
    assert server.running.join() == 0
    assert first.gone()
    again = Server(run, None)
    client = Client(again)
    assert client.ask(b"e") == b"4 e\n"
    client.say(b"quit")
    assert again.running.join() == 0
    assert again.printed() == again.printed() == b"Connection reset by peer\n"


def test_cpython(run: Run, world: dict[str, Any]) -> None:
    """An exception it knows: ConnectionResetError."""
    world["dirs"]["/programs"] = PROGRAMS
    module = guests.path("python312")
    server = Server(run, module, args=["/programs/serve.py"], **world).ready()
    client = Client(server)
    assert client.ask(b"a") == b"1 a\n"
    server.process.snapshot()
    assert client.ask(b"b") == b"2 b\n"
    client.say(b"quit")
    assert server.running.join() == 0
    again = Server(run, None)
    client = Client(again)
    assert client.ask(b"c") == b"2 c\n"
    client.say(b"quit")
    assert again.running.join() == 0
    assert b"Connection reset by peer" in again.printed()


def test_a_web_server_in_go(run: Run, world: dict[str, Any]) -> None:
    """Connections that are kept alive; a goroutine for each."""
    import http.client

    def get(connection: http.client.HTTPConnection, path: str) -> bytes:
        connection.request("GET", path)
        return connection.getresponse().read()

    def connect(server: Server) -> http.client.HTTPConnection:
        host, _, port = server.process.listening[0].rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=60)

    world["listen"] = ["127.0.0.1:0,nonblock"]
    server = Server(run, guests.go(PROGRAMS / "serve.go"), **world).ready()
    one, two = connect(server), connect(server)
    assert [get(one, "/a"), get(two, "/b"), get(one, "/c")] == [b"1 /a\n", b"2 /b\n", b"3 /c\n"]
    server.process.snapshot()
    assert get(two, "/d") == b"4 /d\n"
    with pytest.raises(http.client.RemoteDisconnected):
        get(one, "/quit")
    assert server.running.join() == 0
    again = Server(run, None)
    assert get(connect(again), "/e") == b"4 /e\n"
    with pytest.raises(http.client.RemoteDisconnected):
        get(connect(again), "/quit")
    assert again.running.join() == 0
