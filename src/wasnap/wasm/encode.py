"""``Module`` -> bytes: the mirror of ``sections.py``, one encoder for each section.

Everything is written in its shortest form; function bodies are written as they are. Sections
without contents are left out. A custom section stands where it stood: behind the section it
followed, whether or not that one is still there. The data count is what there is, if the module
has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wasnap.wasm.decode import MAGIC, VERSION
from wasnap.wasm.module import Custom, Element, Module
from wasnap.wasm.reader import unsigned
from wasnap.wasm.sections import CUSTOM, SECTIONS
from wasnap.wasm.types import FUNCREF, TAG, GlobalType, Limits, MemoryType, TableType


def encode(module: Module) -> bytes:
    """The module in the binary format. Nothing is validated."""
    out = [MAGIC, VERSION]
    customs: dict[int, list[Custom]] = {}
    for custom in module.customs:
        customs.setdefault(custom.after, []).append(custom)
    for section in (CUSTOM, *SECTIONS):
        if section != CUSTOM:
            _section(out, section, _ENCODERS[section](module))
        for custom in customs.get(section, ()):
            _section(out, CUSTOM, [_name(custom.name), custom.payload])
    return b"".join(out)


def _section(out: list[bytes], section: int, chunks: list[bytes]) -> None:
    if chunks:
        out += (bytes((section,)), unsigned(sum(map(len, chunks))))
        out += chunks


def _name(text: str) -> bytes:
    raw = text.encode()
    return unsigned(len(raw)) + raw


def _vector(items: Iterable[bytes]) -> list[bytes]:
    """A vector as chunks; none at all if it is empty."""
    chunks = list(items)
    return [unsigned(len(chunks)), *chunks] if chunks else []


def _string(raw: bytes) -> bytes:
    return unsigned(len(raw)) + raw


def _limits(limits: Limits) -> bytes:
    flags = (
        (limits.maximum is not None)
        | limits.shared << 1
        | limits.is64 << 2
        | (limits.page_size_log2 is not None) << 3
    )
    out = bytes((flags,)) + unsigned(limits.minimum)
    if limits.maximum is not None:
        out += unsigned(limits.maximum)
    if limits.page_size_log2 is not None:
        out += unsigned(limits.page_size_log2)
    return out


def _external_type(type: int | TableType | MemoryType | GlobalType) -> bytes:
    match type:
        case int():
            return unsigned(type)
        case TableType():
            return bytes((type.element,)) + _limits(type.limits)
        case MemoryType():
            return _limits(type.limits)
        case GlobalType():
            return bytes((type.value, type.mutable))


def _types(module: Module) -> list[bytes]:
    return _vector(b"\x60" + _string(t.params) + _string(t.results) for t in module.types)


def _imports(module: Module) -> list[bytes]:
    return _vector(
        _name(i.module)
        + _name(i.name)
        + bytes((i.kind,))
        + (b"\0" if i.kind == TAG else b"")
        + _external_type(i.type)
        for i in module.imports
    )


def _functions(module: Module) -> list[bytes]:
    return _vector(map(unsigned, module.functions))


def _tables(module: Module) -> list[bytes]:
    return _vector(
        _external_type(table.type)
        if table.init is None
        else b"\x40\x00" + _external_type(table.type) + table.init
        for table in module.tables
    )


def _memories(module: Module) -> list[bytes]:
    return _vector(map(_external_type, module.memories))


def _tags(module: Module) -> list[bytes]:
    return _vector(b"\0" + unsigned(tag) for tag in module.tags)


def _globals(module: Module) -> list[bytes]:
    return _vector(_external_type(g.type) + g.init for g in module.globals)


def _exports(module: Module) -> list[bytes]:
    return _vector(_name(e.name) + bytes((e.kind,)) + unsigned(e.index) for e in module.exports)


def _start(module: Module) -> list[bytes]:
    return [] if module.start is None else [unsigned(module.start)]


def _element(element: Element) -> bytes:
    """In the shortest of the eight forms (flags: see ``sections.py``)."""
    active = element.mode == "active"
    flags = {"active": 0, "passive": 1, "declared": 3}[element.mode]
    if element.expressions is not None:
        flags |= 4
    elif element.functions is None:
        raise ValueError("an element segment needs functions or expressions")
    if active and (element.table or (flags & 4 and element.type != FUNCREF)):
        flags |= 2
    out = unsigned(flags)
    if active:
        out += (unsigned(element.table) if flags & 2 else b"") + element.offset
    if flags & 3:
        out += bytes((element.type,)) if flags & 4 else b"\0"
    items = element.expressions
    if items is None:
        items = [unsigned(f) for f in element.functions or ()]
    return out + unsigned(len(items)) + b"".join(items)


def _elements(module: Module) -> list[bytes]:
    return _vector(map(_element, module.elements))


def _data_count(module: Module) -> list[bytes]:
    return [] if module.data_count is None else [unsigned(len(module.data))]


def _code(module: Module) -> list[bytes]:
    chunks = [unsigned(len(module.code))] if module.code else []
    for body in module.code:
        runs = b"".join(unsigned(count) + bytes((type,)) for count, type in body.locals)
        head = unsigned(len(body.locals)) + runs
        chunks += (unsigned(len(head) + len(body.code)), head, body.code)
    return chunks


def _data(module: Module) -> list[bytes]:
    chunks = [unsigned(len(module.data))] if module.data else []
    for data in module.data:
        if data.mode == "passive":
            chunks.append(b"\1")
        elif data.memory:
            chunks.append(b"\2" + unsigned(data.memory) + data.offset)
        else:
            chunks.append(b"\0" + data.offset)
        chunks += (unsigned(len(data.payload)), data.payload)
    return chunks


_ENCODERS: dict[int, Callable[[Module], list[bytes]]] = {
    1: _types,
    2: _imports,
    3: _functions,
    4: _tables,
    5: _memories,
    6: _globals,
    7: _exports,
    8: _start,
    9: _elements,
    10: _code,
    11: _data,
    12: _data_count,
    13: _tags,
}
