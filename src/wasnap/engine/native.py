"""Direct words to wasmtime's C API, as it is called.

``SPACE`` is this process's whole address space as one writable buffer:
``unpack_from(SPACE, address)`` reads native memory without building an object for it (0.09 us less
per host call than ``from_address``). Nothing bounds it: only addresses that the engine has just
handed out go in.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from wasnap.engine import ffi
from wasnap.engine.objects import EngineError, Module, Trap, check
from wasnap.engine.values import WIDTH
from wasnap.wasm.types import EXTERNREF, F32, F64, FUNCREF, I32, I64, V128

SPACE = (ctypes.c_char * (1 << 47)).from_address(0)

Context: TypeAlias = int  # address of a wasmtime_context_t
Extern: TypeAlias = Any  # ffi.wasmtime_extern_t
Function: TypeAlias = Any  # ffi.wasmtime_func_t
Ended: TypeAlias = Trap | EngineError

SLOT = 16
"""Size of a raw value, in bytes (wasmtime_val_raw_t)."""

KIND_FUNC, KIND_GLOBAL, KIND_TABLE, KIND_MEMORY = 0, 1, 2, 3
"""wasmtime_extern_kind_t and wasm_externkind_t agree on these."""

_FUNCREF_KIND = 5  # WASMTIME_FUNCREF, a wasmtime_valkind_t

KIND_NAMES = {0: "function", 1: "global", 2: "table", 3: "memory", 4: "tag"}
"""Of a wasm_externkind_t, where a shared memory is a memory."""

_VALUE_TYPES = (I32, I64, F32, F64, V128)  # by wasmtime_valtype_kind_t
NUMERIC_KINDS_MAX = len(_VALUE_TYPES) - 1
"""wasmtime_valtype_kind_t and wasmtime_valkind_t agree up to here."""


class ImportEntry(NamedTuple):
    """One import of a compiled module; ``type``, a wasm_externtype_t, lives with ``owner``."""

    module: str
    name: str
    kind: int
    type: Any
    owner: Any


def imports(module: Module) -> list[ImportEntry]:
    """The module's imports, in order."""

    class Owner:
        def __init__(self) -> None:
            self.vec = ffi.wasm_pointer_vec_t(0, None)

        def __del__(self) -> None:
            ffi.wasm_importtype_vec_delete(ctypes.byref(self.vec))

    owner = Owner()
    ffi.wasmtime_module_imports(module.pointer, ctypes.byref(owner.vec))
    entries = []
    for i in range(owner.vec.size):
        item = owner.vec.data[i]
        type_ = ffi.wasm_importtype_type(item)
        entries.append(
            ImportEntry(
                _text(ffi.wasm_importtype_module(item)),
                _text(ffi.wasm_importtype_name(item)),
                int(ffi.wasm_externtype_kind(type_)),
                type_,
                owner,
            )
        )
    return entries


def exported_functions(module: Module) -> list[str]:
    """Names of the functions that the module exports, in order."""
    vec = ffi.wasm_pointer_vec_t(0, None)
    ffi.wasmtime_module_exports(module.pointer, ctypes.byref(vec))
    try:
        items = [vec.data[i] for i in range(vec.size)]
        return [
            _text(ffi.wasm_exporttype_name(item))
            for item in items
            if ffi.wasm_externtype_kind(ffi.wasm_exporttype_type(item)) == KIND_FUNC
        ]
    finally:
        ffi.wasm_exporttype_vec_delete(ctypes.byref(vec))


def _text(name: int) -> str:
    vec = ffi.wasm_byte_vec_t.from_address(name)
    return ctypes.string_at(vec.data, vec.size).decode("utf-8")


def instantiate(context: Context, module: Module, externs: Iterable[Extern]) -> Any:
    """A wasmtime_instance_t of the module.

    Raises Trap where a segment does not fit, EngineError where an import does not.
    """
    listed = list(externs)
    array = (ffi.wasmtime_extern_t * len(listed))(*listed)
    instance = ffi.wasmtime_instance_t()
    trap = ctypes.c_void_p()
    check(
        ffi.wasmtime_instance_new(
            context, module.pointer, array, len(listed), ctypes.byref(instance), ctypes.byref(trap)
        )
    )
    if trap.value:
        raise Trap(trap.value)
    return instance


