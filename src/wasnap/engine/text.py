"""Arguments and results of an invoked function as words: what stands on a command line.

Integers are decimal or hexadecimal (``0x``), signed or unsigned; results are signed, as the engine's
own command prints them. Of a NaN only that it is one is told.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from wasnap.engine.values import WIDTH
from wasnap.errors import UnsupportedModule, UsageError
from wasnap.wasm.types import F32, F64, I32, I64, V128, VALUE_TYPE_NAMES, FuncType

_FLOAT = {F32: struct.Struct("<f"), F64: struct.Struct("<d")}
_F32_DIGITS_MAX = 9
"""So many tell any two of them apart (IEEE 754, 5.12.2)."""


def arguments(name: str, type: FuncType, words: Sequence[str]) -> tuple[int, ...]:
    """The raw values of the function's parameters, read from the first words.

    Raises UsageError for too few or unreadable ones, UnsupportedModule for a parameter that has no
    words.
    """
    if len(words) < len(type.params):
        raise UsageError(
            f"{name} is {type}: {len(words)} arguments are too few", "they stand behind the module"
        )
    return tuple(_raw(name, word, t) for word, t in zip(words, type.params, strict=False))


def _raw(name: str, word: str, type: int) -> int:
    try:
        if type in (I32, I64, V128):
            bits = 8 * WIDTH[type]
            number = int(word, 0)
            if not -1 << (bits - 1) <= number < 1 << bits:
                raise ValueError
            return number & ((1 << bits) - 1)
        if type in _FLOAT:
            packed = _FLOAT[type].pack(float(word))
            return int.from_bytes(packed, "little")
    except (ValueError, OverflowError):
        raise UsageError(f"{name} takes an {VALUE_TYPE_NAMES[type]}, and {word} is none") from None
    raise UnsupportedModule(
        f"{name} takes an {VALUE_TYPE_NAMES[type]}, which cannot be given on a command line"
    )


def shown(raw: int, type: int) -> str:
    """A result for people and shells; a reference only by its type."""
    if type in (I32, I64):
        bits = 8 * WIDTH[type]
        return str(raw - (raw >> (bits - 1) << bits))
    if type == V128:
        return str(raw)
    if type not in _FLOAT:
        return f"<{VALUE_TYPE_NAMES[type]}>"
    (number,) = _FLOAT[type].unpack(raw.to_bytes(WIDTH[type], "little"))
    if type == F64:
        return repr(number).removesuffix(".0")
    digits = (f"{number:.{n}g}" for n in range(1, _F32_DIGITS_MAX + 1))
    return next(d for d in digits if d == "nan" or _same_f32(float(d), number))


def _same_f32(a: float, b: float) -> bool:
    try:
        return _FLOAT[F32].pack(a) == _FLOAT[F32].pack(b)
    except OverflowError:  # rounded up, beyond the largest
        return False
