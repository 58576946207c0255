"""What WASI calls cost on our host, over wasmtime's own: the same module, the same engine.

Each case is a module whose ``_start`` opens what it needs below descriptor 3 and then makes the same
calls in a loop; a call that fails traps. Both hosts work on the same directory, in turn. The figures
are processor seconds of the whole process, for wasmtime's own host may do its work on threads.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import wasmtime
import yardstick

from bench import world
from bench.measure import Table, geometric_mean, interleaved
from wasnap.engine import Cache, Finished, Guest, Program
from wasnap.host import Host, HostConfig, Mapping

ENTRIES = 1_000
TYPES = {
    "clock_time_get": "i32 i64 i32",
    "random_get": "i32 i32",
    "fd_write": "i32 i32 i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "fd_readdir": "i32 i32 i32 i64 i32",
    "fd_close": "i32",
    "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
}
SIZE, RESULT, IOV, NAME = 16, 24, 32, 64
"""Where the guest keeps: a result nobody reads, a descriptor, an iovec, the file's name."""
BUFFER = 4096
OPEN = f"""(call $ok (call $path_open (i32.const 3) (i32.const 1) (i32.const {NAME}) (i32.const 4)
    (i32.const {{oflags}}) (i64.const {{rights}}) (i64.const 0) (i32.const 0) (i32.const {RESULT})))
  (local.set $fd (i32.load (i32.const {RESULT})))"""
CREATE, READ, WRITE = 1, 2, 64
GROWS, OVERWRITES = ", noted, at the end", ", noted, over old data"
WRITER = OPEN.format(oflags=CREATE, rights=WRITE)
READER = OPEN.format(oflags=0, rights=READ)


class Case(NamedTuple):
    """``setup`` runs once; ``body`` ``calls`` times. ``noted``: ours writes down how to undo it."""

    title: str
    calls: int
    setup: str
    body: str
    noted: bool = False


def transfer(name: str, size: int) -> tuple[str, str]:
    """An iovec of ``size`` bytes; and the call on it."""
    iovec = f"""(i32.store (i32.const {IOV}) (i32.const {BUFFER}))
  (i32.store (i32.const {IOV + 4}) (i32.const {size}))"""
    return (
        iovec,
        f"(call $ok (call ${name} (local.get $fd) (i32.const {IOV}) (i32.const 1) (i32.const {SIZE})))",
    )


def readdir(size: int) -> str:
    """All of descriptor 3 through a buffer of ``size`` bytes, as a libc reads it."""
    return f"""(local.set $cookie (i64.const 0))
    (loop $more
      (call $ok (call $fd_readdir (i32.const 3) (i32.const {BUFFER}) (i32.const {size})
        (local.get $cookie) (i32.const {SIZE})))
      (local.set $at (i32.const {BUFFER}))
      (local.set $end (i32.add (i32.const {BUFFER}) (i32.load (i32.const {SIZE}))))
      (block $cut (loop $entry
        (br_if $cut (i32.gt_u (i32.add (local.get $at) (i32.const 24)) (local.get $end)))
        (local.set $next (i32.add (i32.add (local.get $at) (i32.const 24))
          (i32.load (i32.add (local.get $at) (i32.const 16)))))
        (br_if $cut (i32.gt_u (local.get $next) (local.get $end)))
        (local.set $cookie (i64.load (local.get $at)))
        (local.set $at (local.get $next))
        (br $entry)))
      (br_if $more (i32.eq (i32.load (i32.const {SIZE})) (i32.const {size}))))"""


def cases() -> list[Case]:
    """What the table has a row for."""
    found = [
        Case(
            "clock_time_get",
            50_000,
            "",
            f"(call $ok (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const {SIZE})))",
        ),
        Case(
            "random_get, 32 bytes",
            50_000,
            "",
            f"(call $ok (call $random_get (i32.const {BUFFER}) (i32.const 32)))",
        ),
    ]
    for name, size, opened, noted in (
        ("fd_write", 1, WRITER, ""),
        ("fd_write", 4096, WRITER, ""),
        ("fd_write", 4096, WRITER, GROWS),
        ("fd_write", 4096, WRITER, OVERWRITES),
        ("fd_read", 4096, READER, ""),
    ):
        iovec, call = transfer(name, size)
        unit = "1 byte" if size == 1 else "4 KiB"
        title = f"{name}, {unit}{noted}"
        found.append(Case(title, 20_000, opened + iovec, call, noted=bool(noted)))
    found.append(
        Case(
            "path_open and fd_close",
            10_000,
            "",
            READER + "(call $ok (call $fd_close (local.get $fd)))",
        )
    )
    for size, unit in ((4096, "4 KiB"), (1 << 16, "64 KiB")):
        title = f"fd_readdir, {ENTRIES:,} entries, buffer of {unit}"
        found.append(Case(title, 20, "", readdir(size)))
    return found


