"""What the pass over a function (``scan.py``) finds: blocks, potential sites, facts on the module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from wasnap.instrument.bytecode import leb
from wasnap.wasm.module import Module
from wasnap.wasm.types import FuncType

CALL, LOOP, TAIL = 0, 1, 2
KIND_NAMES = ("call", "loop", "tail")
INDIRECT = -1

_WAIT64 = 0x02


class Frame:
    """An open block: what is known of it while the pass is inside, and what the transform needs of it later."""

    __slots__ = (
        "below",
        "body",
        "copies",
        "else_node",
        "else_pos",
        "end_node",
        "end_pos",
        "handlers",
        "height",
        "kind",
        "loop_node",
        "params",
        "parent",
        "results",
        "start",
        "target",
    )

    def __init__(
        self,
        kind: int,
        start: int,
        body: int,
        params: bytes,
        results: bytes,
        height: int,
        parent: Frame | None,
        handlers: tuple[int, ...],
    ) -> None:
        self.kind = kind  # the opcode: 0x02 block, 0x03 loop, 0x04 if, 0x1F try_table, 0 the function itself
        self.start = start  # where the opening instruction is
        self.body = body  # where its body begins
        self.params = params
        self.results = results
        self.height = height  # operands below its parameters, counted from the function's first
        self.parent = parent
        self.handlers = handlers  # flow nodes where an exception thrown in it may go on
        self.below = b""  # types of the parent's own operands that lie below the parameters
        self.copies: tuple[int, ...] | None = (
            None  # locals that hold copies of those, once a site was found inside
        )
        self.end_node = -1
        self.loop_node = -1
        self.else_node = -1
        self.target = -1  # flow node that a branch to it reaches
        self.else_pos = -1
        self.end_pos = -1


class SiteScan:
    """A potential site, before it is known whether it becomes one."""

    __slots__ = (
        "callee",
        "cover",
        "depth",
        "frame",
        "kind",
        "live",
        "node",
        "operands",
        "pos",
        "results",
        "start",
    )

    def __init__(
        self,
        kind: int,
        start: int,
        pos: int,
        callee: int,
        operands: bytes,
        results: bytes,
        depth: int,
        frame: Frame,
        node: int,
    ) -> None:
        self.kind = kind
        self.start = start  # first byte of the instruction
        self.pos = pos  # where the poll goes
        self.callee = callee  # function index, or INDIRECT
        self.operands = operands  # types of the innermost block's operands at the poll, results of the call last
        self.results = results
        self.depth = depth  # open labels, the function's own included
        self.frame = frame  # innermost open block
        self.node = node  # live-out of this flow node is live here
        self.live = 0  # bit set of locals, set by liveness
        # Of a loop: if each way around passes a call, the functions called there (defined or imported ones): where all
        # of them may suspend, the polls behind those calls serve and the header needs none.
        self.cover: tuple[int, ...] | None = None


@dataclass(slots=True)
class FunctionScan:
    """What the pass found in one function."""

    index: int
    type: FuncType
    locals: bytes
    """Types of all locals, parameters first."""
    sites: list[SiteScan]
    root: Frame
    drops: list[tuple[int, int, int]] = field(default_factory=list)
    """(position after the instruction, 0 data or 1 element, segment) of each data.drop and elem.drop."""
    futexes: list[tuple[int, int, Futex]] = field(default_factory=list)
    """(first byte, position after it, what it is) of each wait and notify on a shared memory."""
    extra_locals: list[int] = field(default_factory=list)
    """Types of the copies' locals; the first has the index len(locals)."""
    copied: list[Frame] = field(default_factory=list)
    """Blocks that keep copies of the operands below them."""


class Futex(NamedTuple):
    """A memory.atomic.notify (kind 0), wait32 (1) or wait64 (2) on a shared memory, with its static offset."""

    kind: int
    memory: int
    offset: int


class ModuleFacts:
    """What the pass must know of the module around a function, in the form it can use fastest."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.types = [(t.params, t.results) for t in module.types]
        self.function_types = [module.types[t] for t in module.function_space()]
        self.n_imported = len(self.function_types) - len(module.functions)
        self.globals = bytes(g.value for g in module.global_space())
        self.memory64 = [m.limits.is64 for m in module.memory_space()]
        self.shared = [m.limits.shared for m in module.memory_space()]
        self.has_shared = any(self.shared)
        tables = module.table_space()
        self.table_elements = bytes(t.element for t in tables)
        self.table64 = [t.limits.is64 for t in tables]
        # Seen anywhere in the code:
        self.mutable_tables: set[int] = set()
        self.dropped: set[tuple[int, int]] = set()
        self.referenced: set[int] = set()
        self.initialised: set[tuple[int, int, int]] = (
            set()
        )  # (0 memory.init or 1 table.init, segment, memory or table)
        self.futexes: set[Futex] = set()
        self.uses_references = False
        self.uses_exceptions = False


def futex_at(facts: ModuleFacts, code: bytes, start: int) -> Futex | None:
    """The wait or notify that the 0xFE instruction at ``start`` is; None: another, or on a memory of our own.

    (On a memory that is not shared wait traps and notify wakes nobody, in the engine as in the host.)
    """
    kind, p = leb(code, start + 1)
    if kind > _WAIT64:
        return None
    flags, p = leb(code, p)
    memory = 0
    if flags & 0x40:
        memory, p = leb(code, p)
    return Futex(kind, memory, leb(code, p)[0]) if facts.shared[memory] else None
