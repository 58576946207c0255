"""Traps as a user should read them: what happened, in the specification's words, and where.

Function names are the guest's own: the transform keeps the name section, and continuation modules
carry the original names, so a trap in a continued function looks like one in the original. The
engine records the innermost 20 frames.
"""

from __future__ import annotations

import wasmtime
from wasmtime import TrapCode

from wasnap.errors import GuestTrap

MESSAGES: dict[TrapCode, str] = {
    TrapCode.STACK_OVERFLOW: "call stack exhausted",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "out of bounds memory access",
    TrapCode.HEAP_MISALIGNED: "unaligned atomic",
    TrapCode.TABLE_OUT_OF_BOUNDS: "undefined element: out of bounds table access",
    TrapCode.INDIRECT_CALL_TO_NULL: "uninitialized element",
    TrapCode.BAD_SIGNATURE: "indirect call type mismatch",
    TrapCode.INTEGER_OVERFLOW: "integer overflow",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer divide by zero",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "invalid conversion to integer",
    TrapCode.UNREACHABLE: "unreachable",
    TrapCode.ATOMIC_WAIT_NON_SHARED_MEMORY: "expected shared memory",
    TrapCode.NULL_REFERENCE: "null reference",
    TrapCode.UNCAUGHT_EXCEPTION: "uncaught exception",
}
"""By the engine's code; the words are those of the specification's test suite."""

_UNCAUGHT = "thrown Wasm exception"
OURS = "wasnap."


def guest_trap(trap: wasmtime.Trap) -> GuestTrap:
    """The engine's trap as our exception, innermost frame first."""
    code = trap.trap_code
    if code is not None and code in MESSAGES:
        message = MESSAGES[code]
    elif _UNCAUGHT in str(trap):
        message = "uncaught exception"
    else:
        message = str(trap).strip().splitlines()[-1].strip().removeprefix("wasm trap: ")
    frames = []
    for frame in trap.frames:
        name = frame.func_name or f"function[{frame.func_index}]"
        if not name.startswith(OURS):
            frames.append(name)
    return GuestTrap(message, tuple(frames))
