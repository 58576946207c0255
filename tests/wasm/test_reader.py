"""The cursor: LEB128 to the last bit, names, types, and never a byte past its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasnap.errors import InvalidModule, UnsupportedModule
from wasnap.wasm.reader import Reader, signed, unsigned
from wasnap.wasm.types import EXNREF, FUNCREF, I32

SENTINEL = b"\x7f\x7f"


@given(st.integers(0, 2**64 - 1))
def test_unsigned_comes_back_and_stops_at_its_end(value: int) -> None:
    encoded = unsigned(value)
    reader = Reader(SENTINEL + encoded + SENTINEL, 2)
    assert reader.unsigned(64) == value
    assert reader.pos == 2 + len(encoded)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_comes_back_and_stops_at_its_end(value: int) -> None:
    encoded = signed(value)
    reader = Reader(SENTINEL + encoded + SENTINEL, 2)
    assert reader.signed(64) == value
    assert reader.pos == 2 + len(encoded)


@given(st.binary(max_size=12), st.sampled_from([32, 33, 64]))
def test_any_bytes_are_a_number_in_range_or_an_error_in_place(raw: bytes, bits: int) -> None:
    for read, low, high in (
        (Reader.unsigned, 0, 2**bits - 1),
        (Reader.signed, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
    ):
        reader = Reader(raw)
        try:
            value = read(reader, bits)
        except InvalidModule as error:
            assert error.offset is not None and 0 <= error.offset <= len(raw)
        else:
            assert low <= value <= high
            assert reader.pos <= -(-bits // 7)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x00", 0),
        (b"\x80\x00", 0),  # longer than needed is allowed
        (b"\x80\x80\x80\x80\x00", 0),
        (b"\xff\xff\xff\xff\x0f", 2**32 - 1),
    ],
)
def test_u32(raw: bytes, value: int) -> None:
    assert Reader(raw + SENTINEL).u32() == value


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "unexpected end"),
        (b"\x80", "unexpected end"),
        (b"\x80\x80\x80\x80\x80\x00", "too long"),
        (b"\xff\xff\xff\xff\x1f", "too large"),  # unused bit 32
        (b"\xff\xff\xff\xff\x4f", "too large"),
    ],
)
def test_u32_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidModule, match=message):
        Reader(raw).u32()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x7f", -1),
        (b"\xff\x7f", -1),
        (b"\x80\x80\x80\x80\x78", -(2**31)),
        (b"\xff\xff\xff\xff\x07", 2**31 - 1),
    ],
)
def test_s32(raw: bytes, value: int) -> None:
    assert Reader(raw + SENTINEL).signed(32) == value


@pytest.mark.parametrize(
    "raw", [b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x70", b"\xff\xff\xff\xff\x4f"]
)
def test_s32_unused_bits_must_be_the_sign(raw: bytes) -> None:
    with pytest.raises(InvalidModule, match="too large"):
        Reader(raw).signed(32)


def test_end_is_the_readers_not_the_datas() -> None:
    reader = Reader(b"\x80\x01\x02\x03", 0, 1)
    with pytest.raises(InvalidModule) as caught:
        reader.u32()
    assert caught.value.offset == 1
    with pytest.raises(InvalidModule):
        Reader(b"abc", 0, 2).take(3)


def test_base_moves_the_offsets_of_errors() -> None:
    with pytest.raises(InvalidModule, match=r"at byte 102 \(0x66\)"):
        Reader(b"ab", 2, base=100).byte()


def test_names_are_utf8() -> None:
    assert Reader(b"\x02\xc3\xa9x").name() == "é"
    for raw in (b"\x01\xff", b"\x03\xed\xa0\x80", b"\x02\xc0\x80"):  # surrogate, overlong
        with pytest.raises(InvalidModule, match="UTF-8"):
            Reader(raw).name()


def test_value_types() -> None:
    assert Reader(b"\x7f").value_type() == I32
    assert Reader(b"\x63\x70").value_type() == FUNCREF  # the long form
    assert Reader(b"\x69").reference_type() == EXNREF
    for raw in (b"\x00", b"\x40", b"\x7a", b"\x63\x7f"):
        with pytest.raises(InvalidModule, match="malformed"):
            Reader(raw).value_type()
    with pytest.raises(InvalidModule, match="reference type"):
        Reader(b"\x7f").reference_type()


@pytest.mark.parametrize(
    ("raw", "proposal"),
    [
        (b"\x64\x70", "typed function references"),
        (b"\x63\x05", "typed function references"),
        (b"\x6e", "garbage collection"),
        (b"\x63\x6b", "garbage collection"),
        (b"\x68", "stack switching"),
    ],
)
def test_types_of_other_proposals_are_named(raw: bytes, proposal: str) -> None:
    with pytest.raises(UnsupportedModule, match=proposal):
        Reader(raw).value_type()
