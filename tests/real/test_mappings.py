"""Directories in memory under programs that use files in earnest: whatever is done to the process,
it ends as if nothing had been, without any help from outside.

``WASNAP_POINTS``: how many times the guest that does everything with files is stopped and resumed
from its journal (20). ``WASNAP_SEEDS``: how many times each program is killed and resumed (1).
"""

from __future__ import annotations

import os
from pathlib import Path

import kernels
import programs
import pytest

from wasnap.harness import Job, Make, chain, differential
from wasnap.host import Mapping

POINTS = int(os.environ.get("WASNAP_POINTS", "20"))
SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))
FIRST_SEED = int(os.environ.get("WASNAP_FIRST_SEED", "0"))
KINDS = ("tmp", "overlay")
OUTPUTS = {
    "sqlite": ("/w/work.db", ".read /work/work.sql"),
    "python312": ("/work/work.py", "20", "/w"),
}
"""Programs, with arguments that have them write to /w."""


def mapped(kind: str, directory: Path) -> Mapping:
    """An empty directory in memory, or over one in ``directory``."""
    if kind == "tmp":
        return Mapping.tmp()
    below = directory / "below"
    below.mkdir()
    return Mapping.overlay(str(below))


def files(kind: str, rounds: int) -> Make:
    """Everything that can be done with files, checked by the guest itself."""
    module = kernels.build("files")

    def make(directory: Path) -> Job:
        return Job(module, (str(rounds),), mappings={"/work": mapped(kind, directory)})

    return make


def program(name: str, kind: str) -> Make:
    """A program none of us wrote."""

    def make(directory: Path) -> Job:
        setting = programs.set_up(name, directory / "world")
        return Job(
            setting.module,
            OUTPUTS[name],
            setting.dirs,
            mappings={"/w": mapped(kind, directory)},
        )

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_at_once(kind: str, tmp_path: Path) -> None:
    """At each of many points it is saved, ended, and goes on from the journal."""
    done = chain(files(kind, 3 * max(1000, POINTS)), tmp_path / "files", links=POINTS)
    assert done == POINTS


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_later(kind: str, tmp_path: Path) -> None:
    """Long after the snapshot, when all files are changed or gone; and after a SIGKILL."""
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        report = differential(
            files(kind, 20_000),
            tmp_path / str(seed),
            seed=seed,
            snapshots=3,
            modes=["safepoints", "kills"],
        )
        assert report.resumed >= 3


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_killed(name: str, kind: str, tmp_path: Path) -> None:
    """SQLite in the middle of its transactions, and CPython."""
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        differential(
            program(name, kind), tmp_path / str(seed), seed=seed, snapshots=3, modes=["kills"]
        )
