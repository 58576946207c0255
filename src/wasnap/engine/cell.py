"""The address of a global, so that any thread can write it while the guest runs.

Call sites of instrumented code look at the global ``wasnap.stop``: one load, which the compiler
cannot keep across a call. The engine's own way to set a global belongs to the store's thread, so a
stop writes the cell directly. Where it lies the engine does not tell; it is found like this. The
cell stands in the instance's context, to which every reference to one of the instance's functions
points. The global is given an unlikely value, which is looked for there; then another, to be sure.
Memory is read through ``/proc/self/mem``, so that looking too far is an error and not a crash.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from wasnap.engine import ffi, native
from wasnap.engine.objects import check

ALIGNMENT: Final = 16
"""Of a global's cell (VMGlobalDefinition)."""
_CHUNK: Final = 1 << 16
_SEARCH_MAX: Final = 8 << 20
_REFERENCE: Final = Struct("<QQQQ")
"""VMFuncRef: two code addresses, a type, and the context; which is which is not relied on."""


def find_i32(context: native.Context, extern: native.Extern, function: Any) -> ctypes.c_uint32:
    """The cell of a mutable i32 global of the instance that ``function`` belongs to; it is now 0.

    Raises RuntimeError if it is not found: an engine laid out in another way.
    """
    cell = extern.of.global_
    references = _REFERENCE.unpack_from(ctypes.string_at(_pointer(function), _REFERENCE.size))
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        for base in reversed(references):  # the context has been the last one so far
            value = _set_unlikely(context, cell)
            for address in _search(memory, base, value):
                if _follows(memory, address, context, cell):
                    _set(context, cell, 0)
                    return ctypes.c_uint32.from_address(address)
                _set(context, cell, int.from_bytes(value, "little"))
    finally:
        os.close(memory)
    raise RuntimeError("the address of wasnap.stop was not found: is this the pinned engine?")


def _follows(memory: int, address: int, context: native.Context, cell: Any) -> bool:
    """Whether the word at ``address`` changes with the global."""
    value = _set_unlikely(context, cell)
    return os.pread(memory, 4, address) == value


def _pointer(function: Any) -> int:
    """The engine's reference behind a wasmtime_func_t: its second word."""
    words = ctypes.string_at(ctypes.addressof(function), 16)
    return int.from_bytes(words[8:], "little")


def _search(memory: int, base: int, value: bytes) -> Iterator[int]:
    """Aligned addresses behind ``base`` that hold ``value``, as far as memory can be read."""
    if base % ALIGNMENT:
        return
    for start in range(base, base + _SEARCH_MAX, _CHUNK):
        try:
            chunk = os.pread(memory, _CHUNK, start)
        except (OSError, OverflowError):
            return
        at = chunk.find(value)
        while at >= 0:
            if at % ALIGNMENT == 0:
                yield start + at
            at = chunk.find(value, at + 1)
        if len(chunk) < _CHUNK:
            return


def _set_unlikely(context: native.Context, cell: Any) -> bytes:
    value = int.from_bytes(os.urandom(4), "little") >> 1 | 1
    _set(context, cell, value)
    return value.to_bytes(4, "little")


def _set(context: native.Context, cell: Any, number: int) -> None:
    value = ffi.wasmtime_val_t(kind=0)  # WASMTIME_I32
    value.of.i32 = number
    check(ffi.wasmtime_global_set(context, ctypes.byref(cell), ctypes.byref(value)))
