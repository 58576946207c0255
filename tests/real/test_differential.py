"""Programs none of us wrote, saved at random moments and resumed: nothing they do may change.

``WASNAP_SEEDS``: how many seeds each program gets (1). A seed decides by what it is disturbed
(safepoints, times, kills in turn) and when, so each failure repeats with its number.
"""

from __future__ import annotations

import os
from pathlib import Path

import programs
import pytest

from wasnap.harness import MODES, Job, Make, Reference, chain, differential

SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))
FIRST_SEED = int(os.environ.get("WASNAP_FIRST_SEED", "0"))
SNAPSHOTS = 3

SYSTEM_CLOCK = {"go"}
"""Their results do not depend on the clock, but they wait for it."""

IMPORTS = {"micropython"}
"""They import what only their makers' embedder provides, and get zeros from it."""


def maker(name: str) -> Make:
    """Sets the program up in a directory."""

    def make(directory: Path) -> Job:
        setting = programs.set_up(name, directory / "world")
        return Job(
            setting.module,
            setting.args,
            setting.dirs,
            setting.outputs,
            unknown_imports="zero" if name in IMPORTS else "refuse",
        )

    return make


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_program(name: str, tmp_path: Path) -> None:
    """Output, exit code and written files are those of an undisturbed run."""

    make = maker(name)
    # One seed disturbs programs in all modes; those of one guest in the same, so that it is compiled once.
    guest = programs.PROGRAMS[name].guest
    number = list({program.guest: None for program in programs.PROGRAMS.values()}).index(guest)
    references: dict[bool, Reference] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        differential(
            make,
            tmp_path / str(seed),
            seed=seed,
            snapshots=SNAPSHOTS,
            modes=[MODES[(seed + number) % len(MODES)]],
            references=references,
            system_clock=name in SYSTEM_CLOCK,
        )
    expected = programs.PROGRAMS[name].last_line
    for reference in references.values():
        lines = reference.outcome.stdout.decode().strip().splitlines()
        assert (lines[-1] if lines else "") == expected
        assert reference.outcome.code == 0


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("commands", [False, True], ids=["instances", "commands"])
@pytest.mark.parametrize("name", ["python312", "quickjs", "sqlite", "go"])
def test_chain(name: str, commands: bool, tmp_path: Path) -> None:
    """Saved and resumed fifty times in a few seconds; by commands each in a process of its own."""
    done = chain(
        maker(name),
        tmp_path / "work",
        links=50,
        commands=commands,
        system_clock=name in SYSTEM_CLOCK,
    )
    assert done >= (30 if commands else 49)
