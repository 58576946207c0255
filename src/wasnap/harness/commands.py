"""Jobs as commands: ``python -m wasnap`` in processes of their own, and what their journals tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from wasnap.harness.job import Job
from wasnap.journal import Journal

TIMEOUT_SECONDS = 600


def wasnap(*command: str, job: Job) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    with open(job.stdin or os.devnull, "rb") as stdin:
        return subprocess.run(
            line(*command),
            stdin=stdin,
            capture_output=True,
            env=environment(),
            timeout=TIMEOUT_SECONDS,
        )


def line(*command: str) -> list[str]:
    """The command line of it."""
    return [sys.executable, "-m", "wasnap", *command]


def environment() -> dict[str, str]:
    """In which a process finds this very wasnap."""
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


def from_the_start(job: Job, journal: Path) -> list[str]:
    """What ``wasnap run`` is told of a job, beside its directories."""
    options = ["--journal", str(journal), "--unknown-imports", job.unknown_imports]
    for name, value in job.env.items():
        options += ["--env", f"{name}={value}"]
    if job.invoke is not None:
        options += ["--invoke", job.invoke]
    return [*options, str(job.module), *job.args]


def newest(journal: Path) -> int | None:
    """The newest snapshot in a journal; None if there is none."""
    if not journal.exists() or not journal.stat().st_size:
        return None
    with Journal.open(journal) as opened:
        there = opened.snapshots
    return there[-1].id if there else None
