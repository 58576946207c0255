"""Control of running processes: real ones, asked by the real command, and by whoever should not."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from process import wat
from triggers.conftest import goes_on, taken, until_taken

from control.conftest import SELDOM, Command
from wasnap.control import client, messages, place
from wasnap.journal import Journal

ENDLESS = wat.endless()
READER = wat.reader()


def listed(wasnap: Command) -> dict[int, dict[str, Any]]:
    """``wasnap ps --json``, by number. Others than the test's may be among them."""
    done = wasnap("ps", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    return {row["pid"]: row for row in json.loads(done.stdout)}


def stopped(pid: int) -> bool:
    """Wait until the process has changed its state: whether it stands still now."""
    return os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])


def test_ps(wasnap: Command) -> None:
    """What runs, since when, with which journal and which newest snapshot."""
    module = wasnap.write("m.wasm", ENDLESS)
    with_journal = wasnap.start("run", "--journal", "j", *SELDOM, module, "an", "\x1b[2J\nargument")
    without = wasnap.start("run", module)
    assert wasnap("snapshot", str(with_journal.pid)).stdout == b"1\n"
    rows = listed(wasnap)
    row = rows[with_journal.pid]
    assert row["command"] == ["m.wasm", "an", "\x1b[2J\nargument"]
    assert row["journal"] == str(wasnap.directory / "j")
    assert (row["state"], row["snapshot"]) == ("running", 1)
    assert row["triggers"] == ["timer", "sigint", "sigterm"]
    assert rows[without.pid]["journal"] is None
    table = wasnap("ps").stdout.decode().splitlines()
    assert table[0].split() == ["PID", "STATE", "AGE", "SNAPSHOT", "TAKEN", "JOURNAL", "PROGRAM"]
    shown = {line.split()[0]: line for line in table[1:]}
    assert {str(with_journal.pid), str(without.pid)} <= shown.keys()
    assert shown[str(with_journal.pid)].endswith(r"m.wasm an \x1b[2J\nargument")


def test_what_ends_goes_away(wasnap: Command) -> None:
    """By itself when it ends as it should; when it is killed, with the next look."""
    module = wasnap.write("m.wasm", ENDLESS)
    ended, killed = (wasnap.start("run", module) for _ in range(2))
    sockets = wasnap.runtime / "wasnap"
    ended.signal(signal.SIGTERM)
    ended.end()
    assert [path.name for path in sockets.iterdir()] == [f"{killed.pid}.sock"]
    killed.signal(signal.SIGKILL)
    killed.end()
    assert killed.pid not in listed(wasnap)
    assert list(sockets.iterdir()) == []


def test_a_new_process_cleans_up(wasnap: Command) -> None:
    """What a killed process left behind goes away when another starts."""
    module = wasnap.write("m.wasm", ENDLESS)
    killed = wasnap.start("run", module)
    killed.signal(signal.SIGKILL)
    killed.end()
    started = wasnap.start("run", module)
    assert os.listdir(wasnap.runtime / "wasnap") == [f"{started.pid}.sock"]


def test_snapshot(wasnap: Command) -> None:
    """Its number is printed when it is committed, its label kept; the process goes on."""
    started = wasnap.start("run", "--journal", "j", *SELDOM, wasnap.write("m.wasm", READER))
    done = wasnap("snapshot", str(started.pid), "--label", "before the upgrade")
    assert (done.returncode, done.stdout) == (0, b"1\n")
    with Journal.open(wasnap.directory / "j") as journal:
        (snapshot,) = journal.snapshots
    assert (snapshot.trigger, snapshot.label) == ("explicit", "before the upgrade")
    wrong = wasnap("snapshot", str(started.pid), "--label", "7")
    assert wrong.returncode == 64
    assert b"label" in wrong.stderr
    assert started.end(b"a") == (7, b"ready\n97\n", "")
    goes_on(wasnap, b"ready\n97\n", stdin=b"a")


