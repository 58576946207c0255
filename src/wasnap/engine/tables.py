"""Tables of function references, as lists of function indices.

A reference is compared by the engine's raw pointer: the export ``wasnap.funcs`` holds one reference
to every function that can be referred to, its slot k to function ``info.referable[k]``, and within
one instance a function has one pointer. Null is -1.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

from wasnap.engine import ffi, native
from wasnap.engine.objects import check
from wasnap.errors import CannotResume, Unsaveable
from wasnap.instrument import abi

NULL: Final = -1
_FUNCREF: Final = 5  # WASMTIME_FUNCREF, a wasmtime_valkind_t
_EXTERNREF: Final = 6
_WASM_EXTERNREF: Final = 128  # a wasm_valkind_t
_WASM_FUNCREF: Final = 129
_NO_MAXIMUM: Final = 0xFFFFFFFF  # of a wasm_limits_t
_STORE_AND_POINTER = Struct("<QQ")
_VALUE_AT: Final = ffi.wasmtime_val_t.of.offset


class Tables:
    """The tables of one instance that are part of its state."""

    def __init__(
        self, context: native.Context, instance: Any, names: Sequence[str], referable: Sequence[int]
    ) -> None:
        self._context = context
        self._tables = {}
        for name in names:
            extern = native.export(context, instance, name)
            assert extern is not None, name
            self._tables[name] = extern.of.table
        self._functions: dict[int, int] = {}
        self._references: dict[int, Any] = {}
        if self._tables and referable:
            funcs = native.export(context, instance, abi.FUNCS)
            assert funcs is not None, abi.FUNCS
            for k, value in enumerate(self._values(funcs.of.table)):
                self._functions[_pointer(value)] = referable[k]
                self._references[referable[k]] = value

    def capture(self) -> dict[str, list[int]]:
        """Function indices by table name. Raises Unsaveable for a reference from elsewhere."""
        return {name: self._indices(name, table) for name, table in self._tables.items()}

    def _indices(self, name: str, table: Any) -> list[int]:
        indices = []
        for value in self._values(table):
            pointer = _pointer(value)
            index = self._functions.get(pointer) if pointer else NULL
            if index is None:
                raise Unsaveable(f"{name} holds a reference to a function of another instance")
            indices.append(index)
        return indices

    def references(self, name: str, count: int) -> list[int]:
        """The first ``count`` elements of a table. Raises Unsaveable."""
        return self._indices(name, self._tables[name])[:count] if count else []

    def set_references(self, name: str, indices: Sequence[int]) -> None:
        """Set the first elements of a table. Raises CannotResume."""
        if not indices:
            return
        table = self._tables[name]
        self._grow_to(table, len(indices))
        for i, index in enumerate(indices):
            self._set(table, i, index)

    def restore(self, tables: dict[str, list[int]]) -> None:
        """Make the tables equal to what was captured, touching only what differs."""
        if tables.keys() != self._tables.keys():
            raise CannotResume("the snapshot's tables are not the module's")
        for name, wanted in tables.items():
            table = self._tables[name]
            self._grow_to(table, len(wanted))
            present = self._indices(name, table)
            if len(present) != len(wanted):
                raise CannotResume(f"the snapshot's {name} is smaller than the module's own")
            for i, (index, now) in enumerate(zip(wanted, present, strict=True)):
                if index != now:
                    self._set(table, i, index)

    def _values(self, table: Any) -> list[Any]:
        values = []
        for i in range(ffi.wasmtime_table_size(self._context, ctypes.byref(table))):
            value = ffi.wasmtime_val_t()
            ffi.wasmtime_table_get(self._context, ctypes.byref(table), i, ctypes.byref(value))
            values.append(value)
        return values

    def _set(self, table: Any, i: int, index: int) -> None:
        value = null() if index == NULL else self._references.get(index)
        if value is None:
            raise CannotResume(f"function {index} cannot be referred to")
        set_element(self._context, table, i, value)

    def _grow_to(self, table: Any, size: int) -> None:
        missing = size - ffi.wasmtime_table_size(self._context, ctypes.byref(table))
        if missing > 0:
            grow(self._context, table, missing)


def new(context: native.Context, minimum: int, maximum: int | None) -> Any:
    """A wasmtime_table_t of null function references."""
    limits = ffi.wasm_limits_t(minimum, _NO_MAXIMUM if maximum is None else maximum)
    type_ = ffi.wasm_tabletype_new(ffi.wasm_valtype_new(_WASM_FUNCREF), ctypes.byref(limits))
    initial, table = null(), ffi.wasmtime_item_t()
    try:
        check(ffi.wasmtime_table_new(context, type_, ctypes.byref(initial), ctypes.byref(table)))
    finally:
        ffi.wasm_tabletype_delete(type_)
    return table


def null() -> Any:
    """A null function reference, as a wasmtime_val_t."""
    return ffi.wasmtime_val_t(kind=_FUNCREF)


def reference(function: native.Function) -> Any:
    """A reference to a function, as a wasmtime_val_t."""
    value = ffi.wasmtime_val_t(kind=_FUNCREF)
    value.of.funcref = function
    return value


def set_element(context: native.Context, table: Any, i: int, value: Any) -> None:
    """Set one element of a table of functions."""
    check(ffi.wasmtime_table_set(context, ctypes.byref(table), i, ctypes.byref(value)))


def grow(context: native.Context, table: Any, missing: int) -> None:
    """Grow a table by ``missing`` nulls. Raises CannotResume where it is refused."""
    initial, previous = ffi.wasmtime_val_t(kind=_kind(context, table)), ctypes.c_uint64()
    error = ffi.wasmtime_table_grow(
        context, ctypes.byref(table), missing, ctypes.byref(initial), ctypes.byref(previous)
    )
    if error:
        ffi.wasmtime_error_delete(error)
        raise CannotResume(f"a table cannot grow by {missing} elements here")


def _kind(context: native.Context, table: Any) -> int:
    """The wasmtime_valkind_t of a table's elements; the guest gets no external ones but null."""
    type_ = ffi.wasmtime_table_type(context, ctypes.byref(table))
    kind = ffi.wasm_valtype_kind(ffi.wasm_tabletype_element(type_))
    ffi.wasm_tabletype_delete(type_)
    return _EXTERNREF if kind == _WASM_EXTERNREF else _FUNCREF


def _pointer(value: Any) -> int:
    """The raw pointer of a function reference; 0 for null."""
    store, pointer = _STORE_AND_POINTER.unpack_from(value, _VALUE_AT)
    return int(pointer) if store else 0
