"""Programs that change files in place, killed on a live directory and resumed in it.

``WASNAP_POINTS``: how many kills, or points, each gets (a few; 200 in a campaign).
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import kernels
import programs
import pytest
from guests import path as guest_path

from wasnap.harness import Job, Make, Reference, chain, differential, later

POINTS = int(os.environ.get("WASNAP_POINTS", "0"))
SEED = int(os.environ.get("WASNAP_FIRST_SEED", "0"))
KILLS = 4
"""In one run; more of them would leave a run no time to get anywhere."""


def kernel(name: str, *args: str) -> Make:
    def make(directory: Path) -> Job:
        work = directory / "work"
        work.mkdir()
        return Job(kernels.build(name), args, {"/work": work}, outputs=(work,))

    return make


def sqlite(directory: Path) -> Job:
    work = directory / "work"
    work.mkdir()
    sql = Path(programs.__file__).with_name("transactions.sql")
    (work / sql.name).write_bytes(sql.read_bytes())
    args = ("/work/work.db", f".read /work/{sql.name}")
    return Job(guest_path("sqlite"), args, {"/work": work}, outputs=(work,))


def stdlib(directory: Path) -> Job:
    (directory / "code").mkdir()
    (directory / "data").mkdir()
    source = Path(programs.__file__).with_name("stdlib.py")
    (directory / "code" / "stdlib.py").write_bytes(source.read_bytes())
    dirs = {"/code": directory / "code", "/data": directory / "data"}
    args = ("/code/stdlib.py", "6", "/data")
    env = {"PYTHONHASHSEED": "0", "TMPDIR": "/data"}
    return Job(guest_path("python312"), args, dirs, outputs=(directory / "data",), env=env)


def killed(make: Make, directory: Path) -> None:
    """As many runs as it takes."""
    references: dict[bool, Reference] = {}
    for seed in range(SEED, SEED + max(1, POINTS // KILLS)):
        differential(
            make, directory, seed=seed, snapshots=KILLS, modes=["kills"], references=references
        )


@pytest.mark.slow
def test_killed_with_sigkill(tmp_path: Path) -> None:
    """A program that renames over its own files: the directory is the undisturbed one."""
    killed(kernel("replace", "6000"), tmp_path)


@pytest.mark.slow
@pytest.mark.real
def test_sqlite_killed_with_sigkill(tmp_path: Path) -> None:
    """Transactions, ROLLBACK, savepoints, VACUUM: the database is the undisturbed one."""
    killed(sqlite, tmp_path)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("mode", ["safepoints", "kills"])
def test_the_standard_library(tmp_path: Path, mode: str) -> None:
    """CPython's tempfile, zipfile, shutil, os.walk (and sqlite3, if it is there)."""
    differential(stdlib, tmp_path, seed=SEED, snapshots=POINTS or 3, modes=[mode])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["files", "replace"])
def test_resumed_later(tmp_path: Path, name: str) -> None:
    """It goes on for a while after a snapshot and ends; the snapshot is resumed in its directory."""
    args = kernels.FILES.small if name == "files" else ("60",)
    chance = random.Random(SEED)
    assert later(kernel(name, *args), tmp_path, chance, points=POINTS or 12) >= (POINTS or 12)


@pytest.mark.slow
def test_resumed_at_once(tmp_path: Path) -> None:
    """At each of many points it is saved, ended, and goes on from the journal in its directory."""
    links = POINTS or 20
    assert chain(kernel("files", "3000"), tmp_path / "files", links=links) == links