def test_stop(wasnap: Command) -> None:
    """A snapshot, then the end, with 0."""
    started = wasnap.start("run", "--journal", "j", *SELDOM, wasnap.write("m.wasm", READER))
    done = wasnap("stop", str(started.pid))
    assert (done.returncode, done.stdout) == (0, b"1\n")
    assert started.end()[:2] == (0, b"ready\n")
    goes_on(wasnap, b"ready\n97\n", stdin=b"a")


@pytest.mark.parametrize("command", ["snapshot", "stop"])
def test_without_a_journal(wasnap: Command, command: str) -> None:
    """It says so, and goes on."""
    started = wasnap.start("run", wasnap.write("m.wasm", READER))
    done = wasnap(command, str(started.pid))
    assert done.returncode == 64
    assert b"no journal" in done.stderr
    assert started.end(b"a") == (7, b"ready\n97\n", "")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("int", 130), ("15", 143)], ids=str)
def test_signal(wasnap: Command, name: str, code: int) -> None:
    """As kill does it, under any of its names."""
    started = wasnap.start("run", "--journal", "j", *SELDOM, wasnap.write("m.wasm", READER))
    assert wasnap("signal", str(started.pid), name).returncode == 0
    assert started.end()[:2] == (code, b"ready\n")
    goes_on(wasnap, b"ready\n97\n", stdin=b"a")


@pytest.mark.parametrize("trigger", [True, False], ids=["trigger", "none"])
def test_sigstop(wasnap: Command, trigger: bool) -> None:
    """The one signal that only this command lets a process hear."""
    on = "sigstop" if trigger else "timer"
    started = wasnap.start(
        "run", "--journal", "j", "--snapshot-on", on, *SELDOM, wasnap.write("m.wasm", READER)
    )
    assert wasnap("signal", str(started.pid), "SIGSTOP").returncode == 0
    assert stopped(started.pid)
    assert taken(wasnap.directory / "j") == ["sigstop"] * trigger
    row = listed(wasnap)[started.pid]
    assert row["state"] == "stopped"
    assert "m.wasm" in row["command"]
    refused = wasnap("snapshot", str(started.pid))
    assert refused.returncode == 70
    assert b"kill -CONT" in refused.stderr
    started.signal(signal.SIGCONT)
    assert started.end(b"a") == (7, b"ready\n97\n", "")
    goes_on(wasnap, b"ready\n97\n", stdin=b"a")


