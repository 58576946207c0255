"""A journal that is compacted is the same journal: real guests resumed from it, and SIGKILL while it
is being made.

``WASNAP_POINTS``: how many kills (4 unless set); the seed is ``WASNAP_FIRST_SEED`` (0).
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import kernels
import pytest

from wasnap.harness import Job, Outcome, commands, later, undisturbed
from wasnap.harness.job import compare, outcome, written
from wasnap.journal import Journal
from wasnap.journal.tools.compact import compact
from wasnap.journal.tools.diff import changed_pages

POINTS = int(os.environ.get("WASNAP_POINTS", "4"))
SEED = int(os.environ.get("WASNAP_FIRST_SEED", "0"))
RESUMED = 4 if POINTS < 100 else 25
"""At most so many of the journals that a kill left are resumed: that takes seconds."""

pytestmark = [pytest.mark.slow, pytest.mark.real]

SCRIPT = """
import sys
from pathlib import Path
from wasnap.journal.tools.compact import compact
path, compress, *keep = sys.argv[1:]
print(flush=True)
compact(Path(path), keep=keep, compress=bool(compress))
"""


SNAPSHOTS_MIN = 6


def scatter(rounds: int, _world: Path | None = None) -> Job:
    """A guest that writes all over its memory, and sums it up in the end."""
    return Job(kernels.build("scatter"), ("2048", "32", str(rounds)))


class Ran(NamedTuple):
    """A run that is over, and its journal."""

    job: Job
    wanted: Outcome
    journal: Path
    snapshots: list[int]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One that a timer saved many times: it runs longer where the disk is slow."""
    for rounds in (40_000, 160_000, 640_000, 2_560_000):
        directory = tmp_path_factory.mktemp("ran")
        job = scatter(rounds)
        wanted = undisturbed(
            partial(scatter, rounds), directory / "undisturbed", counted=False
        ).outcome
        journal = directory / "journal"
        start = commands.from_the_start(job, journal)
        done = commands.wasnap("run", "--snapshot-timer", "0.003", *start, job=job)
        compare("saved by a timer", outcome(done.returncode, done.stdout, job), wanted, done.stderr)
        with Journal.open(journal) as opened:
            snapshots = [info.id for info in opened.snapshots]
        if len(snapshots) >= SNAPSHOTS_MIN:
            break
    return Ran(job, wanted, journal, snapshots)


def resumed(ran: Ran, journal: Path, snapshot: int) -> None:
    """A snapshot of a copy gives what the undisturbed run gives. Raises Difference."""
    copy = journal.with_name("resumed")
    shutil.copyfile(journal, copy)
    stdout = ran.wanted.stdout[: written(copy, snapshot)]
    done = commands.wasnap("resume", "--at", str(snapshot), str(copy), job=ran.job)
    found = outcome(done.returncode, stdout + done.stdout, ran.job)
    compare(f"resumed from snapshot {snapshot}", found, ran.wanted, done.stderr)
    copy.unlink()


def same_memory(old: Path, new: Path, snapshots: Sequence[int]) -> None:
    """In both journals, page by page."""
    with Journal.open(old) as before, Journal.open(new, verify=True) as after:
        assert after.damaged == [] and after.gaps == []
        assert [info.id for info in after.snapshots] == list(snapshots)
        for number in snapshots:
            one, other = before.load(number, verify=False), after.load(number, verify=False)
            assert one.memories.keys() == other.memories.keys()
            for index, image in one.memories.items():
                assert image.pages_total == other.memories[index].pages_total
                assert list(changed_pages(image, other.memories[index])) == []


@pytest.mark.parametrize("compress", [False, True])
def test_a_real_guest(ran: Ran, tmp_path: Path, compress: bool) -> None:
    """Some of many snapshots, and one alone: smaller, the same memory, and it goes on from there."""
    chance = random.Random(SEED)
    kept = sorted(chance.sample(ran.snapshots, min(6, len(ran.snapshots) // 2)))
    for keep in (kept, [kept[-1]]):
        new = tmp_path / "new"
        done = compact(ran.journal, keep=keep, compress=compress, output=new)
        print(f"seed {SEED}: {done}")
        assert done.size < done.size_before
        same_memory(ran.journal, new, keep)
        for number in {keep[0], keep[-1]}:
            resumed(ran, new, number)
        with Journal.open(new) as journal:
            pieces = journal.load(keep[0]).memory(0).extents
            assert compress or sum(extent.offset is not None for extent in pieces) < 200
        new.unlink()


def test_killed_while_it_is_compacted(ran: Ran, tmp_path: Path) -> None:
    """At any moment: the journal is the old one, byte for byte, or the new one, whole; what is kept
    resumes; and the next attempt replaces what was left."""
    chance = random.Random(SEED)
    data = ran.journal.read_bytes()
    journal = tmp_path / "journal"
    left, point, seconds, ends = 0, 0, math.inf, {"killed": 0, "new": 0}
    while ends["killed"] < POINTS:
        journal.write_bytes(data)
        keep = sorted(chance.sample(ran.snapshots, chance.randint(1, min(8, len(ran.snapshots)))))
        compress = chance.random() < 0.5
        point += 1
        what = f"seed {SEED}, point {point}, keep {keep}, compress {compress}"
        print(what, flush=True)
        moment = None if seconds == math.inf else chance.uniform(0, seconds)
        code, took = _killed(journal, keep, compress, moment)
        assert code in (0, -signal.SIGKILL), what
        if not code:  # what it takes on this machine now
            seconds = min(seconds, took)
        ends["killed"] += code != 0
        left += (tmp_path / ".journal.new").exists()
        if journal.read_bytes() == data:
            assert code, what
        else:
            ends["new"] += 1
            same_memory(ran.journal, journal, keep)
        assert compact(journal, keep=keep, compress=compress).kept == keep
        assert [each.name for each in tmp_path.iterdir()] == ["journal"], what
        same_memory(ran.journal, journal, keep)
        if ends["killed"] < RESUMED:
            resumed(ran, journal, chance.choice(keep))
    print(f"{point} points, {ends}, unfinished files {left}")


def _killed(
    journal: Path, keep: list[int], compress: bool, seconds: float | None
) -> tuple[int, float]:
    """Compact it in a process that is killed so long after it begins; exit code, and how long."""
    command = [sys.executable, "-c", SCRIPT, str(journal), "yes" * compress, *map(str, keep)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=commands.environment()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        timer = Timer(seconds or commands.TIMEOUT_SECONDS, process.kill)
        timer.start()
        code = process.wait()
        timer.cancel()
        return code, time.monotonic() - began


@pytest.mark.parametrize("name", ["files", "replace"])
@pytest.mark.parametrize("compress", [False, True])
def test_files_are_rewound_from_it(tmp_path: Path, name: str, compress: bool) -> None:
    """The program changed files after the snapshot that is kept, and is gone: the history of files
    beside the journal still undoes that."""

    def make(directory: Path) -> Job:
        work = directory / "work"
        work.mkdir()
        args = kernels.FILES.small if name == "files" else ("60",)
        return Job(kernels.build(name), args, {"/work": work}, outputs=(work,))

    def between(journal: Path) -> None:
        assert compact(journal, keep=[1], compress=compress).kept == [1]
        assert journal.with_name("journal.files").is_dir()

    chance = random.Random(SEED)
    assert later(make, tmp_path, chance, points=4, between=between) == 4
