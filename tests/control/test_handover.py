"""``resume --take-over``: a server moved to another process, connections and all; or not at all."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
from load import free_port
from process import wat

from control.conftest import Command, Started
from wasnap.control import handover, messages
from wasnap.host.world import _raise_limit as raise_limit
from wasnap.journal import Journal
from wasnap.triggers import Estate

SERVER = wat.server()
KILLED = -signal.SIGKILL

DRIVER = """
import os, signal, sys
import wasnap.control.handover as handover
import wasnap.cli

steps = 0

def stepping(call):
    def step(*args):
        global steps
        if steps == {step}:
            os.kill(os.getpid(), signal.{signal})
        steps += 1
        return call(*args)
    return step

handover.OFFER_SECONDS = {seconds}
handover._send = stepping(handover._send)
handover._hear = stepping(handover._hear)
claim = handover.Takeover.claim
handover.Takeover.claim = lambda self: (claim(self), stepping(bool)())
wasnap.cli.main()
"""
"""Something happens to the process before it says or hears the n-th thing."""


def mischief(step: int = -1, signal: str = "SIGKILL", seconds: float = 30) -> str:
    return DRIVER.format(step=step, signal=signal, seconds=seconds)


def start(wasnap: Command, port: int, driver: str = "") -> Started:
    module = wasnap.write("m.wasm", SERVER)
    listen = ("--listen", f"127.0.0.1:{port}")
    return wasnap.start(
        "run", "--journal", "j", "--snapshot-on", "explicit", *listen, module, driver=driver
    )


def take_over(wasnap: Command, old: Started, driver: str = "") -> Started:
    arguments = ("resume", "--snapshot-on", "explicit", "--take-over", str(old.pid), "j")
    return wasnap.start(*arguments, ready=False, driver=driver)


@contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connected:
        yield connected


def ask(connected: socket.socket, message: bytes = b"?") -> bytes:
    connected.sendall(message)
    return connected.recv(1)


def snapshots(wasnap: Command) -> list[int]:
    """Their ids; all of the journal is intact."""
    with Journal.open(wasnap.directory / "j", verify=True) as journal:
        assert not journal.damaged
        return [info.id for info in journal.snapshots]


def test_again_and_again(wasnap: Command) -> None:
    """The connection goes on, with what was sent meanwhile; so does one that nobody had accepted
    yet, and one that its client has half closed."""
    port = free_port()
    running = start(wasnap, port)
    with client(port) as first, client(port) as second, client(port) as third:
        assert ask(first) == b"A"
        second.sendall(b"x")
        second.shutdown(socket.SHUT_WR)
        for n in range(4):
            new = take_over(wasnap, running)
            assert ask(first) == b"BDFH"[n : n + 1]
            assert running.end()[0] == 0
            running = new
            assert ask(first) == b"CEGI"[n : n + 1]
        assert snapshots(wasnap) == [1, 2, 3, 4]
        first.close()
        assert second.recv(9) == b"J"
        assert second.recv(9) == b""
        assert ask(third) == b"K"
        third.sendall(b"q")
        assert running.end()[0] == 12


def test_what_is_refused(wasnap: Command) -> None:
    """One line, and a code of its own; the server goes on."""
    port = free_port()
    running = start(wasnap, port)
    pid = str(running.pid)
    other = wasnap.start("run", "--journal", "other", wasnap.write("e.wasm", wat.reader()))
    without = wasnap.start("run", wasnap.write("e.wasm", wat.reader()))
    for arguments, code, says in (
        (["--take-over", "1", "j"], 66, b"no wasnap process 1"),
        (["--take-over", pid, "other"], 64, b"another journal"),
        (["--take-over", pid, "nothing"], 66, b"nothing is not there"),
        (["--take-over", str(without.pid), "j"], 64, b"no journal"),
        (["--take-over", str(other.pid), "j"], 64, b"another journal"),
        (["--take-over", pid, "--at", "1", "j"], 64, b"--at"),
        (["--take-over", pid, "--listen", "127.0.0.1:0", "j"], 64, b"--listen"),
    ):
        done = wasnap("resume", *arguments)
        assert (done.returncode, done.stdout) == (code, b""), done.stderr
        assert says in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) <= 2
    with client(port) as connected:
        assert ask(connected) == b"A"


def test_a_directory_that_is_gone(wasnap: Command) -> None:
    """The new process cannot restore it, and says why; the old one goes on."""
    port = free_port()
    (wasnap.directory / "d").mkdir()
    module = wasnap.write("m.wasm", SERVER)
    options = ("--dir", "d::/d", "--listen", f"127.0.0.1:{port}")
    running = wasnap.start("run", "--journal", "j", *options, module)
    with client(port) as connected:
        assert ask(connected) == b"A"
        (wasnap.directory / "d").rename(wasnap.directory / "e")
        done = wasnap("resume", "--take-over", str(running.pid), "j")
        assert done.returncode == 66
        assert b"cannot map" in done.stderr
        assert ask(connected) == b"B"
        connected.sendall(b"q")
        assert running.end()[0] == 3


def test_a_taker_that_hangs(wasnap: Command) -> None:
    """The old process goes on after a time, and the new one is told when it wakes up."""
    port = free_port()
    running = start(wasnap, port, driver=mischief(seconds=0.5))
    with client(port) as connected:
        assert ask(connected) == b"A"
        new = take_over(wasnap, running, driver=mischief(step=4, signal="SIGSTOP"))
        assert ask(connected) == b"B"
        while snapshots(wasnap) != [1]:
            assert not running.over(0.01)
        assert ask(connected) == b"C"
        os.waitid(os.P_PID, new.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        new.signal(signal.SIGCONT)
        code, _, complaint = new.end()
        assert code == 70
        assert "goes on: it took too long" in complaint
        assert ask(connected) == b"D"
        connected.sendall(b"q")
        assert running.end()[0] == 5


def test_a_thousand_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several messages; each arrives under its own number."""
    raise_limit()
    giver, taker = socket.socketpair()
    monkeypatch.setattr(handover, "connected", lambda pid: taker)
    journal = tmp_path / "j"
    journal.touch()
    pairs = {number: socket.socketpair() for number in range(3, 1003)}
    done: list[bool] = []

    def give() -> None:
        with journal.open() as file, giver:
            giver.recv(messages.SIZE_MAX)
            sockets = {number: mine.fileno() for number, (mine, _) in pairs.items()}
            done.append(handover.offer(giver, Estate(7, file.fileno(), sockets)))

    thread = Thread(target=give)
    thread.start()
    with closing(handover.Takeover(1, journal)) as taken:
        assert taken.snapshot == 7
        assert os.path.samestat(os.fstat(taken.journal), os.stat(journal))
        for number, fd in taken.sockets.items():
            os.write(fd, b"%d" % number)
        taken.claim()
    thread.join()
    assert done == [True]
    for number, (mine, other) in pairs.items():
        assert other.recv(9) == b"%d" % number
        mine.close()
        other.close()


