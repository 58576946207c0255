"""Traps as a user should read them: what happened, in the specification's words, and where.

Function names are the guest's own: the transform keeps the name section, and continuation modules
carry the original names, so a trap in a continued function looks like one in the original. The
engine records the innermost 20 frames.
"""

from __future__ import annotations

from wasnap.engine import native
from wasnap.engine.objects import Trap
from wasnap.errors import GuestTrap
from wasnap.instrument import abi

MESSAGES: dict[int, str] = {
    0: "call stack exhausted",  # STACK_OVERFLOW
    1: "out of bounds memory access",  # MEMORY_OUT_OF_BOUNDS
    2: "unaligned atomic",  # HEAP_MISALIGNED
    3: "undefined element: out of bounds table access",  # TABLE_OUT_OF_BOUNDS
    4: "uninitialized element",  # INDIRECT_CALL_TO_NULL
    5: "indirect call type mismatch",  # BAD_SIGNATURE
    6: "integer overflow",  # INTEGER_OVERFLOW
    7: "integer divide by zero",  # INTEGER_DIVISION_BY_ZERO
    8: "invalid conversion to integer",  # BAD_CONVERSION_TO_INTEGER
    9: "unreachable",  # UNREACHABLE
    12: "expected shared memory",  # ATOMIC_WAIT_NON_SHARED_MEMORY
    13: "null reference",  # NULL_REFERENCE
    49: "uncaught exception",  # UNCAUGHT_EXCEPTION
}
"""By the engine's code (wasmtime_trap_code_t); the words are those of the specification's test suite."""

_UNCAUGHT = "thrown Wasm exception"


def guest_trap(trap: native.Ended, functions: int = 1 << 32, thread: int = 0) -> GuestTrap:
    """What ended the guest as our exception, innermost frame first.

    ``functions``: how many the guest's module has; those behind them are ours. ``thread``: its
    number, told unless it is the main thread.
    """
    code = trap.code if isinstance(trap, Trap) else None
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
