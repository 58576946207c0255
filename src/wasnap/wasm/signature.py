"""What an instruction pops and pushes, with i64 where a memory or table is 64-bit.

The rules stand in the header of ``opcodes.py``; this is the one place that applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wasnap.wasm.opcodes import Op
from wasnap.wasm.types import I32, I64, MemoryType, TableType


def signature(
    op: Op, args: tuple[Any, ...], memories: Sequence[MemoryType], tables: Sequence[TableType]
) -> tuple[bytes | None, bytes | None]:
    """``op.pops`` and ``op.pushes`` for these ``args``; ``memories`` and ``tables`` are the spaces.

    Raises IndexError if the module has no such memory or table.
    """
    if not op.addresses and not op.pushes_address:
        return op.pops, op.pushes
    wide = [
        (memories if letter == "M" else tables)[index].limits.is64
        for letter, index in zip(op.immediates, args, strict=False)
        if letter in "MT"
    ]
    if op.immediates[0] == "m":
        wide = [memories[args[2]].limits.is64]
    if len(wide) == 2:
        wide.append(all(wide))
    pops = op.pops
    if pops is not None:
        changed = bytearray(pops)
        for n, position in enumerate(op.addresses):
            changed[position] = I64 if wide[n if len(wide) > 1 else 0] else I32
        pops = bytes(changed)
    pushes = bytes((I64 if wide[0] else I32,)) if op.pushes_address else op.pushes
    return pops, pushes
