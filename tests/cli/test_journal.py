"""``wasnap journal ...`` as a user sees it; what is behind it is tested in tests/journal."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from journal.helpers import history, page, three_snapshots

from cli.conftest import SOURCE, Command
from wasnap.cli import progress
from wasnap.journal import Journal


@pytest.fixture
def journal(wasnap: Command) -> Path:
    """``j``: snapshots 1, 2 (after 1) and 3 (after 1)."""
    path = wasnap.directory / "j"
    three_snapshots(path)
    return path


def test_verify(wasnap: Command, journal: Path) -> None:
    """0, or 76 with what is damaged, on stdout; the file is as it was."""
    whole = wasnap("journal", "verify", "j")
    assert (whole.returncode, whole.stderr) == (0, b"")
    assert b"3 snapshots can be used" in whole.stdout
    data = bytearray(journal.read_bytes())
    data[data.index(page("c"))] ^= 1
    journal.write_bytes(data)
    damaged = wasnap("journal", "verify", "j")
    assert (damaged.returncode, damaged.stderr) == (76, b"")
    assert b"damaged: snapshot 2: memory 0, pages 1 to 1" in damaged.stdout
    shown = json.loads(wasnap("journal", "verify", "--json", "j").stdout)
    assert not shown["intact"] and [each["id"] for each in shown["damaged"]] == [2]
    assert journal.read_bytes() == data


def test_diff(wasnap: Command, journal: Path) -> None:
    assert wasnap("journal", "label", "j", "3", "third").returncode == 0
    text = wasnap("journal", "diff", "j", "1", "third").stdout.decode().splitlines()
    assert text[:2] == [
        "j: - snapshot 1, + snapshot 3",
        "memory 0: 64.0 KiB, 8,192 bytes in 2 pages differ",
    ]
    shown = json.loads(wasnap("journal", "diff", "--json", "j", "1", "3").stdout)
    assert shown["host"] == [{"path": ["tag"], "before": "one", "after": "three"}]


def test_export_and_import(wasnap: Command, journal: Path) -> None:
    """Through a file and through pipes; the text is the owner's only, like the journal."""
    data = journal.read_bytes()
    assert wasnap("journal", "export", "j", "-o", "text").returncode == 0
    text = wasnap.directory / "text"
    assert text.stat().st_mode & 0o777 == 0o600
    assert wasnap("journal", "export", "j").stdout == text.read_bytes()
    assert wasnap("journal", "import", "text", "copy").returncode == 0
    assert wasnap("journal", "import", "-", "again", stdin=text.read_bytes()).returncode == 0
    for name in ("j", "copy", "again"):
        assert (wasnap.directory / name).read_bytes() == data
    assert {path.name for path in wasnap.directory.iterdir()} == {"j", "text", "copy", "again"}


def test_compact(wasnap: Command, journal: Path) -> None:
    """What was gained, on stdout; or one line and a hint, an exit code, and nothing has changed."""
    size = journal.stat().st_size
    copy = wasnap("journal", "compact", "j", "-o", "copy", "--keep", "one", "--compress")
    assert (copy.returncode, copy.stderr) == (0, b"")
    assert (
        copy.stdout.startswith(b"copy: 1 of 3 snapshots kept (1); ") and b"KiB now" in copy.stdout
    )
    assert journal.stat().st_size == size
    for options, code, says in [
        (["j", "--keep", "9"], 66, b"there is no snapshot 9"),
        (["j", "--last", "0"], 2, b"--last"),
        (["copy", "--keep", "two"], 66, b"'two'"),
        (["none"], 66, b"not there"),
        (["j", "-o", "copy"], 64, b"there already"),
    ]:
        wrong = wasnap("journal", "compact", *options)
        assert wrong.returncode == code and says in wrong.stderr and wrong.stdout == b""
        assert b"Traceback" not in wrong.stderr
    with Journal.open_for_writing(journal):
        locked = wasnap("journal", "compact", "j")
        assert locked.returncode == 75 and b"is writing to" in locked.stderr
    full = wasnap("journal", "compact", "j", preexec_fn=lambda: limit_files(9_000))
    assert full.returncode == 74 and b"cannot be written" in full.stderr
    assert b"hint" in full.stderr and journal.stat().st_size == size
    assert wasnap("journal", "compact", "j").returncode == 0
    assert journal.stat().st_size < size
    assert {path.name for path in wasnap.directory.iterdir()} == {"j", "copy"}


def limit_files(size: int) -> None:
    """No file may become larger, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_reader_that_has_read_enough(wasnap: Command) -> None:
    """``| head``: no traceback."""
    history(wasnap.directory / "j", 1, 200)
    for command in (["export", "j"], ["inspect", "j", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "wasnap", "journal", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=wasnap.directory,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() in (0, 1, 141)  # it may all have been in the pipe


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What takes longer than a second shows a bar on stderr, if that is a terminal; the library
    that draws it is not imported before."""
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    three_snapshots(tmp_path / "j")
    with progress.progress("reading") as tell:
        assert tell is None  # stderr is no terminal here
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    os.set_blocking(master, False)
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with (
            progress.progress("reading") as tell,
            Journal.open(tmp_path / "j", progress=tell) as opened,
        ):
            assert tell is not None
            opened.verify(tell)
        stderr.flush()
        assert b"reading" in os.read(master, 10_000)
    os.close(master)
    script = "import sys, wasnap.cli.journal.inspect; sys.exit('tqdm' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
