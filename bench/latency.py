"""From the wish to stop to the last frame captured, in guests that compute.

A guest is stopped at random moments and goes on, as often as its run allows. Continuations come
from the cache from the second time on; stopping does not need them.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

import guests
import kernels
import programs

from bench.measure import Sample, Table
from wasnap.engine import Exited, Finished, Guest, Program, Stopped
from wasnap.host import Host, HostConfig, Mapping

KERNELS = ("recursion", "matrix", "sieve", "interpreter", "sort", "trees", "deep", "jumps")
PROGRAMS = ("python311", "quickjs", "sqlite", "ruby", "php")
STOPS_MAX = 60
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
    """Stop one guest at random moments until it ends."""
    noise = random.Random(name)
    program = Program.load(module.read_bytes())
    mapped = tuple(Mapping(os.fspath(host), guest) for guest, host in dirs.items())
    host = Host(HostConfig((name, *args), {}, mapped, _SILENT, _SILENT, _SILENT))
    types = {(i.module, i.name): (i.params, i.results) for i in program.info.imports}
    taken: list[float] = []
    frames = 0
    with Guest(program, lambda m, n: host.function(m, n, types[m, n])) as guest:
        guest.start()
        while len(taken) < STOPS_MAX:
            event = guest.wait(noise.uniform(0.001, 0.05))
            if event is None:
                begun = time.perf_counter()
                guest.stop()
                event = guest.wait()
                if isinstance(event, Stopped):
                    guest.capture()
                    taken.append(time.perf_counter() - begun)
                    frames = max(frames, len(guest.frames()))
                    guest.proceed()
                    continue
            if isinstance(event, Finished | Exited):
                break
            raise RuntimeError(f"{name}: {event}")
    host.close()
    if not taken:
        table.add(name, "0", "–", "–", "–")
        return
    sample = Sample(tuple(taken))
    median, maximum = 1e3 * sample.median, 1e3 * sample.maximum
    table.add(name, str(len(taken)), f"{median:.2f}", f"{maximum:.2f}", str(frames))
