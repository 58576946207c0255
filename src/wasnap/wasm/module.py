"""A core module as plain data, in the order and with the names of the specification.

``decode`` makes one, ``encode`` writes one; between the two anything may be appended or replaced.
Indices are the specification's: in each index space (``FUNC`` ... ``TAG``) the imports come first,
in the order of ``imports``, then what the module defines itself. Nothing here is cached or
checked, so changing a list is all it takes to change the module.

Function bodies and data payloads are slices of the file as they were found. Instructions are not
decoded here: see ``code.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wasnap.wasm import names
from wasnap.wasm.types import (
    EMPTY_BLOCK,
    FUNC,
    GLOBAL,
    MEMORY,
    TABLE,
    TAG,
    FuncType,
    GlobalType,
    MemoryType,
    TableType,
)


@dataclass(slots=True)
class Import:
    """``type``: a type index for a function or a tag, else the table, memory or global type."""

    module: str
    name: str
    kind: int
    type: int | TableType | MemoryType | GlobalType


@dataclass(slots=True)
class Table:
    """``init``: the constant expression every element starts with, or None (null)."""

    type: TableType
    init: bytes | None = None


@dataclass(slots=True)
class Global:
    """``init``: a constant expression with its final ``end``."""

    type: GlobalType
    init: bytes


@dataclass(slots=True)
class Export:
    name: str
    kind: int
    index: int


@dataclass(slots=True)
class Element:
    """An element segment: exactly one of ``functions`` and ``expressions`` is not None.

    ``mode`` is 'active', 'passive' or 'declared'; ``table`` and ``offset`` (a constant expression)
    count only when it is active.
    """

    mode: str
    type: int
    table: int = 0
    offset: bytes = b""
    functions: list[int] | None = None
    expressions: list[bytes] | None = None


@dataclass(slots=True)
class Data:
    """A data segment: ``mode`` is 'active' or 'passive'; ``memory``, ``offset`` as in Element."""

    mode: str
    payload: bytes
    memory: int = 0
    offset: bytes = b""


@dataclass(slots=True)
class Body:
    """A function body: runs of (count, type) of its locals, and its code with the final ``end``.

    ``offset`` is where ``code`` begins in the file it was decoded from (0 for a made one), so an
    instruction at ``pos`` stands at byte ``offset + pos`` of the file.
    """

    locals: list[tuple[int, int]]
    code: bytes
    offset: int = field(default=0, compare=False)


@dataclass(slots=True)
class Custom:
    """A custom section; ``after`` is the id of the last non-custom section before it, or 0."""

    name: str
    payload: bytes
    after: int = 0


@dataclass(slots=True)
class Module:
    """``functions``: type index of each defined function; ``code``: its body, at the same place.

    ``tags``: type index of each defined tag. ``data_count``: None if the section is absent.
    """

    types: list[FuncType] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    tags: list[int] = field(default_factory=list)
    globals: list[Global] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    start: int | None = None
    elements: list[Element] = field(default_factory=list)
    data_count: int | None = None
    code: list[Body] = field(default_factory=list)
    data: list[Data] = field(default_factory=list)
    customs: list[Custom] = field(default_factory=list)

    def imported(self, kind: int) -> list[Import]:
        """The imports of one kind, in the order of their indices."""
        return [i for i in self.imports if i.kind == kind]

    def n_imported(self, kind: int) -> int:
        return sum(i.kind == kind for i in self.imports)

    # Whole index spaces, imports first, as new lists: take one once, not for each index.

    def function_space(self) -> list[int]:
        """The type index of every function."""
        return [i.type for i in self.imported(FUNC) if isinstance(i.type, int)] + self.functions

    def table_space(self) -> list[TableType]:
        imported = [i.type for i in self.imported(TABLE) if isinstance(i.type, TableType)]
        return imported + [t.type for t in self.tables]

    def memory_space(self) -> list[MemoryType]:
        imported = [i.type for i in self.imported(MEMORY) if isinstance(i.type, MemoryType)]
        return imported + self.memories

    def global_space(self) -> list[GlobalType]:
        imported = [i.type for i in self.imported(GLOBAL) if isinstance(i.type, GlobalType)]
        return imported + [g.type for g in self.globals]

    def tag_space(self) -> list[int]:
        """The type index of every tag."""
        return [i.type for i in self.imported(TAG) if isinstance(i.type, int)] + self.tags

    def func_type(self, index: int) -> FuncType:
        """The type of function ``index``; walks the imports (see ``function_space``)."""
        return self.types[self.function_space()[index]]

    def block_type(self, block: int) -> FuncType:
        """The type of a block from its block type: a type index, or negative (see ``code.py``)."""
        if block >= 0:
            return self.types[block]
        return FuncType() if block == EMPTY_BLOCK else FuncType(b"", bytes((block & 0x7F,)))

    def type_index(self, type: FuncType) -> int:
        """The index of ``type``, appended to ``types`` if it is not there."""
        try:
            return self.types.index(type)
        except ValueError:
            self.types.append(type)
            return len(self.types) - 1

    def function_names(self) -> dict[int, str]:
        """Function names by index, from the name section; empty if there is none or it is bad."""
        return self._names(names.FUNCTIONS)

    def global_names(self) -> dict[int, str]:
        """Names of globals by index: those they are exported by, else those in the name section."""
        exported = {e.index: e.name for e in self.exports if e.kind == GLOBAL}
        return self._names(names.GLOBALS) | exported

    def _names(self, subsection: int) -> dict[int, str]:
        for custom in self.customs:
            if custom.name == "name":
                return names.names_in(custom.payload, subsection)
        return {}
