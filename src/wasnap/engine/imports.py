"""What a guest imports: functions from the host, and memories, tables and globals made for it.

The caller's one lookup, ``provide(module, name)``, answers with a ``HostFunction`` or with one of
the definitions below, of which each guest gets its own; they are state like the module's own.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wasnap.engine import ffi, native, tables
from wasnap.engine.edge import Edge
from wasnap.engine.linear import memory_type
from wasnap.engine.memory import GuestMemory
from wasnap.engine.objects import check
from wasnap.engine.shortcuts import Shortcuts
from wasnap.errors import UnknownImport
from wasnap.host.protocol import HostFunction
from wasnap.instrument import ProgramInfo
from wasnap.wasm.types import FuncType


class MemoryDefinition(NamedTuple):
    """A memory with 32-bit addresses; sizes in pages of 64 KiB."""

    minimum: int
    maximum: int | None


class TableDefinition(NamedTuple):
    """A table of function references, all null; sizes in elements."""

    minimum: int
    maximum: int | None


class GlobalDefinition(NamedTuple):
    """A global of whatever numeric type the module asks for; ``raw``: its first value's bits."""

    raw: int


Definition = HostFunction | MemoryDefinition | TableDefinition | GlobalDefinition
Provide = Callable[[str, str], Definition | None]


class Imports:
    """The imports of one guest: ``externs`` in the module's order, functions also by name.

    ``shortcuts``: None where none can be taken. ``shared``: the shared memories, by index.
    """

    def __init__(
        self,
        context: native.Context,
        edge: Edge,
        entries: list[native.ImportEntry],
        info: ProgramInfo,
        provide: Provide,
        shortcuts: Shortcuts | None,
        shared: Mapping[int, GuestMemory],
    ) -> None:
        self.externs: list[native.Extern] = []
        self.functions: dict[tuple[str, str], native.Extern] = {}
        self.hosts: dict[tuple[str, str], HostFunction] = {}
        types = iter(info.imports)
        memories = itertools.count()
        for entry in entries:
            name = (entry.module, entry.name)
            memory = next(memories) if entry.kind == native.KIND_MEMORY else -1
            if memory in shared:
                self.externs.append(shared[memory].extern)
                continue
            given = provide(*name)
            if isinstance(given, HostFunction) and entry.kind == native.KIND_FUNC:
                wanted = next(types)
                extern = edge.function(entry, given, FuncType(wanted.params, wanted.results))
                if shortcuts is not None and given.shortcut is not None:
                    extern = shortcuts.door(given.shortcut, extern)
                self.functions[name] = extern
                self.hosts[name] = given
            elif isinstance(given, MemoryDefinition) and entry.kind == native.KIND_MEMORY:
                extern = _memory(context, given)
            elif isinstance(given, TableDefinition) and entry.kind == native.KIND_TABLE:
                extern = _table(context, given)
            elif isinstance(given, GlobalDefinition) and entry.kind == native.KIND_GLOBAL:
                extern = _global(context, entry, given)
            else:
                kind = native.KIND_NAMES.get(entry.kind, "item")
                raise UnknownImport(
                    f"the module imports the {kind} {'.'.join(name)}, which nobody provides",
                    "run it until it calls one: --unknown-imports trap"
                    if entry.kind == native.KIND_FUNC
                    else "wasnap provides the functions of WASI preview1 only",
                )
            self.externs.append(extern)


def _memory(context: native.Context, given: MemoryDefinition) -> native.Extern:
    extern: Any = ffi.wasmtime_extern_t(native.KIND_MEMORY)
    with memory_type(given.minimum, given.maximum) as type_:
        check(ffi.wasmtime_memory_new(context, type_, ctypes.byref(extern.of.memory)))
    return extern


def _table(context: native.Context, given: TableDefinition) -> native.Extern:
    extern: Any = ffi.wasmtime_extern_t(native.KIND_TABLE)
    extern.of.table = tables.new(context, given.minimum, given.maximum)
    return extern


def _global(
    context: native.Context, entry: native.ImportEntry, given: GlobalDefinition
) -> native.Extern:
    type_ = ffi.wasm_externtype_as_globaltype_const(entry.type)
    content: Any = ffi.wasmtime_valtype_t()
    ffi.wasmtime_valtype_new(ffi.wasm_globaltype_content(type_), ctypes.byref(content))
    if content.kind > native.NUMERIC_KINDS_MAX:
        ffi.wasmtime_valtype_delete(ctypes.byref(content))
        raise UnknownImport(f"the global {entry.module}.{entry.name} holds a reference")
    value: Any = ffi.wasmtime_val_t(kind=content.kind)
    value.of.v128[:] = given.raw.to_bytes(16, "little")
    extern: Any = ffi.wasmtime_extern_t(native.KIND_GLOBAL)
    check(
        ffi.wasmtime_global_new(
            context, type_, ctypes.byref(value), ctypes.byref(extern.of.global_)
        )
    )
    return extern