@pytest.mark.slow
@pytest.mark.parametrize("step", range(6))
def test_the_giver_is_killed(wasnap: Command, step: int) -> None:
    """Before its n-th word: until the offer is whole nobody has it but the journal; then the new
    process, which goes on with the connection."""
    port = free_port()
    running = start(wasnap, port, driver=mischief(step))
    with client(port) as connected:
        assert ask(connected) == b"A"
        new = take_over(wasnap, running)
        assert running.end()[0] == KILLED
        if step >= 3:
            assert ask(connected) == b"B"
            connected.sendall(b"q")
            assert new.end()[0] == 3
        else:
            code, _, complaint = new.end()
            assert code == 70
            assert "ended before it was handed over" in complaint
    assert snapshots(wasnap) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("step", range(8))
def test_the_taker_is_killed(wasnap: Command, step: int) -> None:
    """Before its n-th word: the old process goes on, and can be taken over by another one; once the
    new one said that it is its own, the journal has it."""
    port = free_port()
    running = start(wasnap, port)
    with client(port) as connected:
        assert ask(connected) == b"A"
        assert take_over(wasnap, running, driver=mischief(step)).end()[0] == KILLED
        if step < 7:
            assert ask(connected) == b"B"
            new = take_over(wasnap, running)
            assert ask(connected) == b"C"
            assert running.end()[0] == 0
            connected.sendall(b"q")
            assert new.end()[0] == 4
            assert snapshots(wasnap)
        else:
            assert running.end()[0] == 0
            assert snapshots(wasnap) == [1]
            again = wasnap.start("resume", "j", ready=False)
            assert again.line() == b"15\n", "its connection was reset"
            with client(port) as another:
                assert ask(another) == b"B"
