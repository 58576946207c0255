"""What one host call costs: ``clock_time_get`` through our edge, and through ``wasmtime.Func``.

A guest calls it a hundred thousand times in a loop; an empty loop is taken off.
"""

from __future__ import annotations

import time

import wasmtime
import yardstick

from bench import world
from bench.measure import Table, interleaved
from wasnap.engine.code import compile_module
from wasnap.wasm.decode import decode

CALLS = 100_000
GUEST = f"""(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop $again
      (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 64)))
      (br_if $again
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {CALLS}))))))
"""


def slow() -> float:
    """The loop with the call made as wasmtime-py's ordinary host function."""
    store = wasmtime.Store(yardstick.engine())
    module = wasmtime.Module(yardstick.engine(), GUEST)
    kinds = [wasmtime.ValType.i32(), wasmtime.ValType.i64(), wasmtime.ValType.i32()]

    def clock_time_get(caller: wasmtime.Caller, clock: int, precision: int, result: int) -> int:
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        memory.write(caller, time.monotonic_ns().to_bytes(8, "little"), result)
        return 0

    kind = wasmtime.FuncType(kinds, [wasmtime.ValType.i32()])
    function = wasmtime.Func(store, kind, clock_time_get, access_caller=True)
    start = wasmtime.Instance(store, module, [function]).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    begun = time.thread_time()
    start(store)
    return time.thread_time() - begun


def measure() -> Table:
    """Microseconds for each call."""
    wasm = bytes(wasmtime.wat2wasm(GUEST))
    program = world.Runnable(compile_module(wasm), world.function_imports(decode(wasm)))
    samples = interleaved(
        {
            "ours": lambda: world.run_seconds(program, (), {}),
            "wasmtime.Func": lambda: world.on_guest_thread(slow),
        }
    )
    table = Table("hostcall", "A host call: clock_time_get", ("through", "minimum us", "median us"))
    for name, sample in samples.items():
        each = 1e6 / CALLS
        table.add(name, f"{sample.minimum * each:.2f}", f"{sample.median * each:.2f}")
    table.notes += [
        "Ours is the whole call as guests see it: arguments checked, clock read, memory written."
    ]
    return table
