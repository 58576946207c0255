"""A server saved while it listens, while it is connected, and while it waits; and resumed."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from process import wat
from process.conftest import Run
from process.test_process import InThread, snapshots, until_ready
from wasnap.errors import CannotListen, CannotResume, UsageError
from wasnap.host import Address
from wasnap.journal import Journal
from wasnap.process import Process

CONNRESET = 15


class Server:
    """A server in a thread, listening, and ready if it starts anew."""

    def __init__(self, run: Run, module: bytes | Path | None = None, **options: Any) -> None:
        self._out, to_guest = run.pipe()
        self.process = run.process(module, stdout=to_guest, journal=run.journal, **options)
        self.running = InThread(self.process)
        while not self.process.listening:
            self.running.alive()

    def ready(self) -> Server:
        """Wait until it says so."""
        until_ready(self._out, self.running)
        return self

    def printed(self) -> bytes:
        """The next line."""
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._out, 1)
        return line

    def stop(self) -> None:
        """End it without a snapshot."""
        self.process.stop()
        self.running.join()

    def connect(self) -> socket.socket:
        host, _, port = self.process.listening[0].rpartition(":")
        return socket.create_connection((host, int(port)), timeout=60)


def ask(client: socket.socket, message: bytes = b"?") -> bytes:
    client.sendall(message)
    return client.recv(1)


def start(run: Run) -> Server:
    return Server(run, wat.server(), listen=["127.0.0.1:0"]).ready()


def test_saved_while_it_waits_for_a_connection(run: Run) -> None:
    """In place it goes on listening; resumed it listens on the same address."""
    server = start(run)
    address = server.process.listening
    server.process.snapshot()
    with server.connect() as client:
        assert ask(client) == b"A"
        client.sendall(b"q")
        assert server.running.join() == 2
    again = Server(run)
    assert again.process.listening == address
    with again.connect() as client:
        assert [ask(client), ask(client)] == [b"A", b"B"]
        client.sendall(b"q")
        assert again.running.join() == 3


def test_saved_while_connected(run: Run) -> None:
    """In place nothing is noticed; resumed, the connection was reset, and the rest is as it was."""
    server = start(run)
    with server.connect() as client:
        assert ask(client) == b"A"
        server.process.snapshot()
        assert ask(client) == b"B"
        server.process.snapshot()
        client.sendall(b"q")
        assert server.running.join() == 3
    again = Server(run)
    assert again.printed() == b"%d\n" % CONNRESET
    with again.connect() as client:
        assert ask(client) == b"C"
        client.sendall(b"q")
        assert again.running.join() == 4


def test_an_address_that_is_taken(run: Run) -> None:
    """The resume is refused before the journal or anything else is touched."""
    server = start(run)
    server.process.snapshot()
    (address,) = server.process.listening
    server.stop()
    before = run.journal.read_bytes()
    host, _, port = address.rpartition(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(CannotListen, match=f"cannot listen on {address}: Address already in use"),
    ):
        run.process(None, journal=run.journal).run()
    assert run.journal.read_bytes() == before


def test_another_address(run: Run) -> None:
    """``listen`` when resuming replaces the recorded one, for that time."""
    server = start(run)
    (address,) = server.process.listening
    server.process.snapshot()
    server.stop()
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        again = Server(run, listen=["127.0.0.2:0"])
        assert again.process.listening != (address,)
        again.stop()
    with Journal.open(run.journal) as journal:
        assert journal.start.listen == [address]


def test_a_moved_address(run: Run) -> None:
    """``listen_rebind`` names the recorded one and its successor; another is refused by name."""
    server = start(run)
    (address,) = server.process.listening
    server.process.snapshot()
    server.stop()
    host, _, port = address.rpartition(":")
    with pytest.raises(UsageError, match=f"did not listen on 127.0.0.3:1 .*{address}"):
        run.process(None, journal=run.journal, listen_rebind={"127.0.0.3:1": "h:1"}).run()
    with socket.create_server((host, int(port))):
        again = Server(run, listen_rebind={address: f"127.0.0.2:{port}"})
        assert again.process.listening == (f"127.0.0.2:{port}",)
        with again.connect() as client:
            assert ask(client) == b"A"
        again.stop()


def test_the_same_command_again(run: Run) -> None:
    """A module with ``listen`` and a journal: port 0 is then the port that it was."""
    server = start(run)
    address = server.process.listening
    server.process.snapshot()
    server.stop()
    again = Server(run, module=wat.server(), listen=["127.0.0.1:0"])
    assert again.process.listening == address
    again.stop()
    without = run.process(wat.server(), journal=run.journal)
    with pytest.raises(CannotResume, match="--listen HOST:PORT"):
        without.run()


def test_a_journal_that_others_may_write_to(run: Run) -> None:
    """Its addresses must be given again."""
    server = start(run)
    (address,) = server.process.listening
    server.process.snapshot()
    server.stop()
    Path(run.journal).chmod(0o666)
    with pytest.raises(CannotResume) as caught:
        run.process(None, journal=run.journal).run()
    assert f"--listen {address}" in caught.value.hint
    again = Server(run, listen=[address])
    again.stop()


def test_what_is_no_address() -> None:
    with pytest.raises(UsageError):
        Process(wat.server(), listen=["8080"])
    assert Address.parse("127.0.0.1:8080").port == 8080


def test_the_trigger(run: Run) -> None:
    """``listen``: before the first accept, once in the life of the process."""
    server = Server(run, wat.server(), listen=["127.0.0.1:0"], snapshot_on=["listen"]).ready()
    with server.connect() as client:
        assert ask(client) == b"A"
        client.sendall(b"q")
        assert server.running.join() == 2
    again = Server(run, snapshot_on=["listen"])
    with again.connect() as client:
        assert ask(client) == b"A"
    with again.connect() as client:
        assert ask(client) == b"B"
        client.sendall(b"q")
        assert again.running.join() == 3
    assert snapshots(run.journal) == [(1, None, "listen")]
