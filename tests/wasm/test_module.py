"""Index spaces, block types and names: what the helpers of ``Module`` say."""

from __future__ import annotations

import pytest

from wasnap.wasm.decode import decode
from wasnap.wasm.encode import encode
from wasnap.wasm.module import Custom, Global, Import, Module, Table
from wasnap.wasm.types import (
    EXNREF,
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

SMALL = MemoryType(Limits(1))
BIG = MemoryType(Limits(2, is64=True))
NARROW = TableType(FUNCREF, Limits(1))
WIDE = TableType(EXNREF, Limits(2))
FIXED = GlobalType(I32, False)
MOVING = GlobalType(I64, True)


@pytest.fixture
def module() -> Module:
    """Of each kind one import, mixed, and one of its own."""
    return Module(
        types=[FuncType(), FuncType(b"\x7f", b"\x7e")],
        imports=[
            Import("m", "t", TAG, 1),
            Import("m", "M", MEMORY, BIG),
            Import("m", "f", FUNC, 1),
            Import("m", "T", TABLE, WIDE),
            Import("m", "g", GLOBAL, MOVING),
        ],
        functions=[0],
        tables=[Table(NARROW)],
        memories=[SMALL],
        tags=[0],
        globals=[Global(FIXED, b"\x41\x00\x0b")],
    )


def test_index_spaces_begin_with_the_imports(module: Module) -> None:
    assert module.function_space() == [1, 0]
    assert module.table_space() == [WIDE, NARROW]
    assert module.memory_space() == [BIG, SMALL]
    assert module.global_space() == [MOVING, FIXED]
    assert module.tag_space() == [1, 0]
    assert [module.n_imported(kind) for kind in range(5)] == [1] * 5
    assert module.func_type(0) == FuncType(b"\x7f", b"\x7e")
    assert module.func_type(1) == FuncType()


def test_spaces_are_new_lists(module: Module) -> None:
    module.memory_space().append(SMALL)
    module.function_space().append(9)
    assert module.memories == [SMALL]
    assert module.functions == [0]


def test_block_types(module: Module) -> None:
    assert module.block_type(-64) == FuncType()
    assert module.block_type(I32 - 0x80) == FuncType(b"", b"\x7f")
    assert module.block_type(EXNREF - 0x80) == FuncType(b"", b"\x69")
    assert module.block_type(1) == FuncType(b"\x7f", b"\x7e")


def test_type_index_appends_only_what_is_new(module: Module) -> None:
    assert module.type_index(FuncType()) == 0
    assert module.type_index(FuncType(b"\x7d")) == 2
    assert module.type_index(FuncType(b"\x7d")) == 2
    assert len(module.types) == 3


def test_func_type_reads_like_the_text_format() -> None:
    assert str(FuncType(bytes((I32, EXNREF)), bytes((I64,)))) == "(i32 exnref) -> (i64)"


NAMES = b"\x00\x02\x01M" + b"\x01\x0a\x02\x00\x01a\x80\x01\x03\xe2\x82\xac" + b"\x02\x01\x00"


def test_function_names_survive_a_round_trip() -> None:
    module = Module(customs=[Custom("x", b"", 0), Custom("name", NAMES, 0)])
    assert decode(encode(module)).function_names() == {0: "a", 128: "€"}


def test_no_name_section_means_no_names() -> None:
    assert Module().function_names() == {}


@pytest.mark.parametrize("size", range(len(NAMES)))
def test_a_cut_name_section_gives_what_is_whole(size: int) -> None:
    names = Module(customs=[Custom("name", NAMES[:size], 0)]).function_names()
    assert names.items() <= {0: "a", 128: "€"}.items()
    assert (0 in names) == (size >= 10)


def test_bad_utf8_in_a_name_is_not_an_error() -> None:
    payload = b"\x01\x09\x03\x00\x01a\x01\x01\xff\x02\x01c"
    assert Module(customs=[Custom("name", payload, 0)]).function_names()[0] == "a"
