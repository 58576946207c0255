"""The binary interface between an instrumented module, its continuations and the engine.

Names, offsets and the facts about one transformed module that outlive the transform: they are cached with the
compiled code and are all that the engine needs on a second start.  The tables stand in ``docs/architecture.md``.

(Annotations here are values: msgspec would have to compile each that is text, at each start.)
"""

import msgspec

from wasnap.wasm.types import EXNREF, EXTERNREF, F32, F64, FUNCREF, I32, I64, V128

TRANSFORM_VERSION = 2
"""Raised whenever the sites, their numbers or the layout of frames change: frames of another version are not ours."""

PREFIX = "wasnap."
CONTROL = "wasnap.control"
FRAME_POINTER = "wasnap.fp"
START = "wasnap.start"
SAVE = "wasnap.save"
LOAD = "wasnap.load"
REFS = "wasnap.refs"
FUNCS = "wasnap.funcs"
SLOTS = "wasnap.slots"
TICK = "wasnap.tick"
STOP = "wasnap.stop"
PUSH = "wasnap.push"
SPILL = "wasnap.spill"
"""Prefix of the helpers that push a frame; each module has its own."""
SAVE_REF = "wasnap.save_ref"
LOAD_REF = "wasnap.load_ref"
SAVE_EXN = "wasnap.save_exn"
LOAD_EXN = "wasnap.load_exn"
ENTER = "wasnap.enter"
LEAVE = "wasnap.leave"
RESUME = "resume"
"""What a continuation module exports."""
FUTEX = "wasnap.futex"
"""Prefix of the helpers that stand for memory.atomic.notify and wait: kind, memory, offset."""
HOST = "wasnap.host"
"""Table of the host functions that those call, by kind; and the module name they are provided under."""
FUTEX_CALLS = (
    ("notify", bytes((I32, I64, I32)), bytes((I32,))),
    ("wait32", bytes((I32, I64, I32, I64)), bytes((I32,))),
    ("wait64", bytes((I32, I64, I64, I64)), bytes((I32,))),
)
"""By kind (the instruction's number behind 0xFE): name, parameters, results. Parameters: memory, address, then the
instruction's own."""

STOP_WORD = 0
NO_STOP_DEPTH = 4
COUNTDOWN = 8
STATIC_AREA = 16

FRAME_HEADER = 8
EXCEPTION_FRAME = 0xFFFF_0000
"""A frame header whose site is this or above holds a saved exception: this + the tag's index."""

PAGE = 65536
CONTROL_PAGES_MAX = 65536

SIZE_OF = {I32: 4, F32: 4, I64: 8, F64: 8, V128: 16, FUNCREF: 4, EXNREF: 4, EXTERNREF: 0}
"""Bytes that a value takes in a frame; references are saved as handles."""


class MemoryInfo(msgspec.Struct, array_like=True, frozen=True):
    """One of the guest's memories: its limits in its own pages, and whether addresses have 64 bits."""

    minimum: int
    maximum: int | None
    is64: bool
    shared: bool
    imported: bool


class ImportInfo(msgspec.Struct, array_like=True, frozen=True):
    """An imported function: ``index`` in the function space, and its type as value-type bytes."""

    module: str
    name: str
    params: bytes
    results: bytes


class SavedGlobal(msgspec.Struct, array_like=True, frozen=True):
    """A mutable global: its index, its value type, and where its value stands in the static area."""

    index: int
    type: int
    address: int


class ProgramInfo(msgspec.Struct):
    """What the engine and the continuations must know of an instrumented module.

    ``site_bases``: for each defined function the number of its first site (one more entry at the end: their count).
    ``suspends``: one byte per function of the whole index space, 1 if a call to it can end in unwinding.
    ``dispatched``: functions that continuation modules may call, sorted; see ``dispatch``.
    ``referable``: slot k of ``wasnap.funcs`` holds function ``referable[k]``.
    ``mutable_tables``: tables that the code can change.
    """

    transform: int
    counted: bool
    frames_base: int
    site_bases: list[int]
    suspends: bytes
    guarded: bool
    """Some call must not be stopped below: polls look at the no-stop depth, too."""
    dispatched: list[int]
    referable: list[int]
    mutable_tables: list[int]
    imports: list[ImportInfo]
    memories: list[MemoryInfo]
    has_start: bool
    has_refs: bool
    has_exns: bool
    dropped: list[tuple[int, int]]
    """Segments that the code can drop: (0 data or 1 element, index); flag k of the static area is dropped[k]."""
    segment_helpers: list[str]
    """Names of the exported helpers that stand for memory.init and its like in continuation modules."""
    globals: list[SavedGlobal] = []
    host_memory: int = 0
    """The memory that the host's pointers are for: the one exported as "memory", else the first."""
    likely: list[int] = []
    """Sites that are worth having continuations of before they are asked for; see ``likely.py``."""


class Site(msgspec.Struct, frozen=True):
    """One place in one function where it can stop.

    ``kind`` is "call" (after a call), "loop" (at a loop's header) or "tail" (before a tail call).
    ``position``: byte offset in the function's original code.  ``results``: types of the call's results
    (empty for other kinds); they lie at ``results_offset`` from the frame's start, tightly packed.
    ``size``: bytes of the frame with its header.
    """

    number: int
    function: int
    kind: str
    position: int
    results: bytes
    results_offset: int
    size: int
