"""A program that went on for a while after a snapshot and is gone: the snapshot, resumed in the very
directory that it left behind, must end like an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import ExitStack
from pathlib import Path

from wasnap.harness.differential import undisturbed
from wasnap.harness.job import Make, compare, opened, outcome
from wasnap.host import FakeClock, HostState, SeededRandom
from wasnap.journal import HostRecord, Journal
from wasnap.process import Process


def later(make: Make, directory: Path, chance: random.Random, *, points: int) -> int:
    """Snapshots at so many random safepoints, the program gone at a random one after each; resumed
    in the same directory. Returns how often. Raises Difference.

    Every third time a second snapshot is taken before the end, and the first one gone back to.
    """
    reference = undisturbed(make, directory / "undisturbed")
    for number in range(points):
        here = directory / str(number)
        world = here / "world"
        world.mkdir(parents=True)
        job = make(world)
        first = chance.randint(1, reference.safepoints - 1)
        last = chance.randint(1, max(1, reference.safepoints - first))
        steps = [first, last] if number % 3 else [first, max(1, last // 2), max(1, last // 2)]
        taken: list[int] = []

        def end(process: Process, snapshot: int, wanted: int, taken: list[int] = taken) -> None:
            taken.append(snapshot)
            if len(taken) == wanted:
                process.stop()

        printed = b""
        for at in (None, 1):
            with ExitStack() as files:
                out = here / f"stdout-{at}"
                process = Process(
                    job.module if at is None else None,
                    job.args if at is None else (),
                    dirs=job.dirs,
                    journal=here / "journal",
                    at=at,
                    snapshot_on=["explicit"],
                    stdin=opened(files, Path(os.devnull)),
                    stdout=opened(files, out, os.O_WRONLY | os.O_CREAT),
                    stderr=opened(files, here / "stderr", os.O_WRONLY | os.O_CREAT),
                    clock=FakeClock(),
                    random=SeededRandom(b"harness"),
                    counted=steps if at is None else (),
                    on_snapshot=lambda snapshot: end(process, snapshot, len(steps)),
                )
                code = process.run()
            if at is None:
                written = _written(here / "journal")
                printed = out.read_bytes()[:written]
            else:
                printed += out.read_bytes()
        what = f"snapshot at {first}, gone at {sum(steps)}, resumed"
        compare(what, outcome(code, printed, job), reference.outcome)
        shutil.rmtree(here)
    return points


def _written(journal: Path) -> int:
    with Journal.open(journal) as opened_journal:
        record = opened_journal.load(1, verify=False).record(HostRecord)
    return HostState.from_plain(record.state).written.get("stdout", 0)
