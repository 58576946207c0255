"""Kernels of our own, stopped at random safepoints, and at every one on small sizes.

Each stop ends the instance, and a new one goes on with what was captured. ``WASNAP_SEEDS``: how
many times each kernel is run at random (2), stopped ``STOPS`` times in each.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import kernels
import pytest

from wasnap.harness import Job, everywhere

SEEDS = int(os.environ.get("WASNAP_SEEDS", "2"))
FIRST_SEED = int(os.environ.get("WASNAP_FIRST_SEED", "0"))
STOPS = 30
FRESH_MAX = 100
"""New instances in one run, at most about: each copies all memory."""


def maker(name: str, args: tuple[str, ...]) -> Job:
    return Job(kernels.build(name), args)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True], ids=["in place", "in new instances"])
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_every_safepoint(name: str, fresh: bool, tmp_path: Path) -> None:
    """A small run, stopped wherever it can be."""
    job = maker(name, kernels.KERNELS[name].small)
    never = everywhere(lambda _: job, tmp_path / "never", every=0)
    step = max(1, never.safepoints // FRESH_MAX) if fresh else 1
    always = everywhere(lambda _: job, tmp_path / "always", every=step, fresh=fresh)
    assert always.outcome == never.outcome
    assert always.stops == never.safepoints // step


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_random_safepoints(name: str, tmp_path: Path) -> None:
    """A big run, stopped at random moments."""
    job = maker(name, kernels.KERNELS[name].big)
    never = everywhere(lambda _: job, tmp_path / "never", every=0)
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        chance = random.Random(seed)
        points = sorted(chance.randint(1, never.safepoints) for _ in range(STOPS))
        steps = [b - a for a, b in zip([0, *points], points, strict=False) if b > a]
        found = everywhere(lambda _: job, tmp_path / str(seed), every=steps, fresh=True)
        assert found.outcome == never.outcome, f"seed {seed}"
        assert found.stops == len(steps), f"seed {seed}"
