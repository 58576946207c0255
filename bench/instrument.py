"""How long a first start waits for us: instrumenting beside the engine's compiling; a second start.

The engine compiles on all cores, the transform runs on one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import guests
from wasnap.engine import Cache, Program
from wasnap.engine.code import compile_module
from wasnap.instrument import instrument
from wasnap.wasm.decode import decode

from bench.measure import Table, interleaved

NAMES = ("sqlite", "python311")


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure() -> Table:
    """Seconds; the ratio is instrumenting over compiling the plain module."""
    table = Table(
        "instrument",
        "Time to start",
        ("module", "compile plain s", "instrument s", "ratio", "compile ours s", "second start s"),
    )
    for name in NAMES:
        wasm = guests.path(name).read_bytes()
        ours = instrument(decode(wasm)).wasm
        with tempfile.TemporaryDirectory() as directory:
            cache = Cache(Path(directory) / "cache")
            Program.load(wasm, cache=cache)
            samples = interleaved(
                {
                    "plain": lambda wasm=wasm: seconds(lambda: compile_module(wasm)),
                    "transform": lambda wasm=wasm: seconds(lambda: instrument(decode(wasm))),
                    "ours": lambda ours=ours: seconds(lambda: compile_module(ours)),
                    "second": lambda wasm=wasm, cache=cache: seconds(
                        lambda: Program.load(wasm, cache=cache)
                    ),
                }
            )
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
