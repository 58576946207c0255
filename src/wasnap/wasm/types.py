"""The small words of a module: value types, function types, limits, and what has a type.

A value type is its single byte in the binary format, as an int; a list of value types is a
``bytes``: hashable, compact, and already in the form the binary format wants.
Source: WebAssembly core specification 3.0, section 5.3 (types).
"""

from __future__ import annotations

import msgspec

I32 = 0x7F
I64 = 0x7E
F32 = 0x7D
F64 = 0x7C
V128 = 0x7B
FUNCREF = 0x70
EXTERNREF = 0x6F
EXNREF = 0x69

EMPTY_BLOCK = -64
"""The block type of a block without parameters and results: 0x40 read as a signed LEB128."""

REFERENCES = frozenset((FUNCREF, EXTERNREF, EXNREF))

VALUE_TYPE_NAMES: dict[int, str] = {
    I32: "i32",
    I64: "i64",
    F32: "f32",
    F64: "f64",
    V128: "v128",
    FUNCREF: "funcref",
    EXTERNREF: "externref",
    EXNREF: "exnref",
}

# Kinds of imports, exports and index spaces.
FUNC = 0
TABLE = 1
MEMORY = 2
GLOBAL = 3
TAG = 4

KIND_NAMES = ("function", "table", "memory", "global", "tag")


class FuncType(msgspec.Struct, frozen=True):
    """Parameters and results, each a string of value types."""

    params: bytes = b""
    results: bytes = b""

    def __str__(self) -> str:
        params = " ".join(VALUE_TYPE_NAMES[t] for t in self.params)
        results = " ".join(VALUE_TYPE_NAMES[t] for t in self.results)
        return f"({params}) -> ({results})"


class Limits(msgspec.Struct, frozen=True):
    """Bounds of a table (elements) or memory (pages); ``maximum`` None: none was declared.

    ``is64``: indices or addresses are i64. ``page_size_log2`` None: the ordinary 64 KiB pages;
    ``shared`` and ``page_size_log2`` belong to memories only.
    """

    minimum: int
    maximum: int | None = None
    shared: bool = False
    is64: bool = False
    page_size_log2: int | None = None


class TableType(msgspec.Struct, frozen=True):
    element: int
    limits: Limits


class MemoryType(msgspec.Struct, frozen=True):
    limits: Limits


class GlobalType(msgspec.Struct, frozen=True):
    value: int
    mutable: bool
