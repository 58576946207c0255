"""Programs of WASIX that serve and ask: saved, resumed, moved, with the rights that they need."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

import pytest
from cli.conftest import Command, cache, code_cache, wasnap
from load import free_port
from process.conftest import Run, run
from process.test_listen import CONNRESET, Server, ask
from process.test_process import InThread, snapshots, until_ready

from wasnap.errors import CannotListen, CannotResume, UsageError
from wasnap.journal import Journal
from wasnap.process import Process

from . import wat

__all__ = ["cache", "code_cache", "run", "wasnap"]

ANY = {"listen": ["127.0.0.1:0"]}


def start(run: Run, **options: object) -> Server:
    return Server(run, wat.server(), **{**ANY, **options}).ready()


def end(server: Server, code: int) -> None:
    with server.connect() as client:
        client.sendall(b"q")
        assert server.running.join() == code


def test_saved_while_it_waits_for_a_connection(run: Run) -> None:
    """In place it goes on listening; resumed it listens on the same address."""
    server = start(run)
    address = server.process.listening
    server.process.snapshot()
    with server.connect() as client:
        assert ask(client) == b"A"
    end(server, 2)
    again = Server(run)
    assert again.process.listening == address
    with again.connect() as client:
        assert [ask(client), ask(client)] == [b"A", b"B"]
    end(again, 3)


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
    end(again, 4)


def test_without_rights(run: Run) -> None:
    """It is told EACCES."""
    assert run.process(wat.server()).run() == 102
    assert run.process(wat.server(), net_allow=["*:*"]).run() == 102
    assert run.process(wat.client(1)).run() == 102


def test_the_listen_trigger(run: Run) -> None:
    """Before it listens, once in the life of the process: nobody has the address then."""
    server = start(run, snapshot_on=["listen"])
    with server.connect() as client:
        assert ask(client) == b"A"
    end(server, 2)
    again = Server(run, snapshot_on=["listen"])
    with again.connect() as client:
        assert ask(client) == b"A"
    end(again, 2)
    assert snapshots(run.journal) == [(1, None, "listen")]


def test_idle_and_nondeterministic(run: Run) -> None:
    """Waiting for a connection, and for a peer, is idling; accepting and receiving is from outside."""
    server = start(run, snapshot_on=["idle:0.05", "nondeterministic"])

    def until(count: int) -> None:
        while len(snapshots(run.journal)) < count:
            server.running.alive()

    until(1)
    with server.connect() as client:
        assert ask(client) == b"A"
        until(2)
        client.sendall(b"q")
        server.running.join()
    first, *others = [trigger for _, _, trigger in snapshots(run.journal)]
    assert first == "nondeterministic"
    assert others in (["idle"], ["idle"] * 2)  # two, if it had waited for the question so long, too


def test_an_address_that_is_taken_or_moved(run: Run) -> None:
    """The resume is refused before the journal or anything else is touched."""
    server = start(run)
    server.process.snapshot()
    (address,) = server.process.listening
    server.stop()
    before = run.journal.read_bytes()
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        with pytest.raises(
            CannotListen, match=f"cannot listen on {address}: Address already in use"
        ):
            run.process(None, journal=run.journal).run()
        with pytest.raises(UsageError, match=f"did not listen on 127.0.0.3:1 .*{address}"):
            run.process(
                None, journal=run.journal, listen_rebind={"127.0.0.3:1": "127.0.0.3:0"}
            ).run()
        assert run.journal.read_bytes() == before
        moved = {address: f"127.0.0.2:{port}"}
        again = Server(run, listen_rebind=moved)
        assert again.process.listening == (f"127.0.0.2:{port}",)
        with again.connect() as client:
            assert ask(client) == b"A"
        again.stop()


def test_recorded_rights(run: Run) -> None:
    """They are used again if the journal is nobody else's; ``run`` has those that it is given."""
    server = start(run, net_allow=["example.com:80"])
    server.process.snapshot()
    (address,) = server.process.listening
    server.stop()
    with Journal.open(run.journal) as journal:
        assert journal.start.listen == ["127.0.0.1:0"]
        assert journal.start.options["net_allow"] == ["example.com:80"]
    run.journal.chmod(0o666)
    with pytest.raises(CannotResume) as caught:
        run.process(None, journal=run.journal).run()
    assert "--listen 127.0.0.1:0 --net-allow example.com:80" in caught.value.hint
    with pytest.raises(CannotResume, match=f"bound to {address}, .*--listen {address}"):
        run.process(None, journal=run.journal, listen=["127.0.0.2:0"], net_allow=["*:1"]).run()
    Server(run, listen=[address], net_allow=["*:1"]).stop()
    with pytest.raises(CannotResume, match=f"--listen {address}"):
        run.process(wat.server(), journal=run.journal).run()
    Server(run, wat.server(), net=True).stop()


