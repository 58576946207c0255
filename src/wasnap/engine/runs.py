"""Runs of pages (4 KiB): the first one's number, and that of the first one behind the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Run: TypeAlias = tuple[int, int]


def joined(runs: Iterable[Run]) -> list[Run]:
    """Sorted, without overlaps, neighbours made one."""
    found: list[Run] = []
    for first, end in sorted(runs):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((first, end))
    return found


def count(runs: Iterable[Run]) -> int:
    """How many pages they are."""
    return sum(end - first for first, end in runs)
