"""The specification's own tests, stopped at every safepoint: the transform changes no result.

They are not part of this repository: ``WASNAP_SPEC`` names a directory that ``tests/wast.py`` made.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.script import Script

SPEC = Path(os.environ.get("WASNAP_SPEC", "nowhere"))

EVERY = {"return_call": 1009, "return_call_indirect": 1009, "memory_fill64": 97, "call_indirect": 7}
"""Scripts with millions of safepoints: every so many only."""

LINKING = {"linking"}
"""About what modules share, which an instance of the harness does not."""

ALIASES = {("try_table", "line 329")}
"""A tag imported twice under two names, which is one tag there and two here."""

SKIPPED = (
    "garbage collection",
    "typed function references",
    "stack switching",
    "with another module",
    "what could not be run would have changed it",
    "throws into another module",
    "does not run",
    "spectest.",
    "passes a reference of the host's",
    "does not assemble",
    "shared memory",
    "custom page size",
    "legacy exceptions",
    "external references",
    "imports from no module",
)
"""All that may keep a command from being run."""


def scripts() -> list[str]:
    return sorted(p.parent.name for p in SPEC.glob("*/*.json") if p.parent.name not in LINKING)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not SPEC.is_dir(), reason="WASNAP_SPEC names no converted testsuite")
@pytest.mark.parametrize("name", scripts())
def test_script(name: str) -> None:
    """Every result, every trap and every global is as the script says."""
    script = Script(SPEC / name / f"{name}.json", stop_every=EVERY.get(name, 1))
    wrong = [each for each in script.run() if (name, each.split(":")[0]) not in ALIASES]
    assert wrong == []
    for reason in script.skipped:
        assert any(known in reason for known in SKIPPED), reason


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not SPEC.is_dir(), reason="WASNAP_SPEC names no converted testsuite")
@pytest.mark.parametrize(
    "name", ["block", "br", "call", "fac", "global", "loop", "switch", "table_set", "try_table"]
)
def test_script_in_new_instances(name: str) -> None:
    """The same where each stop ends the instance, and a new one goes on with what was captured."""
    script = Script(SPEC / name / f"{name}.json", stop_every=13, fresh=True)
    wrong = [each for each in script.run() if (name, each.split(":")[0]) not in ALIASES]
    assert wrong == []
