"""Is a log whole? Reads all of it, and changes nothing: the process that writes to it may live.

Damage is in the way of everything before it, since undoing begins at the end. So the log is read
piecewise, from one snapshot's position to the next, and what is broken costs the snapshots before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .log import START, DamagedLog, Log
from .recorder import HistoryState


class Checked(NamedTuple):
    """``size`` in bytes, ``entries`` that were read. ``problems``: why files cannot be rewound, and
    for which snapshots. ``ours``: whether the log is that of any snapshot."""

    size: int
    entries: int
    problems: list[str]
    ours: bool


def check(directory: Path, states: Mapping[int, HistoryState]) -> Checked:
    """``states``: by the number of the snapshot. Raises OSError."""
    try:
        log = Log.open(directory / "log", writable=False)
    except DamagedLog as damage:
        return Checked(0, 0, [f"{damage}: no files can be rewound"], bool(states))
    try:
        return _check(log, states)
    finally:
        log.close()


def _check(log: Log, states: Mapping[int, HistoryState]) -> Checked:
    size = log.end
    mine = {number: state for number, state in states.items() if state.log == log.id}
    edges = sorted({START, *(state.position for state in mine.values() if state.position <= size)})
    entries, worst, damage = 0, -1, ""
    for edge, following in zip(edges, [*edges[1:], size], strict=True):
        try:
            entries += _read(log, edge, following)
        except DamagedLog as error:
            worst, damage = edge, str(error)
    problems = []
    lost = sorted(number for number, state in mine.items() if state.position <= worst)
    if damage:
        problems.append(f"{damage}: {_named(lost)}")
    late = sorted(number for number, state in mine.items() if state.position > log.end)
    if late:
        problems.append(f"it ends before it should: {_named(late)}")
    return Checked(size, entries, problems, bool(mine))


def _read(log: Log, start: int, end: int) -> int:
    """Check the entries in between; how many there are. Raises DamagedLog."""
    count = 0
    if start >= end:
        return count
    for stored in log.read(start):
        log.data(stored)
        count += 1
        if stored.end >= end:
            if stored.end > end:
                raise DamagedLog(f"no entry begins at byte {end}")
            break
    return count


def _named(snapshots: list[int]) -> str:
    if not snapshots:
        return "no snapshot needs that"
    several = "snapshots " if len(snapshots) > 1 else "snapshot "
    return f"files cannot be rewound to {several}{', '.join(map(str, snapshots))}"
