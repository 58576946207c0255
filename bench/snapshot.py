"""What a guest notices of a snapshot, beside what else one would have, in the same run. What is
written is journal.py's, resumes are start.py's.

A guest spins on a counter; its memory is written to from outside, which the kernel tracks like any
other write. A pause is from the wish to stop until the counter goes on.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wasmtime

from bench.measure import REPETITIONS, Sample, Table
from wasnap.engine import Executable, Family, GuestMemory, Program, Stopped
from wasnap.engine.tracking import COMPARE
from wasnap.host import Host, HostConfig
from wasnap.journal import PAGE_SIZE, Journal, StartRecord
from wasnap.process.process import SWITCH_SECONDS
from wasnap.snapshot import Phase, Saver, World, restore

MIB = 1 << 20
GIB = 1 << 30
_PATTERN = os.urandom(MIB)


def guest(size: int) -> bytes:
    """A module whose memory has so many bytes, and which counts in the first of them."""
    pages = size // 65536
    return bytes(
        wasmtime.wat2wasm(f"""(module (memory (export "memory") {pages})
          (func (export "_start") (loop $again
            (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 1)))
            (br $again))))""")
    )


class Running:
    """A running guest with a journal."""

    def __init__(self, size: int, path: Path, *, resumed: bool = False) -> None:
        wasm = guest(size)
        program = Program.load(wasm)
        self.host = Host(HostConfig(("a",), {}, (), None, None, None))
        began = time.perf_counter()
        self.guest = Family(
            Executable(program, lambda: wasm, b""),
            lambda module, name: self.host.function(module, name),
            self.host.processes,
        )
        self.world = World(self.guest, self.host)
        parent = None
        if resumed:
            self.journal = Journal.open_for_writing(path)
            snapshot = self.journal.newest()
            restore(self.world, self.journal, snapshot)
            parent = snapshot.info.id
            self.guest.proceed()
        else:
            start = StartRecord(
                wasnap="0", transform=1, module_sha256=bytes(32), module_name="a", created_ns=1
            )
            self.journal = Journal.create(path, wasm, start, overwrite=True)
            self.guest.start()
        self.saver = Saver(self.world, self.journal, parent, self.guest.nudge)
        (self.memory,) = self.guest.first.memories
        self.until_it_runs(self.memory)
        self.seconds_to_run = time.perf_counter() - began

    def until_it_runs(self, memory: GuestMemory) -> None:
        before = memory.u64(0)
        while memory.u64(0) == before:
            time.sleep(20e-6)  # the guest's thread needs the interpreter to get going

    def snapshot(self) -> tuple[float, float]:
        """Seconds: the pause, and from the wish to the commit."""
        began = time.perf_counter()
        self.saver.prepare("timer", "")
        while self.saver.phase is Phase.PREPARING:
            self.guest.wait()
            outcome = self.saver.poll()
            assert outcome is None, outcome
        stop = time.perf_counter()
        self.guest.stop()
        while not isinstance(self.guest.wait(), Stopped):
            pass
        self.saver.capture("timer", "")
        self.guest.proceed()
        self.until_it_runs(self.memory)
        paused = time.perf_counter() - stop
        outcome = self.saver.wait()
        assert outcome.snapshot is not None, outcome
        return paused, time.perf_counter() - began

    def dirty(self, n_bytes: int) -> None:
        """Write to so many pages anywhere."""
        pages = range(1, self.memory.size // PAGE_SIZE)
        for page in random.sample(pages, n_bytes // PAGE_SIZE):
            self.memory.set_u64(page * PAGE_SIZE + 8, random.getrandbits(63) | 1)

    def fill(self) -> None:
        """Make all of it resident."""
        for at in range(MIB, self.memory.size, MIB):
            ctypes.memmove(self.memory.address + at, _PATTERN, MIB)

    def close(self) -> None:
        assert self.saver.close()
        self.guest.close()
        self.world.close()
        self.host.close()
        self.journal.close()


def measure() -> Table:
    """One row for each question."""
    sys.setswitchinterval(SWITCH_SECONDS)  # as Process.run has it
    table = Table("snapshot", "Snapshots", ("what", "ours", "beside", "limit"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory:
        path = Path(directory) / "journal"
        large(table, path)
        small(table, Path(directory) / "small")
        with comparing():
            compared(table, Path(directory) / "compared")
    table.notes += [
        "Milliseconds are minima (medians in brackets). Pauses: from the wish to stop until the guest"
        " goes on; what is written is on the device when the commit is announced.",
        "Hashing is zlib's CRC-32 over each 512 bytes, called from Python, measured on 16 MiB and scaled.",
    ]
    return table


def large(table: Table, path: Path) -> None:
    """1 GiB."""
    firsts = []
    for _ in range(REPETITIONS):
        running = Running(GIB, path)
        running.fill()
        firsts.append(running.snapshot()[0])
        running.close()
    table.add("first snapshot of 1 GiB: pause", ms(firsts), "", "50 ms")
    running = Running(GIB, path, resumed=True)
    pauses, copies, alls = [], [], []
    for _ in range(3 * REPETITIONS):
        running.dirty(10 * MIB)
        pauses.append(running.snapshot()[0])
        copies.append(copy_seconds(running.memory, 10 * MIB))
        alls.append(copy_seconds(running.memory, GIB))
    copy = Sample(tuple(copies))
    table.add(
        "10 MiB of 1 GiB changed: pause",
        ms(pauses),
        f"copying 10 MiB {ms(copies)}",
        f"{3e3 * copy.median + 5:.1f} ms",
    )
    table.add("  beside copying all", ms(pauses), ms(alls), "")
    table.add("  beside hashing all", ms(pauses), f"{1e3 * hash_seconds(running.memory):.0f}", "")
    running.close()


def small(table: Table, path: Path) -> None:
    """64 MiB."""
    running = Running(64 * MIB, path)
    running.fill()
    running.snapshot()
    pauses = []
    for _ in range(4 * REPETITIONS):
        running.dirty(64 * 1024)
        pauses.append(running.snapshot()[0])
    table.add("64 KiB of 64 MiB changed: pause", ms(pauses), "", "2 ms")
    running.close()


def compared(table: Table, path: Path) -> None:
    """1 GiB, where the kernel does not tell what was written to."""
    running = Running(GIB, path)
    running.fill()
    first = running.snapshot()[0]
    pauses = []
    for _ in range(REPETITIONS):
        running.dirty(10 * MIB)
        pauses.append(running.snapshot()[0])
    running.close()
    table.add(
        "where the kernel does not tell: first snapshot of 1 GiB", f"{1e3 * first:.1f} ms", "", ""
    )
    table.add("  10 MiB of 1 GiB changed", ms(pauses), "", "")


@contextmanager
def comparing() -> Iterator[None]:
    """Meanwhile pages are compared, as where the kernel does not tell."""
    os.environ[COMPARE] = "1"
    try:
        yield
    finally:
        del os.environ[COMPARE]


_space = ctypes.create_string_buffer(1)


def copy_seconds(memory: GuestMemory, size: int) -> float:
    """Copying so much of it to memory that is there already."""
    chunk = min(size, 64 * MIB)
    if ctypes.sizeof(_space) < chunk:
        ctypes.resize(_space, chunk)
    address = ctypes.addressof(_space)
    ctypes.memset(address, 1, chunk)
    began = time.perf_counter()
    for at in range(0, size, chunk):
        ctypes.memmove(address, memory.address + at, chunk)
    return time.perf_counter() - began


def hash_seconds(memory: GuestMemory) -> float:
    view = memory.view(0, 16 * MIB)
    began = time.perf_counter()
    for at in range(0, len(view), 512):
        zlib.crc32(view[at : at + 512])
    return (time.perf_counter() - began) * memory.size / len(view)


def ms(seconds: list[float]) -> str:
    sample = Sample(tuple(seconds))
    return f"{1e3 * sample.minimum:.1f} ({1e3 * sample.median:.1f}) ms"