def module(case: Case) -> bytes:
    """The guest of one case."""
    imports = "\n".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))'
        for name, params in TYPES.items()
    )
    wat = f"""(module {imports}
  (memory (export "memory") 3)
  (data (i32.const {NAME}) "file")
  (func $ok (param $errno i32) (if (local.get $errno) (then unreachable)))
  (func (export "_start") (local $i i32) (local $fd i32) (local $cookie i64)
      (local $at i32) (local $end i32) (local $next i32)
    {case.setup}
    (loop $again
      {case.body}
      (br_if $again
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {case.calls}))))))
"""
    return bytes(wasmtime.wat2wasm(wat))


def ours(program: Program, directory: Path, history: Path | None) -> float:
    """The module as users run it, instrumented, on our host; changes to files noted in
    ``history``, as with a journal."""
    host = Host(
        HostConfig(dirs=(Mapping(str(directory), "/"),), stdin=None, stdout=None, stderr=None)
    )
    try:
        if history is not None:
            host.note_changes(history)
        with Guest(program, host.function) as guest:
            begun = time.process_time()
            guest.start()
            event = guest.wait()
            seconds = time.process_time() - begun
    finally:
        host.close()
    if not isinstance(event, Finished):
        raise RuntimeError(f"the guest did not end well: {event}")
    return seconds


def theirs(wasm: bytes, directory: Path) -> float:
    """The module on wasmtime's own WASI."""
    store = wasmtime.Store(yardstick.engine())
    wasi = wasmtime.WasiConfig()
    wasi.preopen_dir(str(directory), "/")
    store.set_wasi(wasi)
    linker = wasmtime.Linker(yardstick.engine())
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module(yardstick.engine(), wasm))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    begun = time.process_time()
    start(store)
    return time.process_time() - begun


def measure() -> Table:
    """Microseconds for each call, and the ratio."""
    table = Table(
        "wasi", "WASI calls, ours over wasmtime's own", ("calls", "ours us", "wasmtime us", "ratio")
    )
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        for case in cases():
            directory = Path(name) / case.title.replace("/", " ")
            directory.mkdir()
            full = "fd_read," in case.title or OVERWRITES in case.title
            (directory / "file").write_bytes(bytes(case.calls * 4096 if full else 1))
            if "readdir" in case.title:
                for i in range(ENTRIES - 1):
                    (directory / f"entry-{i:04}.txt").touch()
            ratios.append(row(table, case, directory))
    table.add("**geometric mean**", "", "", f"**{geometric_mean(ratios):.2f}**")
    table.notes += [
        "Minima. Ours is the whole product: the instrumented module, its stop word looked at after "
        "each call, on a guest thread.",
        "`clock_time_get` and `random_get` are answered by the engine (`engine/shortcuts.py`); with "
        "a clock or randomness that is not the machine's, or a trigger that waits for such calls, "
        "they cost what `bench hostcall` says of a call into Python.",
        "Noted: a journal is being written, so that resuming can undo it (`host/history`). Over old "
        "data is the first write since a snapshot, for which 4 KiB are copied to the history.",
        "wasmtime's host hands file operations to other threads, whose time counts here, and reads "
        "the whole directory again for each `fd_readdir`.",
    ]
    return table


def row(table: Table, case: Case, directory: Path) -> float:
    """Measure one case; the ratio of the minima."""
    wasm = module(case)
    program = Program.load(wasm, cache=Cache(None))
    history = directory.with_name(f"{directory.name}.files") if case.noted else None
    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(program, directory, history),
        "theirs": lambda: world.on_guest_thread(lambda: theirs(wasm, directory)),
    }
    samples = interleaved(sides)
    ours_us, theirs_us = (1e6 / case.calls * samples[side].minimum for side in sides)
    ratio = ours_us / theirs_us
    table.add(case.title, f"{ours_us:.2f}", f"{theirs_us:.2f}", f"{ratio:.2f}")
    return ratio
