"""What snapshots write, and what it takes: growth, memory, throughput; and how what was written in
many places is resumed. What the guest notices of it is snapshot.py's.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import REPETITIONS, Sample, Table, interleaved
from bench.snapshot import GIB, MIB, Running, comparing, copy_seconds, ms
from wasnap.journal import PAGE_SIZE
from wasnap.journal.tools.compact import compact
from wasnap.process.process import SWITCH_SECONDS

SCATTERED = 9
"""Snapshots of 10 MiB each, before a resume."""


def measure() -> Table:
    """Some rows for each question."""
    sys.setswitchinterval(SWITCH_SECONDS)  # as Process.run has it
    table = Table("journal", "What snapshots write", ("what", "ours", "beside", "limit"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory:
        for part in (growth, memory, throughput, scattered):
            part(table, Path(directory) / part.__name__)
    table.notes += [
        "Growth: bytes by which the journal grew, over the bytes of pages that were written to, are"
        " not zero and not as in the journal (the page in which the guest counts is one of them).",
        "Peak memory: the kernel's peak of this process's resident pages (VmHWM, reset through"
        " /proc/self/clear_refs) less those before (VmRSS); pages of mapped files count.",
        "Throughput: from the wish to the commit, which is announced when all is on the device; dd:"
        " `if=/dev/zero bs=1M count=1024 conv=fdatasync` to a new file beside the journal. They take"
        " turns; medians (minima in brackets). The ratio is that of the medians.",
        f"Resume: to the first instruction, warm cache, minima (medians in brackets); after {SCATTERED}"
        " snapshots of 2,560 pages each, anywhere in 1 GiB.",
        f"CRIU: {criu()}.",
    ]
    return table


# -- growth -----------------------------------------------------------------------------------


def growth(table: Table, path: Path) -> None:
    """Of the journal, in proportion to what is new."""

    def row(what: str, grown: int, pages: int, *, small: bool = False) -> None:
        wanted = pages * PAGE_SIZE
        extra = f"{(grown - wanted) / 1024:.1f} KiB more" if small else ""
        table.add(what, f"{grown / wanted:.4f}", extra, "1.02")

    running = Running(256 * MIB, path)
    running.fill()
    whole = (256 - 1) * MIB // PAGE_SIZE + 1  # the first MiB is zero, but for the counter
    with _written_to(running):
        row(
            "growth: first snapshot of 256 MiB that are written to all the time",
            _grown(running),
            whole,
        )
    running.snapshot()  # what came after that one
    running.dirty(10 * MIB)
    row("  10 MiB, single pages", _grown(running), 10 * MIB // PAGE_SIZE + 1)
    running.memory.write(32 * MIB, os.urandom(10 * MIB))
    row("  10 MiB in one piece", _grown(running), 10 * MIB // PAGE_SIZE + 1)
    running.memory.write(64 * MIB, os.urandom(10 * MIB))
    running.memory.write(96 * MIB, bytes(10 * MIB))
    same = bytes(running.memory.view(128 * MIB, 10 * MIB))
    running.memory.write(128 * MIB, same)
    row(
        "  10 MiB new, 10 MiB zero now, 10 MiB written as they were",
        _grown(running),
        10 * MIB // PAGE_SIZE + 1,
    )
    running.dirty(64 * 1024)
    row("  64 KiB, single pages", _grown(running), 17, small=True)
    row("  nothing but the counter", _grown(running), 1, small=True)
    running.close()
    path.unlink()


def _grown(running: Running) -> int:
    before = running.journal.size
    running.snapshot()
    return running.journal.size - before


@contextmanager
def _written_to(running: Running) -> Iterator[None]:
    """Meanwhile random pages are written to, quicker than a disk takes them."""
    over = threading.Event()

    def write() -> None:
        pages = range(256, running.memory.size // PAGE_SIZE)
        while not over.wait(0.001):
            for page in random.choices(pages, k=200):
                running.memory.set_u64(page * PAGE_SIZE + 8, random.getrandbits(63) | 1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- memory -----------------------------------------------------------------------------------


def memory(table: Table, path: Path) -> None:
    """Of this process, beyond what the guest has."""

    def row(what: str, running: Running, limit: str = "100 MiB") -> None:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        running.snapshot()
        table.add(what, f"{(_status('VmHWM') - before) / MIB:.0f} MiB", "", limit)

    running = Running(GIB, path)
    running.fill()
    row("peak memory above before: first snapshot of 1 GiB", running)
    for page in range(256, GIB // PAGE_SIZE):
        running.memory.set_u64(page * PAGE_SIZE + 8, page)
    row("  1 GiB again, of which every page has changed", running)
    running.dirty(10 * MIB)
    row("  10 MiB of 1 GiB changed", running)
    running.close()
    path.unlink()
    with comparing():
        running = Running(GIB, path)
        running.fill()
        row("  where the kernel does not tell: first snapshot of 1 GiB", running, "")
        running.close()
        path.unlink()


def _status(name: str) -> int:
    """Bytes, of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


