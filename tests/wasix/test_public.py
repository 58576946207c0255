"""Binaries of wasmerio/wasix-integration-tests as they are, undisturbed and under the harness.

No registry has them: they are taken from ``wasix/`` in the guests' cache (see guests.py), under the
names they have in that repository, and skipped where they are not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import guests
import pytest

from wasnap.harness import Job, chain, differential, undisturbed
from wasnap.host import Mapping

SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))

pytestmark = [pytest.mark.real, pytest.mark.slow]

LONGJMP = b"""(A1)
(B1)
(A2) r=10001
(B2) r=20001
(A3) r=10002
(B3) r=20002
(A4) r=10003
"""
SCRIPT = """
fact() { if [ $1 -le 1 ]; then echo 1; else echo $(($1 * $2)); fi; }
i=0
while [ $i -lt 40 ]; do
  i=$((i+1))
  case $i in 3) continue ;; 35) break ;; esac
  fact $i $((i-1))
done
trap 'echo "USR1 at $i"' USR1
kill -USR1 $$
trap 'echo bye' EXIT
for x in a b c; do echo "[$x]"; cd /; done
eval 'y=5; echo $((y*y))'
echo "$(pwd)" || echo unreachable
"""


def binary(name: str) -> Path:
    found = guests.cache() / "wasix" / name
    if not found.exists():
        pytest.skip(f"{found} is not there")
    return found


def longjmp(_: Path) -> Job:
    return Job(binary("example-longjmp.wasm"))


def dash(directory: Path) -> Job:
    script = directory / "script"
    script.write_text(SCRIPT)
    return Job(binary("dash.wasm"), stdin=script, mappings={"/": Mapping("", "/", False, "tmp")})


def test_longjmp_prints_what_the_reference_prints(tmp_path: Path) -> None:
    """What wasmer-sdk 0.5.0 printed, and what its source says."""
    assert undisturbed(longjmp, tmp_path).outcome[:2] == (0, LONGJMP)


def test_dash(tmp_path: Path) -> None:
    """Functions, loops, traps, a signal to itself; a subshell needs fork, which is refused."""
    found = undisturbed(dash, tmp_path).outcome
    text = found.stdout.decode().splitlines()
    assert text[:2] == ["1", "2"]
    assert text[32:] == [str(34 * 33), "USR1 at 35", "[a]", "[b]", "[c]", "25", "bye"]
    assert found.code == 2


@pytest.mark.parametrize("make", [longjmp, dash])
def test_disturbed(make: Callable[[Path], Job], tmp_path: Path) -> None:
    for seed in range(SEEDS):
        differential(make, tmp_path / f"d{seed}", seed=seed, snapshots=2)
    chain(make, tmp_path / "chain", links=6)