def export(context: Context, instance: Any, name: str) -> Extern | None:
    """An export by name, or None. Looks only this one up: a module may export 100,000 functions."""
    extern = ffi.wasmtime_extern_t()
    encoded = name.encode("utf-8")
    found = ffi.wasmtime_instance_export_get(
        context, ctypes.byref(instance), encoded, len(encoded), ctypes.byref(extern)
    )
    return extern if found else None


def function_type(context: Context, function: Function) -> tuple[bytes, bytes]:
    """Parameters and results of a function, as value types."""
    type_ = ffi.wasmtime_func_type(context, ctypes.byref(function))
    try:
        return (
            _value_types(ffi.wasm_functype_params(type_)),
            _value_types(ffi.wasm_functype_results(type_)),
        )
    finally:
        ffi.wasm_functype_delete(type_)


def _value_types(address: int) -> bytes:
    # wasm_valtype_kind aborts the process on v128 and most references: ask the newer call.
    vec = ffi.wasm_pointer_vec_t.from_address(address)
    out = bytearray()
    for i in range(vec.size):
        type_: Any = ffi.wasmtime_valtype_t()
        ffi.wasmtime_valtype_new(vec.data[i], ctypes.byref(type_))
        if type_.kind < len(_VALUE_TYPES):
            out.append(_VALUE_TYPES[type_.kind])
        else:
            out.append(EXTERNREF if type_.reftype.heaptype.kind == 0 else FUNCREF)
            ffi.wasmtime_valtype_delete(ctypes.byref(type_))
    return bytes(out)


def global_value(context: Context, global_: Any) -> tuple[int, int]:
    """Type and raw value of a global; a reference has no value here: 0 if it is null, else 1."""
    value: Any = ffi.wasmtime_val_t()
    ffi.wasmtime_global_get(context, ctypes.byref(global_), ctypes.byref(value))
    try:
        if value.kind < len(_VALUE_TYPES):
            type_ = _VALUE_TYPES[value.kind]
            at = ffi.wasmtime_val_t.of.offset
            return type_, int.from_bytes(bytes(value)[at : at + WIDTH[type_]], "little")
        if value.kind == _FUNCREF_KIND:
            return FUNCREF, int(value.of.funcref.store_id != 0)
        return EXTERNREF, int(value.of.externref.store_id != 0)
    finally:
        ffi.wasmtime_val_unroot(ctypes.byref(value))


def call(context: Context, function: Function, slots: bytearray) -> Ended | None:
    """Call with raw slots, arguments in and results out. None, or what ended it.

    The engine reports its own traps as Trap; what a host function returned, as EngineError.
    """
    trap = ctypes.c_void_p()
    count = len(slots) // SLOT
    array = (ctypes.c_char * len(slots)).from_buffer(slots)
    error = ffi.wasmtime_func_call_unchecked(
        context, ctypes.byref(function), array, count, ctypes.byref(trap)
    )
    if error:
        return EngineError(error)
    return Trap(trap.value) if trap.value else None


class TraceFrame(NamedTuple):
    """A guest function (its index) on the stack when the guest was ended."""

    function: int
    name: str | None


def trace(ended: Ended) -> list[TraceFrame]:
    """The functions on the stack, innermost first."""
    vec = ffi.wasm_pointer_vec_t(0, None)
    if isinstance(ended, Trap):
        ffi.wasm_trap_trace(ended.pointer, ctypes.byref(vec))
    else:
        ffi.wasmtime_error_wasm_trace(ended.pointer, ctypes.byref(vec))
    try:
        frames = []
        for i in range(vec.size):
            name = ffi.wasmtime_frame_func_name(vec.data[i])
            index = ffi.wasm_frame_func_index(vec.data[i])
            frames.append(TraceFrame(index, _text(name) if name else None))
        return frames
    finally:
        ffi.wasm_frame_vec_delete(ctypes.byref(vec))


def new_trap(message: bytes) -> int:
    """The address of a new trap: what a host function returns to end the guest."""
    return int(ffi.wasmtime_trap_new(message, len(message)))
