"""Two guest threads that compute, beside one that does the work of both; and what a thread costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import threads

from bench.measure import Sample, Table, interleaved
from wasnap.engine import Exited, Finished, Guest, Program, Stopped
from wasnap.host import Host, HostConfig

SIZE = 400_000_000
CHURN = 400
STOPS = 200
_SILENT = os.open(os.devnull, os.O_RDWR)


def measure() -> Table:
    """Seconds of the wall clock, and milliseconds."""
    module = threads.zig()
    table = Table("threads", "Guest threads", ("what", "median", "minimum"))
    sides = {
        "one thread": lambda: run(module, "halves", SIZE, 1),
        "two threads": lambda: run(module, "halves", SIZE, 2),
        "two processes, half each": lambda: processes(module, SIZE // 2, 2),
        "one process": lambda: processes(module, SIZE, 1),
    }
    one, two, halves, whole = (found := interleaved(sides)).values()
    for name, sample in found.items():
        table.add(f"two computations in {name}, s", f"{sample.median:.2f}", f"{sample.minimum:.2f}")
    for what, both, alone in (("threads", two, one), ("processes", halves, whole)):
        table.add(
            f"two {what} over one",
            f"{both.median / alone.median:.2f}",
            f"{both.minimum / alone.minimum:.2f}",
        )
    churned = interleaved({"": lambda: run(module, "churn", CHURN, 4)})[""]
    table.add(
        "start and join a thread, ms",
        *(f"{1000 * t / CHURN:.2f}" for t in (churned.median, churned.minimum)),
    )
    for kind, n in (("park", 1), ("park", 8), ("park", 16)):
        sample = stops(module, kind, n)
        table.add(
            f"stop and capture {n + 1} threads, ms",
            f"{1000 * sample.median:.2f}",
            f"{1000 * sample.minimum:.2f}",
        )
    table.notes += [
        "What two threads can gain is what two processes gain at that time: 0.5 on two idle cores, 1 "
        "on a machine that is busy anyway.",
        "Stopping: from `Guest.stop()` until `Guest.capture()` has returned; all but one thread wait.",
    ]
    return table


def _guest(module: Path, args: tuple[str, ...]) -> tuple[Guest, Host]:
    program = Program.load(module.read_bytes())
    host = Host(HostConfig(args=("guests", *args), stdin=None, stdout=_SILENT, stderr=None))
    return Guest(program, lambda module, name: host.function(module, name)), host


def run(module: Path, kind: str, size: int, n: int) -> float:
    """Seconds that one run takes."""
    guest, host = _guest(module, (kind, str(size), str(n)))
    begun = time.perf_counter()
    guest.start()
    ended = guest.wait()
    seconds = time.perf_counter() - begun
    assert ended in (Exited(0), Finished(())), ended
    guest.close()
    host.close()
    return seconds


def processes(module: Path, size: int, n: int) -> float:
    """Seconds until so many commands at once have ended, each with one thread."""
    command = [sys.executable, "-m", "wasnap", "run", str(module), "halves", str(size), "1"]
    begun = time.perf_counter()
    running = [subprocess.Popen(command, stdout=_SILENT) for _ in range(n)]
    assert [process.wait() for process in running] == [0] * n
    return time.perf_counter() - begun


def stops(module: Path, kind: str, n: int) -> Sample:
    """Stop a guest of n threads and its main thread again and again."""
    guest, host = _guest(module, (kind, str(4_000_000_000), str(n)))
    guest.start()
    while len(guest.threads) <= n:
        guest.wait(0.01)
    taken = []
    for _ in range(STOPS):
        guest.wait(0.002)
        begun = time.perf_counter()
        guest.stop()
        stopped = guest.wait()
        guest.capture()
        taken.append(time.perf_counter() - begun)
        assert stopped == Stopped()
        guest.proceed()
    guest.close()
    host.close()
    return Sample(tuple(taken))
