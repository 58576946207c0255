"""SIGKILL at random moments, while snapshots are written and between them.

After each kill the journal is looked at, before anything else touches it:

    nothing in it is damaged but the tail behind the last commit, page data included
    every snapshot that was there before is there, and every one that the process had announced
    they are a chain: the first one's parent is the snapshot that the process was resumed from

Then the newest is resumed, in the same directory, and killed again; a run that is left alone in the
end must end like an undisturbed one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer
from typing import NamedTuple

from wasnap.harness import commands
from wasnap.harness.job import Difference, Job, Make, Reference, Report, compare, outcome, written
from wasnap.journal import Durability, Journal

AFTER_A_SNAPSHOT = 0.8
"""So many of the kills come some time after the first snapshot that a process has announced; the
others at any time since its start.
"""


def killed(
    make: Make,
    directory: Path,
    chance: random.Random,
    kills: int,
    reference: Reference,
    report: Report,
    *,
    timer: float | None = None,
    durability: Durability = "system",
) -> None:
    """Kill the job so many times, resuming it each time, and let it end. Raises Difference.

    There are fewer kills if it comes to its end before. ``timer``: seconds between two snapshots, of
    those that are killed.
    """
    world = directory / "world"
    world.mkdir(parents=True)
    job = make(world)
    journal = directory / "journal"
    stdout = b""
    there: list[int] = []
    timer = timer or max(0.05, reference.seconds / (4 * kills))
    starting = 0.0
    for left in range(kills, -1, -1):
        options = ["--durability", durability, "--verbose", "--log-format", "json"]
        if left:
            options += ["--snapshot-timer", str(timer)]
        if there:
            stdout = stdout[: written(journal, there[-1])]
            command = ["resume", *options, *job.options(), str(journal)]
        else:
            stdout = b""
            shutil.rmtree(world)
            world.mkdir()
            job = make(world)
            start = commands.from_the_start(job, journal)
            command = ["run", *options, *job.options(), *start]
        death = None
        if left:
            after = chance.random() < AFTER_A_SNAPSHOT
            seconds = 1.5 * reference.seconds / kills + (0 if after else starting)
            death = _Death(chance.uniform(0, seconds), after)
        ended = _run(command, job, death)
        starting = ended.starting or starting
        stdout += ended.stdout
        report.resumed += bool(there)
        if ended.code == -signal.SIGKILL:
            if not left:
                raise Difference(f"no end in {commands.TIMEOUT_SECONDS} s")
            report.kills += 1
        what = f"after {report.kills} kills, resumed from {there[-1] if there else 'nothing'}"
        now = look_at(journal, there, ended.announced, report, what)
        report.snapshots += len(now) - len(there)
        if ended.code != -signal.SIGKILL:
            compare(what, outcome(ended.code, stdout, job), reference.outcome, ended.stderr)
            return
        there = now


def look_at(
    journal: Path, before: list[int], announced: list[int], report: Report, what: str
) -> list[int]:
    """The snapshots that are there now, after those ``before``. Raises Difference."""
    if not journal.exists() or not journal.stat().st_size:
        found, parents = [], []
    else:
        with Journal.open(journal, verify=True) as opened:
            if opened.damaged:
                raise Difference(f"{what}: {opened.damaged}")
            gaps = [gap for gap in opened.gaps if gap.position < opened.kept]
            if gaps:
                raise Difference(f"{what}: {gaps}, and the journal counts to {opened.kept}")
            report.torn += journal.stat().st_size > opened.kept
            found = [info.id for info in opened.snapshots]
            parents = [info.parent for info in opened.snapshots]
    if found[: len(before)] != before:
        raise Difference(f"{what}: there are snapshots {found}, and there were {before}")
    if not set(announced) <= set(found[len(before) :]):
        raise Difference(f"{what}: there are snapshots {found}, and announced were {announced}")
    if parents != [None, *found][: len(found)]:
        raise Difference(f"{what}: snapshots {found} have the parents {parents}")
    return found


class _Death(NamedTuple):
    """SIGKILL so many seconds after the start; ``after``: after the first announced snapshot."""

    seconds: float
    after: bool


class _Ended(NamedTuple):
    """``code``: negative for a signal. ``announced``: snapshots; the first of them after ``starting``
    seconds (0: none). ``stderr``: its last line.
    """

    code: int
    stdout: bytes
    announced: list[int]
    starting: float
    stderr: bytes


def _run(command: list[str], job: Job, death: _Death | None) -> _Ended:
    """Run a command until it ends or is killed, at last after ``TIMEOUT_SECONDS``."""
    announced: list[int] = []
    starting = 0.0
    text = b""
    began = time.monotonic()
    printed: list[bytes] = []
    with (
        open(job.stdin or os.devnull, "rb") as stdin,
        subprocess.Popen(
            commands.line(*command),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=commands.environment(),
        ) as process,
        _timer(commands.TIMEOUT_SECONDS, process) as patience,
        _timer(commands.TIMEOUT_SECONDS if death is None else death.seconds, process) as timer,
    ):
        assert process.stdout is not None and process.stderr is not None
        output = process.stdout
        reader = Thread(target=lambda: printed.append(output.read()))
        reader.start()
        patience.start()
        if death is not None and not death.after:
            timer.start()
        for text in process.stderr:
            said = _message(text)
            if "written_ms" in said:
                announced.append(int(str(said["snapshot"])))
                if len(announced) == 1:
                    starting = time.monotonic() - began
                    if death is not None and death.after:
                        timer.start()
        reader.join()
        code = process.wait()
    return _Ended(code, printed[0], announced, starting, text)


@contextmanager
def _timer(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[Timer]:
    """Kills the process so long after it is started, or when the block is left."""
    timer = Timer(seconds, process.kill)
    try:
        yield timer
    finally:
        timer.cancel()
        process.kill()


def _message(text: bytes) -> dict[str, object]:
    """One of ours; empty for what the guest wrote, or a line that was not finished."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
