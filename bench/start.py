"""How long a resume takes: a small program as a whole process, and a large one to its first
instruction, each beside its yardstick.

The whole process is beside an empty Python that imports wasmtime, both with bytecode of what they
import, as pip leaves it. Machines are busy; so both also tell their processor time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import wasmtime

from bench.measure import REPETITIONS, Sample, Table, users_environment
from bench.snapshot import MIB, Running, ms
from wasnap.process.process import SWITCH_SECONDS

_ASKS = """(module
  (import "wasnap" "snapshot" (func $snapshot (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $snapshot))))"""


def measure() -> Table:
    """One row for each question."""
    sys.setswitchinterval(SWITCH_SECONDS)  # as Process.run has it
    table = Table("start", "Starting and resuming", ("what", "ours", "beside", "limit"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory:
        whole(table, Path(directory))
        large(table, Path(directory))
    table.notes += [
        "Milliseconds are minima (medians in brackets), ratios those of the minima (and of the"
        " medians). A whole process: from the fork until its end was waited for; with a warm cache.",
        "To the first instruction: from a program that is loaded to a word of guest memory that the"
        " guest has changed.",
    ]
    return table


def whole(table: Table, directory: Path) -> None:
    """`wasnap resume` of a small program, and `wasnap run` of it, from the shell."""
    module, journal = directory / "m.wasm", directory / "j"
    module.write_bytes(wasmtime.wat2wasm(_ASKS))
    script = Path(sysconfig.get_path("scripts")) / "wasnap"
    us = [str(script)] if script.exists() else ["-m", "wasnap"]
    yardstick = "import wasmtime"
    sides = {
        "`wasnap resume` of a small program": [*us, "resume", str(journal)],
        "`wasnap run` of it": [*us, "run", str(module)],
        yardstick: ["-c", yardstick],
    }
    run([*us, "run", "--journal", str(journal), str(module)])
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for repetition in range(5 * REPETITIONS + 1):
        for side, command in sides.items():
            seconds = run(command)
            if repetition:  # the first writes bytecode
                taken[side].append(seconds)
    for which, what in enumerate(("", "; processor time")):
        samples = {s: [each[which] for each in both] for s, both in taken.items()}
        beside = samples.pop(yardstick)
        for side, ours in samples.items():
            ratio = min(ours) / min(beside)
            medians = statistics.median(ours) / statistics.median(beside)
            limit = f"2: {ratio:.2f} ({medians:.2f})"
            table.add(f"{side}{what}", ms(ours), f"{yardstick} {ms(beside)}", limit)


def large(table: Table, directory: Path) -> None:
    """A GiB beside 16 MiB."""
    paths = {size: directory / f"j{size}" for size in (16, 1024)}
    resumes: dict[int, list[float]] = {size: [] for size in paths}
    for size, path in paths.items():
        first = Running(size * MIB, path)
        first.fill()
        first.snapshot()
        first.close()
    for _ in range(4 * REPETITIONS):
        for size, path in paths.items():
            resumes[size].append(resumed(size * MIB, path))
    little, much = (Sample(tuple(resumes[size])) for size in (16, 1024))
    table.add(
        "resume to the first instruction: 1 GiB",
        ms(resumes[1024]),
        f"16 MiB {ms(resumes[16])}",
        f"20 ms; 1.5: {much.minimum / little.minimum:.2f} ({much.median / little.median:.2f})",
    )


def resumed(size: int, path: Path) -> float:
    """Seconds to the first instruction."""
    again = Running(size, path, resumed=True)
    again.close()
    return again.seconds_to_run


def run(command: list[str]) -> tuple[float, float]:
    """Of a Python process with this command line: seconds, and seconds of processors."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, env=users_environment()
    )
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return took, used.ru_utime + used.ru_stime