def test_one_that_stands_still_while_many_look(wasnap: Command) -> None:
    """Whoever looks leaves a connection that nobody accepts; when there is room for no more, that keeps
    no other process from starting, and no command waiting.
    """
    module = wasnap.write("m.wasm", READER)
    started = wasnap.start("run", "--journal", "j", *SELDOM, module)
    started.signal(signal.SIGSTOP)
    assert stopped(started.pid)
    path = str(wasnap.runtime / "wasnap" / f"{started.pid}.sock")
    with pytest.raises(BlockingIOError):
        for _ in range(100_000):
            with socket.socket(socket.AF_UNIX) as looking:
                looking.setblocking(False)
                looking.connect(path)
    other = wasnap.start("run", module)
    assert other.end(b"a") == (7, b"ready\n97\n", "")
    assert listed(wasnap)[started.pid]["state"] == "stopped"
    refused = wasnap("snapshot", str(started.pid))
    assert refused.returncode == 70
    assert b"kill -CONT" in refused.stderr
    started.signal(signal.SIGCONT)
    assert wasnap("snapshot", str(started.pid)).stdout == b"1\n"
    assert started.end(b"a") == (7, b"ready\n97\n", "")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["snapshot", "1"], 66),
        (["stop", "1"], 66),
        (["signal", "1", "TERM"], 66),
        (["signal", "1", "SIGNOTHING"], 64),
        (["snapshot", "x"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_commands(wasnap: Command, args: list[str], code: int) -> None:
    """One line of error, its exit code."""
    done = wasnap(*args)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (code, b"")
    assert lines[0].startswith("wasnap: error: ")
    assert len(lines) <= 2


@contextmanager
def connection(wasnap: Command, pid: int) -> Iterator[socket.socket]:
    """To the process's socket."""
    fd = os.open(wasnap.runtime / "wasnap", os.O_RDONLY)
    try:
        with place.connect(fd, pid) as connected:
            yield connected
    finally:
        os.close(fd)


def test_messages_that_are_none(wasnap: Command) -> None:
    """Each is refused in words, and the process neither ends nor stops listening."""
    started = wasnap.start("run", wasnap.write("m.wasm", READER))
    for line, says in (
        (b"hello\n", "JSON"),
        (b'{"verb":"status","version":2}\n', "version 2"),
        (b'{"verb":"explode","version":1}\n', "explode"),
        (b'{"verb":"signal","version":1,"number":4711}\n', "4711"),
        (b'{"verb":"signal","version":1,"number":"x"}\n', "int"),
        (b"x" * messages.SIZE_MAX + b"\n", "JSON"),
        (b"\xff\xff\n", "JSON"),
    ):
        with connection(wasnap, started.pid) as connected:
            connected.sendall(line)
            answer = messages.decode_answer(connected.makefile("rb").readline())
        assert isinstance(answer, messages.Refused), line
        assert says in answer.message
    assert started.pid in listed(wasnap)
    assert started.end(b"a") == (7, b"ready\n97\n", "")


def test_who_says_nothing_keeps_nobody_waiting(wasnap: Command) -> None:
    """Silent and vanished clients, and fifty at once."""
    started = wasnap.start("run", "--journal", "j", *SELDOM, wasnap.write("m.wasm", READER))
    with connection(wasnap, started.pid):
        with connection(wasnap, started.pid) as gone:
            gone.sendall(messages.encode(messages.Snapshot(label="nobody waits for it")))
        until_taken(wasnap.directory / "j")
        with ExitStack() as stack:
            fifty = [stack.enter_context(connection(wasnap, started.pid)) for _ in range(50)]
            for one in fifty:
                one.sendall(messages.encode(messages.Snapshot()))
            answers = [messages.decode_answer(one.makefile("rb").readline()) for one in fifty]
        assert started.end(b"a") == (7, b"ready\n97\n", "")
    ids = sorted(answer.id for answer in answers if isinstance(answer, messages.Taken))
    assert ids == sorted(set(ids))
    assert len(ids) == 50
    assert len(taken(wasnap.directory / "j")) == 51


def test_a_process_that_ends_meanwhile(wasnap: Command) -> None:
    """Whoever asks is told; nobody waits for ever."""
    started = wasnap.start("run", "--journal", "j", wasnap.write("m.wasm", ENDLESS))
    with connection(wasnap, started.pid) as connected:
        started.signal(signal.SIGKILL)
        started.end()
        assert client.converse(connected, messages.Snapshot()) is None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_directory_that_others_may_enter(
    wasnap: Command, mode: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is not used, by neither side."""
    directory = wasnap.runtime / "wasnap"
    directory.mkdir()
    directory.chmod(mode)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(wasnap.runtime))
    fd = place.make()
    try:
        assert os.path.realpath(f"/proc/self/fd/{fd}") != str(directory)
    finally:
        os.close(fd)
    assert list(directory.iterdir()) == []


def test_a_link_is_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory of ours that somebody put a link to is not the place."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "wasnap").symlink_to("elsewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    fd = place.make()
    try:
        assert os.path.realpath(f"/proc/self/fd/{fd}") != str(tmp_path / "elsewhere")
    finally:
        os.close(fd)


def test_another_user_is_not_answered(wasnap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a connection of another user's come through, neither side talks to it."""
    started = wasnap.start("run", wasnap.write("m.wasm", READER))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(place.NotOurs), connection(wasnap, started.pid):
        pass
