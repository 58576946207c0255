"""Random programs, stopped everywhere: each does what it does on the plain engine.

A failure names its seed; ``python tests/instrument/test_random.py FIRST COUNT`` tries many more.
"""

from __future__ import annotations

import os
import sys

import pytest

from instrument.disturb import asked, disturbed, plain, sites, wasm
from instrument.generator import program
from wasnap.errors import UnsupportedModule
from wasnap.instrument import instrument
from wasnap.wasm.decode import decode

FAST = 30
SLOW = 60
BATCHES = 2 * int(os.environ.get("WASNAP_SEEDS", "1"))


def try_seed(seed: int, every: tuple[int, ...] = (1, 3)) -> int:
    """How often the program of this seed was stopped. Raises AssertionError with the seed."""
    module = wasm(program(seed))
    try:
        instrument(decode(module))
    except UnsupportedModule:  # an external reference is alive wherever it could be stopped
        return 0
    wanted = plain(module)
    assert wanted.results, f"seed {seed}: {wanted.trap}"
    stops = 0
    for n in every:
        for fresh in (False, True):
            found, stopped = disturbed(module, every=n, fresh=fresh)
            assert found == wanted, f"seed {seed}, every={n}, fresh={fresh}, {stopped} stops"
            stops += stopped
            found, stopped = asked(module, every=n, fresh=fresh)
            assert found == wanted, f"seed {seed}, asked every={n}, fresh={fresh}, {stopped} stops"
            stops += stopped
    return stops


def test_random_programs() -> None:
    """A few of them; they are stopped often."""
    assert sum(try_seed(seed) for seed in range(FAST)) > 10 * FAST


@pytest.mark.parametrize("seed", range(10))
def test_every_continuation_is_valid(seed: int) -> None:
    """Also of the sites that no run comes to."""
    module = wasm(program(100 + seed))
    for counted in (False, True):
        sites(module, counted=counted)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_more_random_programs(batch: int) -> None:
    """Some hundred; ``WASNAP_SEEDS`` makes them so many times more."""
    for seed in range(FAST + batch * SLOW, FAST + (batch + 1) * SLOW):
        try_seed(seed)


def main(first: int, count: int) -> None:
    """Try many, and tell of each that fails."""
    stops = failed = 0
    for seed in range(first, first + count):
        try:
            stopped = try_seed(seed)
            stops += stopped
            if stopped:
                sites(wasm(program(seed)), counted=bool(seed & 1))
        except Exception as error:
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        if (seed + 1 - first) % 50 == 0:
            print(f"{seed + 1 - first} programs: {stops} stops, {failed} failed", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
