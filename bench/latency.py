"""From the wish to stop to the last frame captured, in guests that compute.

A guest is started, stopped at a random moment, and thrown away; so no stop waits for the code by
which a guest goes on from an earlier one, which is compiled when it is first needed.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import guests
import kernels
import programs

from bench.measure import Sample, Table
from wasnap.engine import Guest, Program, Stopped
from wasnap.host import Host, HostConfig, Mapping

KERNELS = ("recursion", "matrix", "sieve", "interpreter", "sort", "trees", "deep", "jumps")
PROGRAMS = ("python311", "quickjs", "sqlite", "ruby", "php")
STOPS = 25
_SILENT = os.open(os.devnull, os.O_RDWR)


def measure() -> Table:
    """Milliseconds."""
    table = Table(
        "latency",
        "Stop latency",
        ("guest", "stops", "median ms", "maximum ms", "frames, at most"),
    )
    for name in KERNELS:
        row(table, name, kernels.build(name), kernels.KERNELS[name].big, {})
    with tempfile.TemporaryDirectory() as directory:
        for name in PROGRAMS:
            setting = programs.set_up(name, Path(directory) / name)
            module = guests.path(programs.PROGRAMS[name].guest)
            row(table, name, module, setting.args, setting.dirs)
    table.notes += [
        "From `Guest.stop()` until `Guest.capture()` has returned: the guest came to its next "
        "safepoint, unwound, and its frames are plain data. Memory is not in this figure."
    ]
    return table


def row(
    table: Table, name: str, module: Path, args: tuple[str, ...], dirs: dict[str, Path]
) -> None:
    """Stop one guest at random moments, a fresh one each time."""
    noise = random.Random(name)
    program = Program.load(module.read_bytes())
    stops = [stop(program, args, dirs, noise.uniform(0.02, 0.8)) for _ in range(STOPS)]
    taken = [stopped for stopped in stops if stopped is not None]
    if not taken:
        table.add(name, "0", "–", "–", "–")
        return
    sample = Sample(tuple(stopped.seconds for stopped in taken))
    median, maximum = 1e3 * sample.median, 1e3 * sample.maximum
    frames = max(stopped.frames for stopped in taken)
    table.add(name, str(len(taken)), f"{median:.2f}", f"{maximum:.2f}", str(frames))


class Stop(NamedTuple):
    """One stop: how long it took, and how deep the guest was."""

    seconds: float
    frames: int


def stop(
    program: Program, args: tuple[str, ...], dirs: dict[str, Path], after_seconds: float
) -> Stop | None:
    """Start a guest and stop it after a while; None if it ended before."""
    mapped = tuple(Mapping(os.fspath(host), guest) for guest, host in dirs.items())
    host = Host(HostConfig(("guest", *args), {}, mapped, _SILENT, _SILENT, _SILENT))
    try:
        with Guest(program, host.provider(program.info.imports)) as guest:
            guest.start()
            if guest.wait(after_seconds) is not None:
                return None
            begun = time.perf_counter()
            guest.stop()
            if not isinstance(guest.wait(), Stopped):
                return None
            guest.capture()
            return Stop(time.perf_counter() - begun, len(guest.frames()))
    finally:
        host.close()
