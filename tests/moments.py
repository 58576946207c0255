"""Random moments in the life of another process, told by what it has done and not by a clock."""

from __future__ import annotations

import os
from pathlib import Path


def wait_for_work(pid: int, nanoseconds: int) -> None:
    """Wait until the process's threads have computed for so much longer, or until it stands still or
    is gone. On a busy machine that is later, and as far into its work.
    """
    until = _worked(pid) + nanoseconds
    while _runs(pid) and _worked(pid) < until:
        os.sched_yield()


def _worked(pid: int) -> int:
    """Nanoseconds on a processor, of all threads that there are now."""
    return sum(int(_read(thread / "schedstat").split()[0] or 0) for thread in _threads(pid))


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text() or "0"
    except OSError:  # it ended in between
        return "0"


def _runs(pid: int) -> bool:
    state = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[0]
    return state not in ("T", "Z", "X", "0")
