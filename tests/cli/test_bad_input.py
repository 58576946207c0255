"""Whatever a user gives us that is wrong: one error, a hint, its exit code, nothing lost."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from process import wat
from process.conftest import Run

from cli.conftest import Command
from wasnap.errors import CannotResume, JournalError
from wasnap.journal import Journal
from wasnap.journal.layout import FILE_HEADER, seal
from wasnap.process import Process

MODULE = wat.counter(10, 1000, code=7)

COMPONENT = b"\0asm\x0d\0\1\0"


@pytest.fixture
def journal(wasnap: Command) -> Path:
    """``j``: the journal of ``m.wasm``, with three snapshots."""
    module = wasnap.write("m.wasm", MODULE)
    path = wasnap.directory / "j"
    run = Process(
        wasnap.directory / module,
        journal=path,
        snapshot_on=["explicit"],
        counted=[2000, 2000, 2000],
        stdout=None,
    )
    assert run.run() == 7
    return path


def refused(wasnap: Command, *args: str, code: int, says: str) -> None:
    """The command fails as it should: one line of error, at most one of hint, nothing else."""
    done = wasnap(*args)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (code, b""), done.stderr.decode()
    assert lines[0].startswith("wasnap: error: ")
    assert says in lines[0]
    assert len(lines) <= 2
    assert all(line.startswith("wasnap: hint: ") for line in lines[1:])


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"#!/bin/sh\n", 65, "not a WebAssembly module"),
        (b"", 65, "not a WebAssembly module"),
        (COMPONENT + b"rest", 69, "component"),
        (MODULE[:-10], 65, "not valid"),
        (MODULE[:9], 65, "not valid"),
        (b"\0asm\2\0\0\0", 65, "version"),
    ],
    ids=["text", "empty", "component", "truncated", "cut in a header", "of the future"],
)
@pytest.mark.parametrize("command", ["run", "instrument"])
def test_modules(wasnap: Command, command: str, data: bytes, code: int, says: str) -> None:
    """What is not a core module we can run."""
    name = wasnap.write("m.wasm", data)
    more = ["-o", "out.wasm"] if command == "instrument" else ["--journal", "j"]
    args = [command, *more, name] if command == "run" else [command, name, *more]
    refused(wasnap, *args, code=code, says=says)
    assert {path.name for path in wasnap.directory.iterdir()} == {"m.wasm"}


def test_an_address_that_is_taken(wasnap: Command) -> None:
    """Nothing is run, and no journal made."""
    import socket

    name = wasnap.write("m.wasm", MODULE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        args = ["run", "--journal", "j", "--listen", address, name]
        refused(wasnap, *args, code=71, says=f"cannot listen on {address}")
    refused(wasnap, "run", "--listen", "80", name, code=64, says="80 is no address")
    assert {path.name for path in wasnap.directory.iterdir()} == {"m.wasm"}


def test_an_unknown_import(wasnap: Command) -> None:
    """It is named."""
    module = wat.wasm('(func (export "_start"))', imports='(import "env" "magic" (func))')
    refused(wasnap, "run", wasnap.write("m.wasm", module), code=69, says="env.magic")


def test_no_start(wasnap: Command) -> None:
    """A library is not a program."""
    refused(wasnap, "run", wasnap.write("m.wasm", wat.wasm("")), code=69, says="_start")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["run", "nowhere.wasm"], 66, "nowhere.wasm"),
        (["run", "."], 66, "directory"),
        (["run", "--dir", "nowhere", "m.wasm"], 66, "nowhere"),
        (["run", "--dir", "::x", "m.wasm"], 64, "--dir"),
        (["run", "--dir", ".", "--dir", ".", "m.wasm"], 64, "two directories"),
        (["run", "--env", "X", "m.wasm"], 64, "--env"),
        (["run", "--snapshot-timer", "5", "m.wasm"], 64, "journal"),
        (["run", "--stop-after-snapshot", "m.wasm"], 64, "journal"),
        (["run", "--journal", "k", "--snapshot-timer", "0", "m.wasm"], 64, "timer"),
        (["run", "--journal", "k", "--snapshot-timer", "nan", "m.wasm"], 64, "timer"),
        (["run", "--journal", "k", "--snapshot-on", "magic", "m.wasm"], 64, "magic"),
        (["run", "--journal", "no/where", "m.wasm"], 66, "no/where"),
        (["run", "--journal", ".", "m.wasm"], 76, "regular file"),
        (["run", "--journal", "m.wasm", "m.wasm"], 76, "not a journal"),
        (["resume", "nowhere"], 66, "nowhere"),
        (["resume", "m.wasm"], 76, "not a journal"),
        (["resume", "empty"], 76, "empty"),
        (["resume", "j", "--at", "99"], 66, "99"),
        (["resume", "j", "--at", "0"], 66, "0"),
        (["resume", "j", "--at", "-1"], 66, "-1"),
        (["resume", "j", "--at", "nosuch"], 66, "nosuch"),
        (["resume", "j", "--label", "7"], 64, "label"),
        (["run", "--label", "x", "m.wasm"], 64, "journal"),
        (["journal", "label", "j", "2", "7"], 64, "label"),
        (["journal", "label", "j", "9", "x"], 66, "9"),
        (["journal", "label", "nowhere", "9", "x"], 66, "nowhere"),
        (["journal", "inspect", "j", "--at", "x"], 66, "x"),
        (["journal", "verify", "nowhere"], 66, "nowhere"),
        (["journal", "diff", "j", "1", "9"], 66, "9"),
        (["journal", "diff", "j", "1", "x"], 66, "x"),
        (["journal", "export", "m.wasm"], 76, "not a journal"),
        (["journal", "export", "j", "-o", "j"], 64, "itself"),
        (["journal", "export", "j", "-o", "no/where"], 74, "no/where"),
        (["journal", "import", "nowhere", "new"], 66, "nowhere"),
        (["journal", "import", "m.wasm", "new"], 76, "line 1 of m.wasm"),
        (["journal", "import", "m.wasm", "j"], 76, "there already"),
        (["resume", "j", "--dir", "nowhere"], 66, "nowhere"),
        (["journal", "inspect", "nowhere"], 66, "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_lines(
    wasnap: Command, journal: Path, args: list[str], code: int, says: str
) -> None:
    """Names of what is not there, and options that make no sense. The journal stays as it is."""
    wasnap.write("empty", b"")
    before = journal.read_bytes()
    refused(wasnap, *args, code=code, says=says)
    assert journal.read_bytes() == before


def test_another_modules_journal(wasnap: Command, journal: Path) -> None:
    """The one line says whose it is, the hint how to start anew."""
    before = journal.read_bytes()
    other = wasnap.write("other.wasm", wat.counter(11, 1000))
    refused(wasnap, "run", "--journal", "j", other, code=76, says="m.wasm")
    assert journal.read_bytes() == before


def test_a_journal_in_use(wasnap: Command, journal: Path) -> None:
    """One writer at a time."""
    with Journal.open_for_writing(journal):
        refused(wasnap, "resume", "j", code=75, says="writing")
        refused(wasnap, "run", "--journal", "j", "m.wasm", code=75, says="writing")
        refused(wasnap, "run", "--fresh", "--journal", "j", "m.wasm", code=75, says="writing")


def test_a_journal_of_a_newer_version(wasnap: Command, journal: Path) -> None:
    """It is not touched."""
    data = bytearray(journal.read_bytes())
    magic, major, *rest = FILE_HEADER.unpack(bytes(data[: FILE_HEADER.size]))
    header = FILE_HEADER.pack(magic, major + 1, *rest)
    data[: FILE_HEADER.size] = seal(header)
    journal.write_bytes(data)
    refused(wasnap, "resume", "j", code=76, says=f"version {major + 1}")
    assert journal.read_bytes() == data


def test_a_cut_journal(wasnap: Command, journal: Path) -> None:
    """Cut anywhere, it resumes from the last whole snapshot, or says that there is none."""
    data = journal.read_bytes()
    whole = wat.counted(10, 1000)
    for cut in (len(data) - 1, len(data) * 3 // 4, len(data) // 2):
        journal.write_bytes(data[:cut])
        with Journal.open(journal) as opened:
            ids = [snapshot.id for snapshot in opened.snapshots]
        if ids:
            done = wasnap("resume", "j", "--snapshot-on", "explicit")
            assert done.returncode == 7
            assert whole.endswith(done.stdout)
        else:
            refused(wasnap, "resume", "j", code=66, says="no snapshot")


def test_a_flipped_journal(wasnap: Command, journal: Path) -> None:
    """A flipped byte never gives a wrong answer: an earlier snapshot, or an error."""
    data = journal.read_bytes()
    whole = wat.counted(10, 1000)
    for position in range(100, len(data), len(data) // 12):
        flipped = bytearray(data)
        flipped[position] ^= 0x40
        journal.write_bytes(flipped)
        done = wasnap("resume", "j")
        if done.returncode == 7:
            assert whole.endswith(done.stdout)
        else:
            assert done.returncode in (66, 76)
            assert done.stderr.startswith(b"wasnap: error: ")
            assert b"Traceback" not in done.stderr


def test_a_read_only_journal(
    wasnap: Command, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be gone on with; the hint says to copy it. (Root may write anything: simulated.)"""
    really = os.open

    def read_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if Path(path) == journal and flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return really(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(JournalError, match="may not be written") as caught:
        Process(None, journal=journal).run()
    assert "copy" in caught.value.hint


@pytest.mark.parametrize("trusted", [True, False])
def test_recorded_directories_of_others(wasnap: Command, trusted: bool) -> None:
    """A journal that others may write to opens no directory: each must be given again."""
    (wasnap.directory / "data").mkdir()
    process = Process(
        MODULE,
        dirs={"data": wasnap.directory / "data"},
        journal=wasnap.directory / "j",
        counted=[2000],
        stdout=None,
    )
    assert process.run() == 7
    if trusted:
        assert wasnap("resume", "j").returncode == 7
        return
    (wasnap.directory / "j").chmod(0o666)
    refused(wasnap, "resume", "j", code=CannotResume.exit_code, says="directories")
    assert wasnap("resume", "--dir", "data", "j").returncode == 7


def test_a_second_signal_during_a_snapshot(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at once; what was being written is taken back, what was there stays."""
    process = run.process(wat.counter(10, 1000), journal=run.journal, counted=[2000])
    process.run()
    before = run.journal.read_bytes()
    really = os.pwritev
    calls = []

    def interrupted(*args: Any) -> int:
        calls.append(args)
        signal.raise_signal(signal.SIGINT)
        return really(*args)

    process = run.process(
        None, journal=run.journal, counted=[2000], snapshot_on=["sigint", "sigterm"]
    )
    monkeypatch.setattr(os, "pwritev", interrupted)
    assert process.run() == 130
    assert len(calls) == 2
    assert run.journal.read_bytes() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
