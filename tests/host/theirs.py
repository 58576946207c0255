"""The second opinion: the calls of ``fakes.Guest`` on wasmtime's own WASI."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import wasmtime

from .fakes import MEMORY_SIZE, SENTINEL, FakeMemory, Guest
from .test_abi import SIGNATURES

WASM_TYPES = {"i": "i32", "l": "i64"}
NOT_THERE = {"proc_exit", "proc_raise", "sock_accept", "sock_recv", "sock_send", "sock_shutdown"}


def puppet(names: Iterable[str]) -> str:
    """The text of a module that exports these functions of WASI as it imports them."""
    text = "(module "
    calls = ""
    for name in names:
        signature = SIGNATURES[name]
        types = " ".join(WASM_TYPES[c] for c in signature)
        type = f"(param {types}) (result i32)"
        text += f'(import "wasi_snapshot_preview1" "{name}" (func ${name} {type}))\n'
        arguments = " ".join(f"(local.get {i})" for i in range(len(signature)))
        calls += f'(func (export "{name}") {type} (call ${name} {arguments}))\n'
    return f'{text}(memory (export "memory") {MEMORY_SIZE >> 16})\n{calls})'


@cache
def program() -> tuple[wasmtime.Engine, wasmtime.Module]:
    """What wasmtime has of WASI."""
    engine = wasmtime.Engine()
    names = [name for name in SIGNATURES if name not in NOT_THERE]
    return engine, wasmtime.Module(engine, puppet(names))


class TheirMemory(FakeMemory):
    """The memory of that module."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        super().__init__()
        buffer = memory.get_buffer_ptr(store)
        self.bytes = buffer  # type: ignore[assignment]
        self.bytes[:] = bytes([SENTINEL]) * MEMORY_SIZE

    def view(self, ptr: int, n: int) -> memoryview:
        return memoryview(self.bytes).cast("B")[ptr : ptr + n]


class TheirGuest(Guest):
    """A guest on wasmtime's WASI with one directory as descriptor 3, called ``/dir``."""

    def __init__(self, directory: Path) -> None:
        engine, module = program()
        self._store = wasmtime.Store(engine)
        wasi = wasmtime.WasiConfig()
        wasi.preopen_dir(str(directory), "/dir")
        self._store.set_wasi(wasi)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        self._exports = linker.instantiate(self._store, module).exports(self._store)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self.memory = TheirMemory(self._store, memory)

    def raw(self, name: str, *arguments: int) -> int:
        """The errno. Raises Trap where wasmtime thinks the guest deserves it."""
        bits = (32 if c == "i" else 64 for c in SIGNATURES[name])
        signed = [a - (a >> b - 1 << b) for a, b in zip(arguments, bits, strict=True)]
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        result = function(self._store, *signed)
        assert isinstance(result, int)
        return result
