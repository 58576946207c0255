"""A program, disturbed at random moments and resumed, against an undisturbed run.

All that is random comes from the seed. Three ways to disturb:

    safepoints   snapshots at random safepoints of a counted program, which a seed repeats exactly
    times        snapshots at random times
    kills        SIGKILL at random times; whatever snapshot is there then is resumed, in the same
                 directory (kills.py)

In the first two the program goes on where it is and must end as it would have; and every snapshot
is resumed in a process of its own (``python -m wasnap resume``), in a copy of the world as it was
at that moment, and must end like that, too. What a resumed process prints is what came after the
snapshot: the journal tells how much came before.

Guests that look at a clock are given a false one, on which time passes by looking, where the run
must repeat; ``system_clock`` is for those whose results do not depend on it.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from wasnap.engine import Program
from wasnap.errors import ProcessEnded
from wasnap.harness import commands
from wasnap.harness.job import (
    Difference,
    Make,
    Outcome,
    Reference,
    Report,
    compare,
    outcome,
    printed,
    process_of,
    written,
)
from wasnap.harness.kills import killed
from wasnap.process import Process

MODES = ("safepoints", "times", "kills")


def undisturbed(
    make: Make, directory: Path, *, counted: bool = True, system_clock: bool = False
) -> Reference:
    """Run the job to its end, in a new ``directory``."""
    run = _Run(make, directory, system_clock=system_clock)
    Program.load(run.job.module.read_bytes(), counted=counted)  # into the cache: it is not timed
    began = time.monotonic()
    process, found = run.to_the_end(counted=() if counted else None)
    return Reference(found, process.safepoints, time.monotonic() - began)


def differential(
    make: Make,
    directory: Path,
    *,
    seed: int,
    snapshots: int = 3,
    modes: Iterable[str] = MODES,
    references: dict[bool, Reference] | None = None,
    system_clock: bool = False,
) -> Report:
    """Disturb the job with this seed; ``snapshots`` (or kills) in each run.

    ``directory`` is new or empty and left empty. ``references``: undisturbed runs, counted and not,
    made when they are missing and kept there for the next seed. Raises Difference, which names the
    seed.
    """
    references = {} if references is None else references
    report = Report(seed)
    for mode in modes:
        counted = mode == "safepoints"
        if counted not in references:
            with _scratch(directory, f"undisturbed-{counted}") as where:
                references[counted] = undisturbed(
                    make, where, counted=counted, system_clock=system_clock
                )
        reference = references[counted]
        chance = random.Random(f"{seed} {mode}")
        try:
            with _scratch(directory, mode) as where:
                if mode == "kills":
                    killed(make, where, chance, snapshots, reference, report)
                else:
                    run = _Run(make, where, system_clock=system_clock)
                    run.disturb(chance, snapshots, reference, report, counted=counted)
        except Difference as error:
            raise Difference(f"seed {seed}, {mode}: {error}") from None
    return report


def chain(
    make: Make,
    directory: Path,
    *,
    links: int,
    step: int | None = None,
    commands: bool = False,
    system_clock: bool = False,
) -> int:
    """Stop the job and resume it in a new instance so many times, evenly; compare what came of it.

    ``commands``: each link is a command of its own (``wasnap run``, then ``wasnap resume``), which
    a timer stops; else a Process in this one, stopped at counted safepoints: every ``step``, which
    a guest with threads needs, as its undisturbed run tells only what its main thread passed, and
    that differs from run to run. Returns how many links there were; the last ones may be missing
    where nothing could be stopped. Raises Difference.
    """
    with _scratch(directory, "undisturbed") as where:
        reference = undisturbed(make, where, counted=not commands, system_clock=system_clock)
    with _scratch(directory, "chain") as where:
        if commands:
            found, done = _chain_of_commands(make, where, links, reference.seconds / (links + 1))
        else:
            run = _Run(make, where, system_clock=system_clock)
            found = run.chain(step or max(1, reference.safepoints // (links + 1)), links)
            done = len(run.taken)
        compare(f"after {done} links", found, reference.outcome)
    return done


class _Run:
    """One run of a job in this process, in ``directory``/world, and copies of it beside that."""

    def __init__(self, make: Make, directory: Path, *, system_clock: bool) -> None:
        self.directory = directory
        self.world = directory / "world"
        self.world.mkdir(parents=True)
        self.journal = directory / "journal"
        self.job = make(self.world)
        self.taken: list[int] = []
        self._system_clock = system_clock

    def to_the_end(self, counted: Iterable[int] | None) -> tuple[Process, Outcome]:
        """Run undisturbed; the process, which tells what it counted, and what came of it."""
        with ExitStack() as files:
            process, stdout = self._process(files, counted, journal=None)
            code = process.run()
            return process, outcome(code, printed(process, stdout), self.job)

    def disturb(
        self,
        chance: random.Random,
        snapshots: int,
        reference: Reference,
        report: Report,
        *,
        counted: bool,
    ) -> None:
        """Take snapshots at random moments, in place; then resume each. Raises Difference."""
        with ExitStack() as files:
            if counted:
                moments = sorted(
                    chance.randint(1, max(1, reference.safepoints)) for _ in range(snapshots)
                )
                process, stdout = self._process(files, _differences(moments), self.journal)
                code = process.run()
            else:
                times = sorted(chance.uniform(0, reference.seconds) for _ in range(snapshots))
                process, stdout = self._process(files, None, self.journal)
                asking = threading.Thread(target=_ask, args=(process, times), daemon=True)
                asking.start()
                code = process.run()
                asking.join()
            found = outcome(code, printed(process, stdout), self.job)
        compare("in place", found, reference.outcome)
        report.snapshots += len(self.taken)
        for snapshot in self.taken:
            self._resume(snapshot, reference.outcome)
            report.resumed += 1

    def chain(self, step: int, links: int) -> Outcome:
        """A snapshot every ``step`` safepoints, each resumed by a process that takes the next."""
        output = b""
        for link in range(links + 1):
            with ExitStack() as files:
                steps = [step] if link < links else []
                process, stdout = self._process(files, steps, self.journal, chained=True)
                code = process.run()
                output += printed(process, stdout)
            if len(self.taken) == link:  # it came to its end
                break
        return outcome(code, output, self.job)

    def _process(
        self,
        files: ExitStack,
        counted: Iterable[int] | None,
        journal: Path | None,
        *,
        chained: bool = False,
    ) -> tuple[Process, Path]:
        """A process of the job, and where its output goes. ``chained``: it ends at a snapshot."""
        options: dict[str, Any] = {"clock": None} if self._system_clock else {}
        process = process_of(
            self.job,
            self.directory,
            files,
            journal=journal,
            snapshot_on=None if journal is None else ["explicit"],
            stop_after_snapshot=chained,
            counted=counted,
            on_snapshot=self.taken.append if chained else self._keep,
            **options,
        )
        return process, self.directory / "stdout"

    def _keep(self, snapshot: int) -> None:
        """The world as it is at a snapshot, for whoever resumes that."""
        self.taken.append(snapshot)
        shutil.copytree(self.world, self.directory / f"world-{snapshot}", symlinks=True)

    def _resume(self, snapshot: int, wanted: Outcome) -> None:
        world = self.directory / f"world-{snapshot}"
        job = self.job.moved(self.world, world)
        journal = self.directory / f"journal-{snapshot}"
        shutil.copy(self.journal, journal)
        resumed = commands.wasnap(
            "resume", *job.options(), "--at", str(snapshot), str(journal), job=job
        )
        stdout = wanted.stdout[: written(journal, snapshot)] + resumed.stdout
        found = outcome(resumed.returncode, stdout, job)
        compare(f"resumed from snapshot {snapshot}", found, wanted, resumed.stderr)
        shutil.rmtree(world)
        journal.unlink()


def _chain_of_commands(
    make: Make, directory: Path, links: int, timer: float
) -> tuple[Outcome, int]:
    """Stopped by a timer (s) and resumed so many times; what came of it, and how many there were."""
    world = directory / "world"
    world.mkdir()
    job = make(world)
    journal = directory / "journal"
    output = b""
    for link in range(links + 1):
        options = ["--snapshot-timer", str(timer), "--stop-after-snapshot"] if link < links else []
        if link:
            command = ["resume", *options, str(journal)]
        else:
            command = ["run", *options, *job.options(), *commands.from_the_start(job, journal)]
        begun = commands.newest(journal)
        done = commands.wasnap(*command, job=job)
        output += done.stdout
        if done.returncode or commands.newest(journal) == begun:  # it came to its end
            break
    return outcome(done.returncode, output, job), link


def _ask(process: Process, times: list[float]) -> None:
    """Ask for snapshots at these times (s from now); the process may end before."""
    began = time.monotonic()
    over = threading.Event()
    for moment in times:
        over.wait(max(0.0, began + moment - time.monotonic()))
        try:
            process.snapshot()
        except ProcessEnded:
            return


def _differences(moments: list[int]) -> list[int]:
    """From points to the steps between them; two at the same point are one."""
    points = sorted(set(moments))
    return [b - a for a, b in zip([0, *points], points, strict=False)]


class _scratch:
    """A directory that is gone afterwards, unless something went wrong."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / name

    def __enter__(self) -> Path:
        self.path.mkdir(parents=True)
        return self.path

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            shutil.rmtree(self.path)
