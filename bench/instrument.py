"""How long a first start waits for us: instrumenting beside the engine's compiling; a second start.

The engine compiles on all cores, the transform runs on one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import guests

from bench.measure import Table, interleaved
from wasnap.engine import Cache, Program
from wasnap.engine.code import compile_module
from wasnap.instrument import instrument
from wasnap.wasm.decode import decode

NAMES = ("sqlite", "python311")


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def sides(wasm: bytes, cache: Cache) -> dict[str, Callable[[], float]]:
    """What is timed for one module; afterwards the cache holds its program."""
    ours = instrument(decode(wasm)).wasm
    Program.load(wasm, cache=cache)
    return {
        "plain": lambda: seconds(lambda: compile_module(wasm)),
        "transform": lambda: seconds(lambda: instrument(decode(wasm))),
        "ours": lambda: seconds(lambda: compile_module(ours)),
        "second": lambda: seconds(lambda: Program.load(wasm, cache=cache)),
    }


def measure() -> Table:
    """Seconds; the ratio is instrumenting over compiling the plain module."""
    table = Table(
        "instrument",
        "Time to start",
        ("module", "compile plain s", "instrument s", "ratio", "compile ours s", "second start s"),
    )
    for name in NAMES:
        wasm = guests.path(name).read_bytes()
        with tempfile.TemporaryDirectory() as directory:
            samples = interleaved(sides(wasm, Cache(Path(directory) / "cache")))
        minima = {side: sample.minimum for side, sample in samples.items()}
        table.add(
            name,
            f"{minima['plain']:.2f}",
            f"{minima['transform']:.2f}",
            f"{minima['transform'] / minima['plain']:.2f}",
            f"{minima['ours']:.2f}",
            f"{minima['second']:.3f}",
        )
    table.notes += ["Minima. The second start finds instrumented and compiled code in the cache."]
    return table
