"""A guest that does everything with files at once, stopped at many safepoints of a small run, and
at random ones of a larger one.

It checks what it reads against a model of its own, so what is left for us is to compare output.
"""

from __future__ import annotations

import random
from pathlib import Path

import kernels
import pytest

from wasnap.harness import Job, everywhere


def maker(args: tuple[str, ...], directory: Path) -> Job:
    work = directory / "work"
    work.mkdir()
    return Job(kernels.build("files"), args, {"/work": work})


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "big"])
def test_stopped_and_continued(size: str, tmp_path: Path) -> None:
    """With the same host all the time: stopping disturbs nothing."""
    args: tuple[str, ...] = getattr(kernels.FILES, size)
    never = everywhere(lambda d: maker(args, d), tmp_path / "never", every=0)
    assert never.outcome.code == 0
    chance = random.Random(0)
    stops = 1500 if size == "small" else 100
    steps = [chance.randint(1, never.safepoints // stops) for _ in range(stops)]
    found = everywhere(
        lambda d: maker(args, d), tmp_path / "stopped", every=steps, fresh=size == "big"
    )
    assert found.outcome == never.outcome
    assert found.stops == stops
