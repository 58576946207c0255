"""The harness as a pytest fixture: ``pytest_plugins = ["wasnap.harness.fixture"]`` in a conftest.

    def test_job(save_anywhere):
        save_anywhere(make_job, seed=3)

Scratch directories are the test's own; undisturbed runs are made once for all seeds of a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import pytest

from wasnap.harness.differential import MODES, differential
from wasnap.harness.job import Make, Reference, Report


class SaveAnywhere(Protocol):
    """``differential`` with the test's directory; raises Difference."""

    def __call__(
        self,
        make: Make,
        *,
        seed: int,
        snapshots: int = 3,
        modes: Iterable[str] = MODES,
        system_clock: bool = False,
    ) -> Report: ...


@pytest.fixture
def save_anywhere(tmp_path: Path) -> SaveAnywhere:
    """Disturbs a program at random moments, and compares; see ``differential``."""
    references: dict[bool, Reference] = {}

    def run(
        make: Make,
        *,
        seed: int,
        snapshots: int = 3,
        modes: Iterable[str] = MODES,
        system_clock: bool = False,
    ) -> Report:
        return differential(
            make,
            tmp_path / f"seed-{seed}",
            seed=seed,
            snapshots=snapshots,
            modes=modes,
            references=references,
            system_clock=system_clock,
        )

    return run
