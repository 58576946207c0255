"""The mutable globals of a stopped guest, as they stand in the static area of its control memory.

They are saved and restored with it (``wasnap.save`` and ``wasnap.load``); this reads them for
people.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from wasnap.engine.state import ThreadState
from wasnap.engine.values import FORMAT, Value
from wasnap.instrument import abi
from wasnap.instrument.abi import ProgramInfo
from wasnap.wasm.types import FUNCREF, VALUE_TYPE_NAMES


class GlobalValue(NamedTuple):
    """``number``: its index. ``type``: i32, f64, funcref ... ``value``: integers unsigned; of a
    funcref the function's index, -1 for null; None for what has no value that can be shown.
    """

    number: int
    type: str
    value: Value | None


def globals_of(info: ProgramInfo, state: ThreadState) -> list[GlobalValue]:
    """All mutable globals, by index."""
    return [
        GlobalValue(saved.index, VALUE_TYPE_NAMES[saved.type], _value(saved, state))
        for saved in info.globals
    ]


def _value(saved: abi.SavedGlobal, state: ThreadState) -> Value | None:
    at = saved.address - abi.STATIC_AREA
    if saved.type in FORMAT:
        value: Value = Struct("<" + FORMAT[saved.type]).unpack_from(state.stack, at)[0]
        return value
    if saved.type != FUNCREF:
        return None
    slot = int.from_bytes(state.stack[at : at + 4], "little", signed=True)
    references = state.tables.get(abi.REFS, [])
    return references[slot] if 0 <= slot < len(references) else -1
