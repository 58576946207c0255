"""Real processes with real signals, and the proof that each of their snapshots can be resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

from cli.conftest import SELDOM, Command, Run, Started, cache, code_cache, run, wasnap

from wasnap.host import HostState
from wasnap.journal import HostRecord, Journal

__all__ = ["SELDOM", "Command", "Run", "Started", "cache", "code_cache", "run", "wasnap"]


def taken(journal: Path) -> list[str]:
    """The triggers of its snapshots."""
    with Journal.open(journal) as opened:
        return [snapshot.trigger for snapshot in opened.snapshots]


def until_taken(journal: Path, count: int = 1) -> None:
    """Wait until the journal holds so many snapshots."""
    while not journal.exists() or not journal.stat().st_size or len(taken(journal)) < count:
        pass


def printed_before(journal: Path, snapshot: int) -> int:
    """How many bytes the guest had written to stdout at this snapshot."""
    with Journal.open(journal) as opened:
        state = opened.load(snapshot).record(HostRecord).state
    return HostState.from_plain(state).written["stdout"]


def goes_on(
    wasnap: Command,
    whole: bytes,
    *,
    options: tuple[str, ...] = ("--snapshot-on", "explicit"),
    stdin: bytes = b"",
    code: int = 7,
    journal: str = "j",
) -> list[list[str]]:
    """Resume each snapshot, in a copy of the journal: what was not printed yet is printed, and the
    process ends as it should. The triggers of the snapshots that each resumed process took.
    """
    new = []
    path = wasnap.directory / journal
    for snapshot in range(1, len(taken(path)) + 1):
        copy = Path(shutil.copy(path, wasnap.directory / f"{journal}.{snapshot}"))
        done = wasnap("resume", *options, copy.name, "--at", str(snapshot), stdin=stdin)
        rest = whole[printed_before(path, snapshot) :]
        assert (done.returncode, done.stdout) == (code, rest), done.stderr.decode()
        new.append(taken(copy)[len(taken(path)) :])
    return new
