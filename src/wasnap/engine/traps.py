"""Traps as a user should read them: what happened, in the specification's words, and where.

Function names are the guest's own: the transform keeps the name section, and continuation modules
carry the original names, so a trap in a continued function looks like one in the original. The
engine records the innermost 20 frames.
"""

from __future__ import annotations

import wasmtime
from wasmtime import TrapCode

from wasnap.engine import native
from wasnap.errors import GuestTrap
from wasnap.instrument import abi

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


def guest_trap(trap: native.Ended, functions: int = 1 << 32, thread: int = 0) -> GuestTrap:
    """What ended the guest as our exception, innermost frame first.

    ``functions``: how many the guest's module has; those behind them are ours. ``thread``: its
    number, told unless it is the main thread.
    """
    code = trap.trap_code if isinstance(trap, wasmtime.Trap) else None
    if code is not None and code in MESSAGES:
        message = MESSAGES[code]
    elif _UNCAUGHT in str(trap):
        message = "uncaught exception"
    else:
        message = str(trap).strip().splitlines()[-1].strip().removeprefix("wasm trap: ")
    if thread:
        message += f" (in thread {thread})"
    trace = [frame for frame in native.trace(trap) if frame.name or frame.function < functions]
    names = [frame.name or f"function[{frame.function}]" for frame in trace]
    return GuestTrap(message, tuple(n for n in names if not n.startswith(abi.PREFIX)))
