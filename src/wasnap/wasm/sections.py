"""One decoder for each section of a module: reads its contents into the ``Module``.

Each gets a reader that ends where the section ends; ``decode.py`` walks the sections and checks
that the whole of each was read. Source: core specification 3.0, section 5.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wasnap.wasm.code import constant_expression
from wasnap.wasm.module import Body, Data, Element, Export, Global, Import, Module, Table
from wasnap.wasm.reader import Reader
from wasnap.wasm.types import (
    FUNC,
    FUNCREF,
    GLOBAL,
    KIND_NAMES,
    MEMORY,
    TABLE,
    TAG,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
)

CUSTOM = 0
END = 0x0B

_WITH_INIT = 0x40  # in place of a table type: a zero byte, the type and an expression follow
_EXACT = 0x20  # flag of an import of a function of an exact type
_CUSTOM_DESCRIPTORS = "custom descriptors"
_UNSUPPORTED_TYPE_FORMS = {
    **dict.fromkeys((0x4C, 0x4D), _CUSTOM_DESCRIPTORS),
    **dict.fromkeys((0x4E, 0x4F, 0x50, 0x5E, 0x5F), "garbage collection"),
    0x5D: "stack switching",
}


def _items(reader: Reader) -> Iterator[int]:
    """Numbers the items of a vector, each of which the caller reads."""
    count = reader.u32()
    if count > reader.end - reader.pos:  # each item takes a byte at least
        raise reader.error(f"unexpected end: {count} items announced")
    return iter(range(count))


# --- types ---


def _types(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        start = reader.pos
        form = reader.byte()
        if form in _UNSUPPORTED_TYPE_FORMS:
            raise reader.unsupported(_UNSUPPORTED_TYPE_FORMS[form], start)
        if form != 0x60:
            raise reader.error("malformed type: 0x60 (function) expected", start)
        params = bytes([reader.value_type() for _ in _items(reader)])
        results = bytes([reader.value_type() for _ in _items(reader)])
        module.types.append(FuncType(params, results))


def _limits(reader: Reader, allowed: int) -> Limits:
    """Limits: flag bits 1 maximum, 2 shared, 4 64-bit, 8 page size; those of ``allowed`` may be.

    The bounds are u64 whatever the flags; validation says how large they may be.
    """
    flags = reader.byte()
    if flags & ~allowed:
        raise reader.error(f"malformed limits flags 0x{flags:02x}", reader.pos - 1)
    minimum = reader.unsigned(64)
    maximum = reader.unsigned(64) if flags & 1 else None
    page_size_log2 = None
    if flags & 8:
        start = reader.pos
        page_size_log2 = reader.u32()
        if page_size_log2 > 64:
            raise reader.error("malformed page size", start)
    return Limits(minimum, maximum, bool(flags & 2), bool(flags & 4), page_size_log2)


def _table_type(reader: Reader) -> TableType:
    return TableType(reader.reference_type(), _limits(reader, 0b0101))


def _memory_type(reader: Reader) -> MemoryType:
    return MemoryType(_limits(reader, 0b1111))


def _global_type(reader: Reader) -> GlobalType:
    value = reader.value_type()
    mutability = reader.byte()
    if mutability > 1:
        raise reader.error("malformed mutability", reader.pos - 1)
    return GlobalType(value, bool(mutability))


def _tag_type(reader: Reader) -> int:
    if reader.byte() != 0:
        raise reader.error("malformed tag attribute", reader.pos - 1)
    return reader.u32()


def _kind(reader: Reader, of: str) -> int:
    kind = reader.byte()
    if kind >= len(KIND_NAMES):
        raise reader.error(f"malformed {of} kind", reader.pos - 1)
    return kind


# --- declarations ---

_IMPORT_TYPES: dict[int, Callable[[Reader], int | TableType | MemoryType | GlobalType]] = {
    FUNC: Reader.u32,
    TABLE: _table_type,
    MEMORY: _memory_type,
    GLOBAL: _global_type,
    TAG: _tag_type,
}


def _imports(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        source, name = reader.name(), reader.name()
        if reader.peek() == _EXACT:
            raise reader.unsupported(_CUSTOM_DESCRIPTORS, reader.pos)
        kind = _kind(reader, "import")
        module.imports.append(Import(source, name, kind, _IMPORT_TYPES[kind](reader)))


def _functions(reader: Reader, module: Module) -> None:
    module.functions = [reader.u32() for _ in _items(reader)]


def _tables(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        if reader.peek() == _WITH_INIT:
            reader.skip(1)
            if reader.byte() != 0:
                raise reader.error("malformed table", reader.pos - 1)
            module.tables.append(Table(_table_type(reader), constant_expression(reader)))
        else:
            module.tables.append(Table(_table_type(reader)))


def _memories(reader: Reader, module: Module) -> None:
    module.memories = [_memory_type(reader) for _ in _items(reader)]


def _tags(reader: Reader, module: Module) -> None:
    module.tags = [_tag_type(reader) for _ in _items(reader)]


def _globals(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        module.globals.append(Global(_global_type(reader), constant_expression(reader)))


def _exports(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        name = reader.name()
        module.exports.append(Export(name, _kind(reader, "export"), reader.u32()))


def _start(reader: Reader, module: Module) -> None:
    module.start = reader.u32()


# --- segments and code ---


def _elements(reader: Reader, module: Module) -> None:
    """Flags: bit 0 not active; bit 1 declared, or with an explicit table; bit 2 expressions."""
    for _ in _items(reader):
        start = reader.pos
        flags = reader.u32()
        if flags > 7:
            raise reader.error("malformed elements segment kind", start)
        element = Element("active", FUNCREF)
        if flags & 1:
            element.mode = "declared" if flags & 2 else "passive"
        else:
            element.table = reader.u32() if flags & 2 else 0
            element.offset = constant_expression(reader)
        if flags & 3:
            if flags & 4:
                element.type = reader.reference_type()
            elif reader.byte() != 0:
                raise reader.error("malformed element kind", reader.pos - 1)
        if flags & 4:
            element.expressions = [constant_expression(reader) for _ in _items(reader)]
        else:
            element.functions = [reader.u32() for _ in _items(reader)]
        module.elements.append(element)


def _data_count(reader: Reader, module: Module) -> None:
    module.data_count = reader.u32()


def _code(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        size = reader.u32()
        start = reader.skip(size)
        body = Reader(reader.data, start, reader.pos, reader.base)
        runs = []
        n_locals = 0
        for _ in range(body.u32()):
            at = body.pos
            count = body.u32()
            runs.append((count, body.value_type()))
            n_locals += count
            if n_locals >> 32:
                raise body.error("too many locals", at)
        code = body.data[body.pos : body.end]
        if not code or code[-1] != END:
            raise body.error("a function body does not end with `end`", body.end)
        module.code.append(Body(runs, code, body.base + body.pos))


def _data(reader: Reader, module: Module) -> None:
    for _ in _items(reader):
        start = reader.pos
        flags = reader.u32()
        if flags > 2:
            raise reader.error("malformed data segment kind", start)
        memory = reader.u32() if flags == 2 else 0
        offset = b"" if flags == 1 else constant_expression(reader)
        payload = reader.take(reader.u32())
        module.data.append(Data("passive" if flags == 1 else "active", payload, memory, offset))


SECTIONS: dict[int, tuple[str, Callable[[Reader, Module], None]]] = {
    1: ("type", _types),
    2: ("import", _imports),
    3: ("function", _functions),
    4: ("table", _tables),
    5: ("memory", _memories),
    13: ("tag", _tags),
    6: ("global", _globals),
    7: ("export", _exports),
    8: ("start", _start),
    9: ("element", _elements),
    12: ("data count", _data_count),
    10: ("code", _code),
    11: ("data", _data),
}
"""Name and decoder of each section by its id, in the order in which sections must come."""
