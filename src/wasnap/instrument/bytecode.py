"""Walking over the bytes of a function's body: immediates, and instructions as a whole.

Made for speed, on code that has been validated: positions go in and out, nothing is checked.
"""

from __future__ import annotations

from wasnap.wasm.types import EXNREF, EXTERNREF, F32, F64, FUNCREF, I32, I64, V128

VALUE_TYPES = frozenset((I32, I64, F32, F64, V128, FUNCREF, EXTERNREF, EXNREF))

_ATOMIC_FENCE = 0x03


def leb(code: bytes, p: int) -> tuple[int, int]:
    """An unsigned LEB128 at ``p``: (value, position behind it)."""
    b = code[p]
    p += 1
    if b < 128:
        return b, p
    value = b & 127
    shift = 7
    while True:
        b = code[p]
        p += 1
        value |= (b & 127) << shift
        if b < 128:
            return value, p
        shift += 7


def skip_memarg(code: bytes, p: int) -> int:
    """The position behind the memarg at ``p``."""
    flags, p = leb(code, p)
    if flags & 0x40:
        while code[p] >= 128:
            p += 1
        p += 1
    while code[p] >= 128:
        p += 1
    return p + 1


def block_type(code: bytes, p: int, types: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes, int]:
    """The block type at ``p``: (params, results, position behind it)."""
    b = code[p]
    if b == 0x40:
        return b"", b"", p + 1
    if b in VALUE_TYPES:
        return b"", bytes((b,)), p + 1
    index, p = leb(code, p)
    params, results = types[index]
    return params, results, p


def skip_instruction(code: bytes, p: int) -> int:
    """The position behind the instruction at ``p`` (a block's opening counts as one, without its body)."""
    op = code[p]
    p += 1
    if 0x45 <= op <= 0xC4 or op in (0x00, 0x01, 0x05, 0x0A, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1):
        return p
    if 0x28 <= op <= 0x3E:
        return skip_memarg(code, p)
    if op == 0x43:
        return p + 4
    if op == 0x44:
        return p + 8
    if op in (0x11, 0x13):
        return leb(code, leb(code, p)[1])[1]
    if op == 0x0E:
        count, p = leb(code, p)
        for _ in range(count + 1):
            while code[p] >= 128:
                p += 1
            p += 1
        return p
    if op == 0x1C:
        count, p = leb(code, p)
        return p + count
    if op == 0x1F:
        p = leb(code, p)[1]
        count, p = leb(code, p)
        for _ in range(count):
            kind = code[p]
            p += 1
            if kind < 2:
                p = leb(code, p)[1]
            p = leb(code, p)[1]
        return p
    if op == 0xFC:
        sub, p = leb(code, p)
        if sub < 8:
            return p
        p = leb(code, p)[1]
        return leb(code, p)[1] if sub in (8, 10, 12, 14) else p
    if op == 0xFD:
        sub, p = leb(code, p)
        if sub <= 11 or sub in (92, 93):
            return skip_memarg(code, p)
        if sub in (12, 13):
            return p + 16
        if 21 <= sub <= 34:
            return p + 1
        if 84 <= sub <= 91:
            return skip_memarg(code, p) + 1
        return p
    if op == 0xFE:
        sub, p = leb(code, p)
        return p + 1 if sub == _ATOMIC_FENCE else skip_memarg(code, p)
    # one LEB: blocks (s33), branches, calls, locals, globals, tables, memory.size/grow, consts, throw, ref.null/func
    while code[p] >= 128:
        p += 1
    return p + 1


LEAVING = frozenset((0x00, 0x0C, 0x0E, 0x0F, 0x08, 0x0A, 0x12, 0x13))
"""unreachable, br, br_table, return, throw, throw_ref, return_call(_indirect): what follows is not reached."""


def skip_unreached(code: bytes, p: int) -> int:
    """The position of the end (or else) of the innermost block around ``p``."""
    open_blocks = 0
    while True:
        op = code[p]
        if op == 0x0B or op == 0x05:
            if open_blocks == 0:
                return p
            if op == 0x0B:
                open_blocks -= 1
        elif op == 0x02 or op == 0x03 or op == 0x04 or op == 0x1F:
            open_blocks += 1
        p = skip_instruction(code, p)