def test_what_is_no_rule() -> None:
    with pytest.raises(UsageError, match="is no rule"):
        Process(wat.server(), net_allow=["8080"])


# -- a client ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def asked(run: Run, module: bytes | None, **options: object) -> Iterator[tuple[InThread, int]]:
    """A client in a thread, and what it prints."""
    out, to_guest = run.pipe()
    running = InThread(run.process(module, stdout=to_guest, journal=run.journal, **options))
    yield running, out


def test_a_client_that_was_in_the_middle_of_something(run: Run) -> None:
    """What it had received it still gets; then a reset, or the same server again."""
    import os

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = listening.getsockname()[1]
        rights: dict[str, object] = {"net_allow": [f"127.0.0.1:{port}"]}
        with asked(run, wat.client(port), **rights) as (running, out):
            theirs, _ = listening.accept()
            until_ready(out, running)
            assert theirs.recv(9) == b"?"
            theirs.sendall(b"a")
            assert os.read(out, 1) == b"a"
            running.process.snapshot()
            theirs.sendall(b"bq")
            assert os.read(out, 1) == b"b"
            assert running.join() == 0
        theirs.close()
        with asked(run, None) as (running, out):
            assert running.join() == 3
            assert os.read(out, 9) == b"!%d\n" % CONNRESET
        with asked(run, None, sockets="reconnect") as (running, out):
            theirs, _ = listening.accept()
            theirs.sendall(b"xq")
            assert running.join() == 0
            assert os.read(out, 9) == b"xq"
        theirs.close()


# -- moved --------------------------------------------------------------------------------------------


def exactly(client: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        data += client.recv(n - len(data))
    return data


def test_taken_over(wasnap: Command) -> None:
    """Again and again: connections go on, in an epoll list with edges, and new ones come in."""
    port = free_port()
    module = wasnap.write("m.wasm", wat.echo(port))
    on = ("--snapshot-on", "explicit")
    rights = ("--listen", f"127.0.0.1:{port}")
    running = wasnap.start("run", "--journal", "j", *on, *rights, module)
    clients: list[socket.socket] = []
    while not clients:
        with contextlib.suppress(ConnectionRefusedError):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=60))
    for n in range(3):
        clients.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        for client in clients:
            client.sendall(b"before")
            assert exactly(client, 6) == b"before"
        arguments = ("resume", *on, "--take-over", str(running.pid), "j")
        new = wasnap.start(*arguments, ready=False)
        for i, client in enumerate(clients):
            client.sendall(b"%d-%d" % (n, i))
            assert exactly(client, 3) == b"%d-%d" % (n, i)
        assert running.end()[0] == 0
        running = new
    running.signal(signal.SIGKILL)
    running.end()
    again = wasnap.start("resume", *on, "j", ready=False)
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            fresh = socket.create_connection(("127.0.0.1", port), timeout=60)
            break
    fresh.sendall(b"hello")
    assert exactly(fresh, 5) == b"hello"
    fresh.sendall(b"q")
    assert again.end()[0] == 7
    for client in (*clients, fresh):
        client.close()
