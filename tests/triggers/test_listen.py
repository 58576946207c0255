"""A server as a process of its own: saved before it accepts and while somebody is connected, killed,
and resumed on the address that its clients know.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

from process import wat
from process.test_listen import CONNRESET, ask

from triggers.conftest import Command, Started, taken, until_taken
from wasnap.journal import Journal

ON = ("--snapshot-on", "listen")


def connect(journal: Path) -> socket.socket:
    """To the address that the journal names, as soon as somebody listens there."""
    with Journal.open(journal) as opened:
        (address,) = opened.start.listen
    host, _, port = address.rpartition(":")
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((host, int(port)), timeout=60)


def kill(started: Started) -> None:
    started.signal(signal.SIGKILL)
    assert started.end()[0] == -signal.SIGKILL


def test_killed_and_listening_again(wasnap: Command) -> None:
    """The snapshot of ``listen`` is there before anybody connects, and is the only one of its kind;
    a connection that was open at a later one is reset, and the count goes on.
    """
    module = wasnap.write("m.wasm", wat.server())
    journal = wasnap.directory / "j"
    first = wasnap.start("run", "--journal", "j", "--listen", "127.0.0.1:0", *ON, module)
    until_taken(journal)
    with connect(journal) as client:
        assert ask(client) == b"A"
        kill(first)
    second = wasnap.start("resume", *ON, "j", ready=False)
    with connect(journal) as client:
        assert [ask(client), ask(client)] == [b"A", b"B"]
        assert wasnap("snapshot", str(second.pid)).returncode == 0
        kill(second)
    third = wasnap.start("resume", *ON, "j", ready=False)
    assert third.line() == b"%d\n" % CONNRESET
    with connect(journal) as client:
        assert ask(client) == b"C"
        client.sendall(b"q")
        assert third.end() == (4, b"%d\n" % CONNRESET, "")
    assert taken(journal) == ["listen", "explicit"]


def test_an_address_that_is_taken(wasnap: Command) -> None:
    """``run`` and ``resume`` say so, and have done nothing."""
    module = wasnap.write("m.wasm", wat.server())
    first = wasnap.start("run", "--journal", "j", "--listen", "127.0.0.1:0", *ON, module)
    until_taken(wasnap.directory / "j")
    kill(first)
    before = (wasnap.directory / "j").read_bytes()
    with Journal.open(wasnap.directory / "j") as opened:
        (address,) = opened.start.listen
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        for command in (["resume", "j"], ["run", "--listen", address, module]):
            done = wasnap(*command)
            assert (done.returncode, done.stdout) == (71, b"")
            assert f"cannot listen on {address}: " in done.stderr.decode()
    assert (wasnap.directory / "j").read_bytes() == before
