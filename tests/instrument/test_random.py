"""Random programs, stopped everywhere: each does what it does on the plain engine.

A failure names its seed; ``python tests/instrument/test_random.py FIRST COUNT`` tries many more.
"""

from __future__ import annotations

import sys

import pytest

from instrument.disturb import disturbed, plain, sites, wasm
from instrument.generator import program

FAST = 30
SLOW = 300


def try_seed(seed: int, every: tuple[int, ...] = (1, 3)) -> int:
    """How often the program of this seed was stopped. Raises AssertionError with the seed."""
    module = wasm(program(seed))
    wanted = plain(module)
    assert wanted.results, f"seed {seed}: {wanted.trap}"
    stops = 0
    for n in every:
        for fresh in (False, True):
            found, stopped = disturbed(module, every=n, fresh=fresh)
            assert found == wanted, f"seed {seed}, every={n}, fresh={fresh}, {stopped} stops"
            stops += stopped
    return stops


def test_random_programs() -> None:
    """A few of them; they are stopped often."""
    assert sum(try_seed(seed) for seed in range(FAST)) > 10 * FAST


@pytest.mark.parametrize("seed", range(10))
def test_every_continuation_is_valid(seed: int) -> None:
    """Also of the sites that no run comes to."""
    module = wasm(program(seed))
    for counted in (False, True):
        sites(module, counted=counted)


@pytest.mark.slow
def test_more_random_programs() -> None:
    """Some hundred."""
    for seed in range(FAST, FAST + SLOW):
        try_seed(seed)


def main(first: int, count: int) -> None:
    """Try many, and tell of each that fails."""
    stops = failed = 0
    for seed in range(first, first + count):
        try:
            sites(wasm(program(seed)), counted=bool(seed & 1))
            stops += try_seed(seed)
        except Exception as error:
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    print(f"{count} programs from seed {first} on: {stops} stops, {failed} failed")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
