"""A guest in steps: each process takes a snapshot, and the next one resumes that and takes the next."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from wasnap.harness import Job
from wasnap.harness.job import process_of
from wasnap.host import HostState
from wasnap.journal import HostRecord, Journal


class Steps(NamedTuple):
    """``taken``: snapshots; ``acted``: in some of them a process acts as its child."""

    printed: str
    code: int
    taken: int
    acted: bool


def in_steps(made: Job, directory: Path, steps: Sequence[int]) -> Steps:
    """``steps``: safepoints from each start to the snapshot; the rest runs as it is."""
    printed, code, taken, acted = b"", -1, 0, False
    for link, step in enumerate([*steps, 0]):
        with ExitStack() as files:
            process = process_of(
                made,
                directory,
                files,
                fresh=link == 0,
                journal=directory / "journal",
                snapshot_on=["explicit"],
                stop_after_snapshot=True,
                counted=[step] if step else [],
            )
            code = process.run()
        printed += (directory / "stdout").read_bytes()
        with Journal.open(directory / "journal") as saved:
            if len(saved.snapshots) == taken:
                break
            taken = len(saved.snapshots)
            state = saved.load(taken).record(HostRecord).state
            acted |= bool(HostState.from_plain(state).processes.acting)
    return Steps(printed.decode(), code, taken, acted)
