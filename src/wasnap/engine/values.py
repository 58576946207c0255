"""Values on their way between Python and the engine's raw slots, the frames, and the journal.

Three forms:

- *Python*: what host functions see: unsigned ints, floats, 16 bytes for v128;
- *slot*: 16 bytes little-endian in the engine's argument array, the value at its start;
- *packed*: what stands in a frame: 4, 8 or 16 bytes, one after the other.

Where bits must survive exactly (a NaN's payload) values stay *raw*: an unsigned int with the
value's bits, whatever its type.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from wasnap.wasm.types import EXTERNREF, F32, F64, FUNCREF, I32, I64, V128, VALUE_TYPE_NAMES

WIDTH: dict[int, int] = {I32: 4, I64: 8, F32: 4, F64: 8, V128: 16, FUNCREF: 8, EXTERNREF: 4}
"""Bytes of a value in a slot or, for numbers and vectors, in a frame."""

FORMAT: dict[int, str] = {I32: "I", I64: "Q", F32: "f", F64: "d", V128: "16s"}
"""Struct format of the types a host function may have."""

Value = int | float | bytes


def slot_struct(types: bytes) -> Struct:
    """The Struct that reads or writes values of these types in consecutive slots."""
    return Struct("<" + "".join(f"{FORMAT[t]}{16 - WIDTH[t]}x" for t in types))


def packed_struct(types: bytes) -> Struct:
    """The Struct that reads or writes values of these types as they stand in a frame."""
    return Struct("<" + "".join(FORMAT[t] for t in types))


def normalised(values: object, types: bytes) -> tuple[Value, ...]:
    """A host function's results as a tuple, with ints made unsigned. TypeError if they differ."""
    if values is None:
        listed: tuple[Value, ...] = ()
    elif isinstance(values, tuple):
        listed = values
    else:
        listed = (values,)  # type: ignore[assignment]
    if len(listed) != len(types):
        names = " ".join(VALUE_TYPE_NAMES[t] for t in types)
        raise TypeError(f"a host function returned {values!r} where its results are ({names})")
    return tuple(
        v & (0xFFFFFFFF if t == I32 else 0xFFFFFFFFFFFFFFFF) if t in (I32, I64) else v  # type: ignore[operator]
        for v, t in zip(listed, types, strict=True)
    )


def raw_slots(raws: Sequence[int], count: int) -> bytearray:
    """``count`` slots (but at least one) that begin with the raw values."""
    slots = bytearray(16 * max(count, 1))
    for i, raw in enumerate(raws):
        slots[16 * i : 16 * i + 16] = raw.to_bytes(16, "little")
    return slots


def raws_from_slots(slots: bytes | bytearray, types: bytes) -> tuple[int, ...]:
    """The raw values of these types that stand in the slots."""
    return tuple(
        int.from_bytes(slots[16 * i : 16 * i + WIDTH[t]], "little") for i, t in enumerate(types)
    )
