"""Small guests for the engine's tests, in text, and host functions for them."""

from __future__ import annotations

from collections.abc import Callable

import wasmtime

from wasnap.engine import (
    BufferExtent,
    Cache,
    EngineState,
    Guest,
    MemoryImage,
    Program,
)
from wasnap.host.protocol import HostFunction, Result

TYPES = {"i": 0x7F, "l": 0x7E, "f": 0x7D, "d": 0x7C, "v": 0x7B}

NO_CACHE = Cache(None)


def wasm(text: str) -> bytes:
    """The module of a text."""
    return bytes(wasmtime.wat2wasm(text))


def load(text: str, *, counted: bool = False, cache: Cache = NO_CACHE) -> Program:
    """The program of a text."""
    return Program.load(wasm(text), counted=counted, cache=cache)


def host(name: str, signature: str, call: Callable[..., Result]) -> HostFunction:
    """A host function ``h.name``; signature like "il->d": i32, i64 -> f64; v is v128."""
    params, results = signature.split("->")
    return HostFunction(
        "h", name, bytes(TYPES[t] for t in params), bytes(TYPES[t] for t in results), call
    )


def functions(*hosts: HostFunction) -> Callable[[str, str], HostFunction | None]:
    """The lookup that a guest wants."""
    by_name = {(h.module, h.name): h for h in hosts}
    return lambda module, name: by_name.get((module, name))


class Snapshot:
    """A stopped guest copied whole, to be restored into a fresh one."""

    def __init__(self, guest: Guest) -> None:
        self.state: EngineState = guest.capture()
        self.images = [
            MemoryImage(m.size, [BufferExtent(0, m.read(0, m.size))]) for m in guest.memories
        ]

    def restore(self, guest: Guest) -> None:
        guest.restore(self.state, self.images)
