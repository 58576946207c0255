"""What the engine gives us to keep, and to give back: stores, modules, and why something failed."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Self

from wasnap.engine import ffi


class EngineError(Exception):
    """What the engine refused to do; ``pointer``: a wasmtime_error_t, which is ours now."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __str__(self) -> str:
        return _message(ffi.wasmtime_error_message, self.pointer).decode("utf-8")

    def __del__(self) -> None:
        ffi.wasmtime_error_delete(self.pointer)


class Trap(Exception):
    """What ended the guest; ``pointer``: a wasm_trap_t, which is ours now. ``code``: see traps.py;
    None if it is not the engine's own.
    """

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    @property
    def code(self) -> int | None:
        code = ctypes.c_uint8()
        return code.value if ffi.wasmtime_trap_code(self.pointer, ctypes.byref(code)) else None

    def __str__(self) -> str:
        return _message(ffi.wasm_trap_message, self.pointer).removesuffix(b"\0").decode("utf-8")

    def __del__(self) -> None:
        ffi.wasm_trap_delete(self.pointer)


def check(error: int | None) -> None:
    """Raise the EngineError behind a wasmtime_error_t, if there is one."""
    if error:
        raise EngineError(error)


class Module:
    """Compiled code; ``pointer``: a wasmtime_module_t. May be used by any thread."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __del__(self) -> None:
        ffi.wasmtime_module_delete(self.pointer)

    @classmethod
    def compiled(cls, engine: int, wasm: bytes) -> Self:
        """Raises EngineError."""
        pointer = ctypes.c_void_p()
        check(ffi.wasmtime_module_new(engine, wasm, len(wasm), ctypes.byref(pointer)))
        return cls(pointer.value or 0)

    @classmethod
    def loaded(cls, engine: int, path: bytes) -> Self:
        """Of a file with what ``serialized`` gave. Raises EngineError."""
        pointer = ctypes.c_void_p()
        check(ffi.wasmtime_module_deserialize_file(engine, path, ctypes.byref(pointer)))
        return cls(pointer.value or 0)

    def serialized(self) -> bytes:
        """What the same engine, configured in the same way, can load."""
        code = ffi.wasm_byte_vec_t()
        check(ffi.wasmtime_module_serialize(self.pointer, ctypes.byref(code)))
        return _taken(code)


class Store:
    """Where instances live, with all that they have; used by one thread at a time.

    ``context``: what most of the API wants of it.
    """

    def __init__(self, engine: int) -> None:
        self._pointer: int | None = ffi.wasmtime_store_new(engine, None, None)
        self.context: int = ffi.wasmtime_store_context(self._pointer)

    def limit(self, instances: int, tables: int, memories: int) -> None:
        """How many of them there may be."""
        ffi.wasmtime_store_limiter(self._pointer, -1, -1, instances, tables, memories)

    def close(self) -> None:
        """Free everything in it."""
        if self._pointer is not None:
            ffi.wasmtime_store_delete(self._pointer)
            self._pointer = None

    def __del__(self) -> None:
        self.close()


def wat2wasm(text: str) -> bytes:
    """A module given as text. Raises EngineError."""
    encoded = text.encode("utf-8")
    wasm = ffi.wasm_byte_vec_t()
    check(ffi.wasmtime_wat2wasm(encoded, len(encoded), ctypes.byref(wasm)))
    return _taken(wasm)


def function_type(params: Sequence[int], results: Sequence[int]) -> Any:
    """A wasm_functype_t, to be deleted; of kinds (wasm_valkind_t)."""
    return ffi.wasm_functype_new(*(ctypes.byref(_types(kinds)) for kinds in (params, results)))


def _types(kinds: Sequence[int]) -> ffi.wasm_pointer_vec_t:
    each = (ctypes.c_void_p * len(kinds))(*(ffi.wasm_valtype_new(kind) for kind in kinds))
    types = ffi.wasm_pointer_vec_t()
    ffi.wasm_valtype_vec_new(ctypes.byref(types), len(kinds), each)
    return types


def _message(tell: Any, pointer: int) -> bytes:
    message = ffi.wasm_byte_vec_t()
    tell(pointer, ctypes.byref(message))
    return _taken(message)


def _taken(vec: ffi.wasm_byte_vec_t) -> bytes:
    """The bytes, which are then freed."""
    try:
        return ctypes.string_at(vec.data, vec.size)
    finally:
        ffi.wasm_byte_vec_delete(ctypes.byref(vec))
