"""A program that went on for a while after a snapshot and is gone: the snapshot, resumed in the very
directory that it left behind, must end like an undisturbed run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from wasnap.harness.differential import undisturbed
from wasnap.harness.job import Job, Make, compare, outcome, process_of, written


def later(
    make: Make,
    directory: Path,
    chance: random.Random,
    *,
    points: int,
    between: Callable[[Path], None] = lambda _: None,
) -> int:
    """A snapshot at so many random safepoints, the program gone at a random one after each; resumed
    in the same directory. Returns how often. Raises Difference.

    Every third time one more snapshot is taken in between, and the first one gone back to.
    ``between``: what is done to the journal when the program is gone.
    """
    reference = undisturbed(make, directory / "undisturbed")
    for number in range(points):
        here = directory / str(number)
        (here / "world").mkdir(parents=True)
        job = make(here / "world")
        first = chance.randint(1, reference.safepoints - 1)
        rest = chance.randint(1, max(1, reference.safepoints - first))
        steps = [first, rest] if number % 3 else [first, (rest + 1) // 2, (rest + 1) // 2]
        _run(here, job, steps)
        between(here / "journal")
        printed = (here / "stdout").read_bytes()[: written(here / "journal", 1)]
        code = _run(here, job, None)
        printed += (here / "stdout").read_bytes()
        what = f"snapshot at {first}, gone {rest} later, resumed"
        compare(what, outcome(code, printed, job), reference.outcome)
        shutil.rmtree(here)
    return points


def _run(here: Path, job: Job, steps: list[int] | None) -> int:
    """With snapshots after these steps, and gone at the last one; None: resumed from the first."""
    taken: list[int] = []

    def on_snapshot(snapshot: int) -> None:
        taken.append(snapshot)
        if steps is not None and len(taken) == len(steps):
            process.stop()

    fresh = steps is not None
    with ExitStack() as files:
        process = process_of(
            job,
            here,
            files,
            fresh=fresh,
            journal=here / "journal",
            at=None if fresh else 1,
            snapshot_on=["explicit"],
            counted=steps or (),
            on_snapshot=on_snapshot,
        )
        return process.run()
