"""Each section alone: its bytes give this module, and this module gives these bytes back.

And every way a section can be malformed is one InvalidModule that points at the byte.
"""

from __future__ import annotations

from dataclasses import fields

import pytest

from wasnap.errors import InvalidModule, UnsupportedModule
from wasnap.wasm.decode import decode
from wasnap.wasm.encode import encode
from wasnap.wasm.module import (
    Body,
    Custom,
    Data,
    Element,
    Export,
    Global,
    Import,
    Module,
    Table,
)
from wasnap.wasm.types import (
    EXTERNREF,
    FUNC,
    FUNCREF,
    GLOBAL,
    I32,
    I64,
    MEMORY,
    TABLE,
    TAG,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
)

HEADER = b"\0asm\1\0\0\0"
ZERO = b"\x41\x00\x0b"  # i32.const 0
NULL = b"\xd0\x70\x0b"  # ref.null func


def section(number: int, contents: bytes) -> bytes:
    return bytes((number, len(contents))) + contents


GOLDEN: dict[str, tuple[bytes, Module]] = {
    "empty": (b"", Module()),
    "types": (
        section(1, b"\x02\x60\x00\x00\x60\x02\x7f\x7e\x01\x70"),
        Module(types=[FuncType(), FuncType(bytes((I32, I64)), bytes((FUNCREF,)))]),
    ),
    "imports": (
        section(
            2,
            b"\x05\x01m\x01f\x00\x05\x01m\x00\x01\x70\x00\x03"
            b"\x00\x01x\x02\x03\x01\x02\x01m\x01g\x03\x7e\x01\x01m\x01t\x04\x00\x09",
        ),
        Module(
            imports=[
                Import("m", "f", FUNC, 5),
                Import("m", "", TABLE, TableType(FUNCREF, Limits(3))),
                Import("", "x", MEMORY, MemoryType(Limits(1, 2, shared=True))),
                Import("m", "g", GLOBAL, GlobalType(I64, True)),
                Import("m", "t", TAG, 9),
            ]
        ),
    ),
    "tables": (
        section(4, b"\x03\x70\x00\x00\x6f\x05\x01\x80\x02\x40\x00\x70\x00\x04" + NULL),
        Module(
            tables=[
                Table(TableType(FUNCREF, Limits(0))),
                Table(TableType(EXTERNREF, Limits(1, 256, is64=True))),
                Table(TableType(FUNCREF, Limits(4)), NULL),
            ]
        ),
    ),
    "memories": (
        section(5, b"\x04\x00\x01\x04\x80\x80\x80\x80\x80\x01\x03\x00\x00\x08\x05\x00"),
        Module(
            memories=[
                MemoryType(Limits(1)),
                MemoryType(Limits(1 << 35, is64=True)),
                MemoryType(Limits(0, 0, shared=True)),
                MemoryType(Limits(5, page_size_log2=0)),
            ]
        ),
    ),
    "tags": (section(13, b"\x02\x00\x00\x00\x80\x01"), Module(tags=[0, 128])),
    "globals": (
        section(6, b"\x02\x7f\x00" + ZERO + b"\x7f\x01\x23\x00\x41\x04\x6a\x0b"),
        Module(
            globals=[
                Global(GlobalType(I32, False), ZERO),
                Global(GlobalType(I32, True), b"\x23\x00\x41\x04\x6a\x0b"),
            ]
        ),
    ),
    "exports": (
        section(7, b"\x02\x01f\x00\x00\x03\xe2\x82\xac\x04\x07"),
        Module(exports=[Export("f", FUNC, 0), Export("€", TAG, 7)]),
    ),
    "start": (section(8, b"\x80\x01"), Module(start=128)),
    "elements": (
        section(
            9,
            b"\x09"
            + (b"\x00" + ZERO + b"\x02\x00\x81\x01")
            + b"\x01\x00\x00"
            + (b"\x02\x05" + ZERO + b"\x00\x01\x03")
            + b"\x03\x00\x01\x04"
            + (b"\x04" + ZERO + b"\x01" + NULL)
            + (b"\x05\x6f\x01\xd0\x6f\x0b")
            + (b"\x06\x01" + ZERO + b"\x70\x00")
            + (b"\x06\x00" + ZERO + b"\x6f\x00")
            + b"\x07\x70\x00",
        ),
        Module(
            elements=[
                Element("active", FUNCREF, 0, ZERO, [0, 129]),
                Element("passive", FUNCREF, functions=[]),
                Element("active", FUNCREF, 5, ZERO, [3]),
                Element("declared", FUNCREF, functions=[4]),
                Element("active", FUNCREF, 0, ZERO, expressions=[NULL]),
                Element("passive", EXTERNREF, expressions=[b"\xd0\x6f\x0b"]),
                Element("active", FUNCREF, 1, ZERO, expressions=[]),
                Element("active", EXTERNREF, 0, ZERO, expressions=[]),
                Element("declared", FUNCREF, expressions=[]),
            ]
        ),
    ),
    "code": (
        section(3, b"\x02\x00\x80\x01")
        + section(10, b"\x02\x02\x00\x0b\x07\x02\x80\x01\x7f\x01\x7b\x0b"),
        Module(
            functions=[0, 128],
            code=[Body([], b"\x0b", 19), Body([(128, I32), (1, 0x7B)], b"\x0b", 27)],
        ),
    ),
    "data": (
        section(12, b"\x03")
        + section(11, b"\x03\x00" + ZERO + b"\x02\0z\x01\x00\x02\x01" + ZERO + b"\x01y"),
        Module(
            data_count=3,
            data=[
                Data("active", b"\0z", 0, ZERO),
                Data("passive", b""),
                Data("active", b"y", 1, ZERO),
            ],
        ),
    ),
    "customs": (
        section(0, b"\x01a\x00")
        + section(0, b"\x01b")
        + section(1, b"\x01\x60\x00\x00")
        + section(0, b"\x00\xff\x7f"),
        Module(
            types=[FuncType()],
            customs=[Custom("a", b"\0", 0), Custom("b", b"", 0), Custom("", b"\xff\x7f", 1)],
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    raw, module = GOLDEN[name]
    decoded = decode(HEADER + raw)
    for field in fields(Module):
        assert getattr(decoded, field.name) == getattr(module, field.name)
    assert [b.offset for b in decoded.code] == [b.offset for b in module.code]
    assert encode(module) == HEADER + raw


@pytest.mark.parametrize("name", GOLDEN)
def test_cut_anywhere(name: str) -> None:
    """A cut section is an error at or before the cut, never another exception or a short list."""
    raw = HEADER + GOLDEN[name][0]
    whole = {len(HEADER)}
    at = len(HEADER)
    while at < len(raw):
        at += 2 + raw[at + 1]
        whole.add(at)
    for size in range(len(raw)):
        try:
            decode(raw[:size])
        except InvalidModule as error:
            assert error.offset is not None and error.offset <= size
        else:
            assert size in whole


def test_file_order_of_the_late_sections() -> None:
    """Tags come between memories and globals, the data count between elements and code."""
    module = Module(
        types=[FuncType()],
        functions=[0],
        memories=[MemoryType(Limits(1))],
        tags=[0],
        globals=[Global(GlobalType(I32, False), ZERO)],
        elements=[Element("passive", FUNCREF, functions=[])],
        data_count=1,
        code=[Body([], b"\x0b")],
        data=[Data("passive", b"x")],
        customs=[Custom("z", b"", 13)],
    )
    raw = encode(module)
    order = []
    at = len(HEADER)
    while at < len(raw):
        order.append(raw[at])
        at += 2 + raw[at + 1]
    assert order == [1, 3, 5, 13, 0, 6, 9, 12, 10, 11]


def test_data_count_is_what_there_is() -> None:
    module = decode(HEADER + GOLDEN["data"][0])
    module.data.append(Data("passive", b"new"))
    assert decode(encode(module)).data_count == 4


MALFORMED: dict[str, tuple[bytes, str, int]] = {
    "empty": (b"", "not a WebAssembly module", 0),
    "elf": (b"\x7fELF\1\0\0\0", "not a WebAssembly module", 0),
    "no version": (b"\0asm\1\0", "unexpected end", 6),
    "version": (b"\0asm\2\0\0\0", "unknown binary version 2", 4),
    "component": (b"\0asm\x0d\0\1\0\0", "this is a component", 4),
    "section id": (HEADER + b"\x0e\x00", "malformed section id 14", 8),
    "section too long": (HEADER + b"\x01\x05\x00", "unexpected end", 10),
    "twice": (HEADER + b"\x01\x01\x00\x01\x01\x00", "twice or out of order", 11),
    "order": (HEADER + b"\x06\x01\x00\x0d\x01\x00", "tag section: twice or out", 11),
    "not used up": (HEADER + b"\x01\x02\x00\x00", "section size mismatch", 11),
    "size too small": (HEADER + b"\x01\x02\x01\x60\x00\x00", "unexpected end", 12),
    "count of items": (HEADER + b"\x01\x01\x05", "5 items announced", 11),
    "type form": (HEADER + b"\x01\x02\x01\x7f", "malformed type", 11),
    "value type": (HEADER + b"\x01\x04\x01\x60\x01\x00", "malformed value type", 13),
    "import kind": (HEADER + b"\x02\x05\x01\x00\x00\x05\x00", "malformed import kind", 13),
    "tag attribute": (HEADER + b"\x0d\x03\x01\x01\x00", "malformed tag attribute", 11),
    "mutability": (HEADER + b"\x06\x06\x01\x7f\x02" + ZERO, "malformed mutability", 12),
    "shared table": (HEADER + b"\x04\x05\x01\x70\x03\x00\x00", "limits flags 0x03", 12),
    "table of numbers": (HEADER + b"\x04\x04\x01\x7f\x00\x00", "malformed reference type", 11),
    "table with init": (HEADER + b"\x04\x05\x01\x40\x01\x70\x00", "malformed table", 12),
    "memory flags": (HEADER + b"\x05\x03\x01\x10\x00", "limits flags 0x10", 11),
    "page size": (HEADER + b"\x05\x04\x01\x08\x00\x41", "malformed page size", 13),
    "export kind": (HEADER + b"\x07\x04\x01\x00\x05\x00", "malformed export kind", 12),
    "name not UTF-8": (HEADER + b"\x07\x05\x01\x01\xff\x00\x00", "UTF-8", 11),
    "custom without name": (HEADER + b"\x00\x00", "unexpected end", 10),
    "custom's name too long": (HEADER + b"\x00\x02\x02a", "unexpected end", 11),
    "element flags": (HEADER + b"\x09\x02\x01\x08", "malformed elements segment", 11),
    "element kind": (HEADER + b"\x09\x04\x01\x01\x01\x00", "malformed element kind", 12),
    "data flags": (HEADER + b"\x0b\x03\x01\x03\x00", "malformed data segment", 11),
    "open expression": (HEADER + b"\x06\x05\x01\x7f\x00\x41\x00", "unexpected end", 15),
    "bodies missing": (HEADER + b"\x03\x02\x01\x00", "1 functions are declared, 0", 12),
    "functions missing": (HEADER + b"\x0a\x04\x01\x02\x00\x0b", "0 functions are declared, 1", 14),
    "body without end": (HEADER + b"\x0a\x04\x01\x02\x00\x01", "does not end", 14),
    "empty body": (HEADER + b"\x0a\x02\x01\x00", "unexpected end", 12),
    "too many locals": (
        HEADER + b"\x0a\x0f\x01\x0d\x02\xff\xff\xff\xff\x0f\x7f\x01\x7f\x0b\x0b\x0b\x0b",
        "too many locals",
        19,
    ),
    "data count": (HEADER + b"\x0c\x01\x01", "1 data segments are announced, 0", 11),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    raw, message, offset = MALFORMED[name]
    with pytest.raises(InvalidModule) as caught:
        decode(raw)
    assert message in str(caught.value)
    assert caught.value.offset == offset


def test_component_gets_a_hint() -> None:
    with pytest.raises(InvalidModule) as caught:
        decode(MALFORMED["component"][0])
    assert "core module" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("raw", "proposal"),
    [
        (b"\x01\x03\x01\x5f\x00", "garbage collection"),
        (b"\x01\x02\x01\x4e", "garbage collection"),
        (b"\x01\x03\x01\x5d\x00", "stack switching"),
        (b"\x04\x05\x01\x64\x70\x00\x00", "typed function references"),
        (b"\x06\x05\x01\x7f\x00\x14\x00", "typed function references"),
    ],
)
def test_unsupported_by_name(raw: bytes, proposal: str) -> None:
    with pytest.raises(UnsupportedModule, match=proposal):
        decode(HEADER + raw)
