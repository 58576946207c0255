"""A regular expression that cuts code into whole instructions, at the speed of C.

It is built from the table of instructions and knows the usual forms of all of them. It does not
judge: the unused bits of a LEB128 may be wrong. Where it finds anything else (an unknown opcode, a
``br_table`` with many targets, an opcode spelled with more bytes than it needs, an end in the
middle), its last alternative takes all that is left, and the caller decodes one instruction
there by hand and goes on behind it.
"""

from __future__ import annotations

import re
from functools import cache

from wasnap.wasm.opcodes import OPS
from wasnap.wasm.reader import unsigned

_U32 = rb"(?:[\x00-\x7f]|[\x80-\xff]{1,4}[\x00-\x7f])"
_U64 = rb"(?:[\x00-\x7f]|[\x80-\xff]{1,9}[\x00-\x7f])"
_CATCH_CLAUSE = rb"(?:[\x00\x01]" + _U32 + _U32 + rb"|[\x02\x03]" + _U32 + rb")"
_TARGETS_MAX = 64  # of a br_table
_CATCHES_MAX = 8  # of a try_table


def _counted(first: int, last: int, item: bytes, more: int = 0) -> bytes:
    """A count from ``first`` to ``last`` and so many items (and ``more``), as one pattern."""
    counts = (re.escape(bytes((n,))) + item + rb"{%d}" % (n + more) for n in range(first, last + 1))
    return rb"(?:" + b"|".join(counts) + rb")"


_PATTERNS: dict[str, bytes] = {
    **dict.fromkeys("FYTMGKXEDJbs", _U32),
    "S": _U64,
    "m": rb"(?:[\x00-\x3f]|[\x40-\x7f]" + _U32 + rb")" + _U64,
    "f": rb".{4}",
    "d": rb".{8}",
    "v": rb".{16}",
    "l": rb".{16}",
    "L": rb".",
    "t": rb"\x01.",
    "h": rb"[\x40-\x7f]",
    "z": rb"\x00",
    "j": _counted(0, _TARGETS_MAX, _U32, more=1),
    "c": _counted(0, _CATCHES_MAX, _CATCH_CLAUSE),
}


def _opcodes(codes: list[int]) -> bytes:
    """A pattern for any of the opcodes: sets of bytes, one for each distinct frame around them."""
    sets: dict[tuple[bytes, bytes], list[int]] = {}
    for code in codes:
        prefix, sub = code >> 16, code & 0xFFFF
        spelled = unsigned(sub) if prefix else bytes((sub,))
        frame = (bytes((prefix,)) if prefix else b"", spelled[1:])
        sets.setdefault(frame, []).append(spelled[0])
    alternatives = (
        re.escape(before) + b"[" + re.escape(bytes(middle)) + b"]" + re.escape(after)
        for (before, after), middle in sets.items()
    )
    return b"(?:" + b"|".join(alternatives) + b")"


def _pattern() -> bytes:
    groups: dict[tuple[bool, str], list[int]] = {(False, letters): [] for letters in ("X", "", "m")}
    for op in OPS.values():
        groups.setdefault((op.code > 0xFF, op.immediates), []).append(op.code)
    alternatives = [
        _opcodes(codes) + b"".join(_PATTERNS[letter] for letter in immediates)
        for (_, immediates), codes in sorted(groups.items(), key=lambda item: item[0][0])
    ]
    return b"|".join([*alternatives, rb".+"])


@cache
def cutter() -> re.Pattern[bytes]:
    """The expression; made at the first use (10 ms), since many runs never look into code."""
    return re.compile(_pattern(), re.DOTALL)