# -- throughput -------------------------------------------------------------------------------


def throughput(table: Table, path: Path) -> None:
    """Of a snapshot of 1 GiB, beside dd."""

    def ours() -> float:
        running = Running(GIB, path)
        running.fill()
        _, seconds = running.snapshot()
        running.close()
        path.unlink()
        return seconds

    samples = interleaved({"ours": ours, "dd": lambda: dd(path)})

    def rate(sample: Sample) -> str:
        return f"{GIB / sample.median / 1e6:.0f} ({GIB / sample.minimum / 1e6:.0f}) MB/s"

    ratio = samples["dd"].median / samples["ours"].median
    table.add(
        "throughput: first snapshot of 1 GiB",
        rate(samples["ours"]),
        f"dd {rate(samples['dd'])}",
        f"70 %: {100 * ratio:.0f} %",
    )


def dd(path: Path) -> float:
    """Seconds: a GiB to a new file, synced once."""
    command = ["dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=1024", "conv=fdatasync"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - began
    path.unlink()
    return took


# -- resume -----------------------------------------------------------------------------------


def scattered(table: Table, path: Path) -> None:
    """A resume after changes here and there."""
    running = Running(GIB, path)
    running.fill()
    running.snapshot()
    one = path.with_name("one")
    shutil.copy(path, one)
    for _ in range(SCATTERED):
        running.dirty(10 * MIB)
        running.snapshot()
    running.close()

    def resume(journal: Path) -> Callable[[], float]:
        def seconds() -> float:
            again = Running(GIB, journal, resumed=True)
            again.close()
            return again.seconds_to_run

        return seconds

    small = path.with_name("small")
    compact(path, output=small)
    sides = {"one": resume(one), "many": resume(path), "small": resume(small)}
    for side in sides.values():
        side()  # checked, and in the cache
    samples = interleaved(sides, 2 * REPETITIONS)
    running = Running(GIB, one, resumed=True)
    running.fill()
    copy = [copy_seconds(running.memory, GIB) for _ in range(REPETITIONS)]
    running.close()
    table.add(
        f"resume of 1 GiB after {SCATTERED} scattered snapshots",
        ms([*samples["many"].seconds]),
        f"after the first one {ms([*samples['one'].seconds])}; "
        f"after `compact` {ms([*samples['small'].seconds])}; copying all {ms(copy)}",
        "20 ms",
    )


def criu() -> str:
    """Whether there is one that could be measured beside us."""
    if not shutil.which("criu"):
        return "not measured: not on this machine"
    done = subprocess.run(["criu", "check"], capture_output=True, text=True)
    if not done.returncode:
        return "runs on this machine, and is not measured here"
    version = subprocess.run(["criu", "--version"], capture_output=True, text=True).stdout.split()[
        1
    ]
    why = next(line for line in done.stderr.splitlines() if "exited, status" not in line)
    return (
        f"not measured: Debian's {version} does not run on Linux {os.uname().release}: `criu check`"
        f" ends with `{why}`"
    )
