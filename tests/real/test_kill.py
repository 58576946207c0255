"""SIGKILL at random moments while snapshots are written: what was announced stays, and goes on.

``WASNAP_POINTS`` kills (8 unless set), and more until one has come while something was written; the
seeds are 0, 1, 2, ...
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import kernels
import pytest

from wasnap.harness import Job, Report, killed, undisturbed
from wasnap.journal import Durability

POINTS = int(os.environ.get("WASNAP_POINTS", "8"))
KILLS = min(25, max(1, POINTS // 2))
"""Of one journal, at most: each time all of it is checked."""
TIMER = 0.001
"""Seconds: a snapshot begins as soon as the last one is there."""


def scatter(_world: Path) -> Job:
    """A guest that writes all over its memory, and sums it up in the end."""
    return Job(kernels.build("scatter"), kernels.KERNELS["scatter"].big)


@pytest.mark.slow
@pytest.mark.real
def test_killed_while_snapshots_are_written(tmp_path: Path) -> None:
    """What ``harness/kills.py`` says, of many runs that are killed again and again."""
    reference = undisturbed(scatter, tmp_path / "undisturbed", counted=False)
    total = Report(0)
    ways: tuple[Durability, ...] = ("process", "system")
    while total.kills < POINTS or not total.torn:
        durability = ways[total.seed % len(ways)]
        print(f"seed {total.seed}, durability {durability}", flush=True)
        killed(
            scatter,
            tmp_path / str(total.seed),
            random.Random(total.seed),
            min(KILLS, max(1, POINTS - total.kills)),
            reference,
            total,
            timer=TIMER,
            durability=durability,
        )
        shutil.rmtree(tmp_path / str(total.seed))
        total.seed += 1
    print(f"{total}: the same")
    assert total.snapshots > total.kills // 2  # on a slow disk, about one each
