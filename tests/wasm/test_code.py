"""Instructions of a body: the cutter and the table agree, and what is malformed is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasnap.errors import InvalidModule, UnsupportedModule, WasnapError
from wasnap.wasm.code import Instr, decode_instr, encode_instr, instructions
from wasnap.wasm.decode import check_code, decode
from wasnap.wasm.module import Body, Module
from wasnap.wasm.opcodes import BY_NAME, OPS
from wasnap.wasm.reader import unsigned

END = b"\x0b"


def one(code: bytes) -> Instr:
    """The one instruction in ``code``, which must be used up."""
    (instr,) = instructions(code)
    assert (instr.pos, instr.end) == (0, len(code))
    return instr


@pytest.mark.parametrize(
    ("code", "name", "args"),
    [
        (b"\x20\x03", "local.get", (3,)),
        (b"\x20\x83\x00", "local.get", (3,)),
        (b"\x02\x40", "block", (-64,)),
        (b"\x03\x7f", "loop", (-1,)),
        (b"\x04\x85\x01", "if", (133,)),
        (b"\x02\x63\x70", "block", (0x70 - 0x80,)),
        (b"\x28\x02\x08", "i32.load", (2, 8, 0)),
        (b"\x28\x42\x05\x08", "i32.load", (2, 8, 5)),
        (b"\x28\xc2\x00\x05\x08", "i32.load", (2, 8, 5)),
        (b"\x28\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "i32.load", (0, 2**64 - 1, 0)),
        (b"\x41\x7f", "i32.const", (-1,)),
        (b"\x42\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", "i64.const", (-(2**63),)),
        (b"\x43\x01\x00\xa0\x7f", "f32.const", (b"\x01\x00\xa0\x7f",)),  # a signalling NaN
        (b"\x44\n\n\n\n\n\n\n\n", "f64.const", (b"\n" * 8,)),
        (b"\x0e\x00\x05", "br_table", ((5,),)),
        (b"\x0e\x02\x00\x81\x01\x02", "br_table", ((0, 129, 2),)),
        (b"\x11\x01\x02", "call_indirect", (1, 2)),
        (b"\x1c\x01\x7f", "select_t", (b"\x7f",)),
        (b"\x1c\x02\x7f\x7e", "select_t", (b"\x7f\x7e",)),
        (
            b"\x1f\x40\x03\x00\x07\x00\x01\x81\x01\x01\x02\x02",
            "try_table",
            (-64, ((0, 7, 0), (1, 129, 1), (2, -1, 2))),
        ),
        (b"\xd0\x69", "ref.null", (0x69,)),
        (b"\xfc\x0a\x01\x02", "memory.copy", (1, 2)),
        (b"\xfc\x8a\x00\x01\x02", "memory.copy", (1, 2)),
        (b"\xfd\x0c" + bytes(range(16)), "v128.const", (bytes(range(16)),)),
        (b"\xfd\x15\x0f", "i8x16.extract_lane_s", (15,)),
        (b"\xfd\x54\x00\x03\x0f", "v128.load8_lane", (0, 3, 0, 15)),
        (b"\xfd\xae\x01", "i32x4.add", ()),
        (b"\xfd\x93\x02", "i32x4.relaxed_dot_i8x16_i7x16_add_s", ()),
        (b"\xfe\x03\x00", "atomic.fence", (0,)),
        (b"\xfe\x48\x02\x00", "i32.atomic.rmw.cmpxchg", (2, 0, 0)),
    ],
)
def test_one_instruction(code: bytes, name: str, args: tuple[object, ...]) -> None:
    instr = one(code)
    assert instr.op.name == name
    assert instr.args == args
    assert one(encode_instr(instr.op, *args))[2:] == instr[2:]
    for size in range(len(code)):
        with pytest.raises(InvalidModule) as caught:
            decode_instr(code[:size], 0, 1000)
        assert caught.value.offset is not None and 1000 <= caught.value.offset <= 1000 + size


@pytest.mark.parametrize("targets", [0, 1, 63, 64, 65, 127, 128, 5000])
def test_br_table_of_any_length(targets: int) -> None:
    labels = tuple(n * 7 for n in range(targets + 1))
    code = encode_instr(BY_NAME["br_table"], labels) + b"\x01" + END
    table, nop, end = instructions(code)
    assert table.args == (labels,)
    assert (nop.op.name, end.op.name, end.end) == ("nop", "end", len(code))


def test_start_in_the_middle() -> None:
    code = b"\x41\x0b\x1a\x0b"
    assert [i.op.name for i in instructions(code, 2)] == ["drop", "end"]
    assert [i.pos for i in instructions(code, 2)] == [2, 3]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"\x27", "unknown instruction 0x27"),
        (b"\xff", "unknown instruction 0xff"),
        (b"\xfc\x80\x02", "unknown instruction 0xfc 0x100"),
        (b"\xfd\x9a\x01", "unknown instruction 0xfd 0x9a"),
        (b"\x20\xff\xff\xff\xff\x7f", "too large"),
        (b"\x20\x80\x80\x80\x80\x80\x00", "too long"),
        (b"\x41\xff\xff\xff\xff\x0f", "too large"),
        (b"\x28\x80\x01\x00", "malformed memop flags"),
        (b"\x02\x41", "malformed value type"),
        (b"\x02\xbf\x7f", "malformed block type"),
        (b"\x1f\x40\x01\x04\x00", "malformed catch clause"),
        (b"\xfe\x03\x01", "zero byte expected"),
        (b"\xd0\x40", "malformed heap type"),
        (b"\x0e\xff\xff\xff\xff\x0f\x00", "unexpected end"),
    ],
)
def test_malformed(code: bytes, message: str) -> None:
    with pytest.raises(InvalidModule, match=message):
        list(instructions(b"\x01" + code))


@pytest.mark.parametrize(
    ("code", "proposal"),
    [
        *((bytes((opcode, 0x40)), "legacy exceptions") for opcode in (6, 7, 9, 0x18, 0x19)),
        (b"\x14\x00", "typed function references"),
        (b"\xd5\x00", "typed function references"),
        (b"\xd0\x05", "typed function references"),
        (b"\xfb\x01\x00", "garbage collection"),
        (b"\xe2\x00", "stack switching"),
        (b"\xfc\x13", "wide arithmetic"),
    ],
)
def test_unsupported_by_name(code: bytes, proposal: str) -> None:
    with pytest.raises(UnsupportedModule, match=proposal) as caught:
        list(instructions(b"\x01" + code, base=0x20))
    assert "0x21" in str(caught.value) or "0x22" in str(caught.value)  # or its operand
    if proposal == "legacy exceptions":
        assert "exnref" in caught.value.hint


def slowly(code: bytes) -> list[Instr] | str:
    """What ``instructions`` must give, without cutter and cache."""
    found = []
    pos = 0
    try:
        while pos < len(code):
            found.append(decode_instr(code, pos))
            pos = found[-1].end
    except WasnapError as error:
        return str(error)
    return found


@given(
    st.lists(
        st.sampled_from(sorted(OPS)).map(
            lambda code: (
                bytes((code >> 16,)) + unsigned(code & 0xFFFF) if code > 0xFF else bytes((code,))
            )
        )
        | st.binary(max_size=6)
        | st.sampled_from([b"\x80", b"\x00", b"\x0e\x41", b"\x0b"]),
        max_size=12,
    ).map(b"".join)
)
def test_cutter_and_table_agree_on_any_bytes(code: bytes) -> None:
    try:
        quickly: list[Instr] | str = list(instructions(code))
    except WasnapError as error:
        quickly = str(error)
    assert quickly == slowly(code)


def checked(code: bytes, data_count: int | None = None) -> None:
    check_code(Module(code=[Body([], code, 100)], data_count=data_count))


def test_check_code_takes_well_formed_bodies() -> None:
    checked(END)
    checked(b"\x02\x40\x03\x40\x0b\x04\x40\x05\x0b\x0b\x0b")
    checked(b"\xfc\x09\x00\x0b", data_count=1)


@pytest.mark.parametrize(
    ("code", "message", "offset"),
    [
        (b"\x0b\x01\x0b", "goes on after", 101),
        (b"\x02\x40\x0b", "ends inside a block", 103),
        (b"\x41\x0b", "ends inside a block", 102),  # that byte is the constant
        (b"\x05\x0b", "`else` without `if`", 100),
        (b"\x04\x40\x05\x05\x0b\x0b", "`else` without `if`", 103),
        (b"\x02\x40\x05\x0b\x0b", "`else` without `if`", 102),
        (b"\x01\xfc\x09\x00\x0b", "data count section required", 101),
        (b"\xfc\x08\x00\x00\x0b", "data count section required", 100),
        (b"\x01\x01\x27\x0b", "unknown instruction", 102),
    ],
)
def test_check_code_finds(code: bytes, message: str, offset: int) -> None:
    with pytest.raises(InvalidModule, match=message) as caught:
        checked(code)
    assert caught.value.offset == offset


def test_decode_checks_code_only_when_asked() -> None:
    raw = b"\0asm\1\0\0\0\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\x01\x03\x00\x27\x0b"
    assert decode(raw).code[0].code == b"\x27\x0b"
    with pytest.raises(InvalidModule, match="0x27") as caught:
        decode(raw, code=True)
    assert caught.value.offset == raw.index(b"\x27")
