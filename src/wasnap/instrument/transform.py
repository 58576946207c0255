"""A whole module in, the instrumented module and what must be known of it out.

Nothing that a guest's instruction can name changes its index: what is added comes behind, in every index space.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wasnap.errors import UnsupportedModule
from wasnap.instrument import abi, helpers
from wasnap.instrument.abi import ImportInfo, MemoryInfo, ProgramInfo, SavedGlobal
from wasnap.instrument.bytecode import leb, skip_instruction
from wasnap.instrument.callgraph import CallGraph
from wasnap.instrument.emit import (
    ColdCode,
    Scratch,
    Target,
    TypeIndices,
    call,
    copy_code,
    i32_const,
)
from wasnap.instrument.layout import SMALL_SET_MAX, FunctionPlan, plan_function
from wasnap.instrument.likely import Likely
from wasnap.instrument.scan import scan
from wasnap.instrument.sites import INDIRECT, TAIL, FunctionScan, ModuleFacts, futex_at
from wasnap.wasm.encode import encode
from wasnap.wasm.module import Body, Element, Export, Global, Module, Table
from wasnap.wasm.types import (
    EXNREF,
    FUNC,
    FUNCREF,
    GLOBAL,
    I32,
    MEMORY,
    TABLE,
    TAG,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
)

OPERANDS_MAX = 1000 - SMALL_SET_MAX - 2
"""Operands of one block at a site: a branch carries them, a helper takes them with a set of locals.
The engine allows 1000 results of a block, and 1000 parameters."""

LOCALS_MAX = 50_000 - 2 * OPERANDS_MAX
"""Locals of a function with its copies: the engine allows 50,000, and code of ours needs some."""

BODY_MAX = 5_000_000
"""Bytes of an instrumented function: the engine allows 7,654,321, and in a continuation, which has at most all of
these instructions once more, a call takes up to 4 bytes more than its 8 at least here."""

HOST_MEMORY = "memory"
"""The export by which WASI finds the memory that its pointers are for."""

MEMORIES_MAX = 100 - 1
TABLES_MAX = 100 - 3
"""The engine allows 100 of each; these are what the hot module, or a continuation, adds."""

DISPATCH_WIDTH = 64
"""Functions that one dispatcher can call."""


@dataclass(frozen=True, slots=True)
class Instrumented:
    """The instrumented module's bytes, and what the engine and the continuations must know of it."""

    wasm: bytes
    info: ProgramInfo


@dataclass(slots=True)
class Analysis:
    """What is known of a module before any byte is changed."""

    module: Module
    facts: ModuleFacts
    scans: list[FunctionScan]
    graph: CallGraph
    site_bases: list[int] = field(default_factory=list)


def analyse(module: Module) -> Analysis:
    """Scan all functions and decide which may suspend."""
    facts = ModuleFacts(module)
    n = facts.n_imported
    scans = [scan(facts, n + i, body) for i, body in enumerate(module.code)]
    graph = CallGraph.analyse(facts, scans)
    bases = [0]
    for s in scans:
        bases.append(bases[-1] + len(s.sites))
    return Analysis(module, facts, scans, graph, bases)


def static_layout(
    facts: ModuleFacts,
) -> tuple[list[tuple[int, int, int]], list[tuple[int, GlobalType, int]], int]:
    """The static area: (drop flags, saved globals, where the frames begin).

    ::

        16      u32   number of live slots in wasnap.refs
        20      u8    one flag for each droppable segment
        ...           mutable globals, each as wide as in a frame (a reference: 4)
        base          frames, aligned to 16
    """
    at = abi.STATIC_AREA + 4
    flags = []
    for kind, segment in sorted(facts.dropped):
        flags.append((kind, segment, at))
        at += 1
    at = (at + 15) & ~15
    slots = []
    for index, type in enumerate(facts.module.global_space()):
        if type.mutable:
            slots.append((index, type, at))
            at += abi.SIZE_OF[type.value] or 4
    return flags, slots, (at + 15) & ~15


def dispatch_chunks(
    functions: Sequence[int], types: Sequence[FuncType]
) -> list[tuple[FuncType, list[int]]]:
    """Which dispatcher calls which functions: by type, at most DISPATCH_WIDTH each; the same for the same input."""
    by_type: dict[FuncType, list[int]] = {}
    for f in functions:
        by_type.setdefault(types[f], []).append(f)
    chunks = []
    for type, members in by_type.items():
        for i in range(0, len(members), DISPATCH_WIDTH):
            chunks.append((type, members[i : i + DISPATCH_WIDTH]))
    return chunks


def segment_helper_names(
    dropped: Sequence[tuple[int, int]], initialised: Sequence[tuple[int, int, int]]
) -> list[str]:
    """Names of the helpers that stand for segment instructions in continuation modules."""
    return [f"wasnap.drop{kind}_{segment}" for kind, segment in dropped] + [
        f"wasnap.init{kind}_{segment}_{index}" for kind, segment, index in initialised
    ]


def instrument(module: Module, *, counted: bool = False) -> Instrumented:
    """Instrument a validated module; ``module`` itself is not changed.

    ``counted``: polls count down (for harnesses that stop at the n-th safepoint) instead of only looking.
    Raises UnsupportedModule for what cannot be instrumented, by name.
    """
    # Millions of small objects, none of them in a cycle: looking for cycles would take a quarter of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return Transform(analyse(module), counted).run()
    finally:
        if collecting:
            gc.enable()


class Transform:
    """One run of the transform over an analysed module."""

    def __init__(self, analysis: Analysis, counted: bool) -> None:
        self.analysis = analysis
        self.counted = counted
        self.facts = analysis.facts
        old = analysis.module
        for export in old.exports:
            if export.name.startswith(abi.PREFIX):
                raise UnsupportedModule(
                    f"the module exports {export.name}: it is instrumented already",
                    "give wasnap the original module",
                )
        self.old = old
        self.module = replace(
            old,
            types=list(old.types),
            functions=list(old.functions),
            tables=list(old.tables),
            memories=list(old.memories),
            globals=list(old.globals),
            exports=list(old.exports),
            elements=list(old.elements),
            code=list(old.code),
        )
        self.type_index = TypeIndices(self.module.types)
        self._n_functions = len(self.facts.function_types)
        self._helper_names: dict[str, int] = {}

    def helper(self, name: str) -> int:
        """The function index of a helper: numbered as they are first asked for, written at the end."""
        index = self._helper_names.get(name)
        if index is None:
            index = self._helper_names[name] = self._n_functions + len(self._helper_names)
        return index

    def run(self) -> Instrumented:
        facts, graph, module = self.facts, self.analysis.graph, self.module
        graph.refuse_if_never_stoppable(self.analysis.scans, self.old.function_names())
        self._refuse_exceptions_in_tables()
        self._refuse_if_too_many("memories", len(facts.memory64), MEMORIES_MAX)
        self._refuse_if_too_many("tables", len(facts.table_elements), TABLES_MAX)
        self.flags, self.slots, self.frames_base = static_layout(facts)
        self.flag_of = {(kind, segment): at for kind, segment, at in self.flags}
        self.target = Target(
            control=len(facts.memory64),
            frame_pointer=len(facts.globals),
            counted=self.counted,
            guarded=graph.guarded,
            exceptions=self._has_exceptions(),
            helper=self.helper,
            type_index=self.type_index,
        )
        dispatched: set[int] = set()
        largest = 0
        n = facts.n_imported
        likely = Likely()
        for i, s in enumerate(self.analysis.scans):
            if s.sites:
                plan = plan_function(graph, s)
                if plan.sites:
                    self._refuse_if_too_large(plan)
                    likely.add(plan, len(self.old.code[i].code), self.analysis.site_bases[i])
                    for site in s.sites:
                        if site.callee != INDIRECT and site.callee >= n:
                            dispatched.add(site.callee)
                if plan.sites or plan.guarded or s.drops or s.futexes:
                    largest = max([largest, *(p.group.size for p in plan.sites)])
                    module.code[i] = self._body(plan, self.old.code[i], self.analysis.site_bases[i])
            elif s.drops or s.futexes:
                plan = FunctionPlan(s, s.locals, [], [])
                module.code[i] = self._body(plan, self.old.code[i], 0)
        info = self._describe(sorted(dispatched))
        info.likely = likely.sites()
        self._append_all(info, largest)
        return Instrumented(encode(module), info)

    def _refuse_exceptions_in_tables(self) -> None:
        """Exceptions are saved from the stack and from globals; a table's would be lost."""
        for table in sorted(self.facts.mutable_tables):
            if self.facts.table_elements[table] == EXNREF:
                raise UnsupportedModule(
                    f"the module keeps exception references in table {table}",
                    "wasnap saves those in locals, operands and globals only",
                )

    def _refuse_if_too_many(self, what: str, found: int, most: int) -> None:
        if found > most:
            raise UnsupportedModule(f"the module has {found} {what}: wasnap runs at most {most}")

    def _refuse_if_too_large(self, plan: FunctionPlan) -> None:
        """What the engine allows of a function's size must be enough for our code, too."""
        operands = max(len(site.scan.operands) for site in plan.sites)
        for what, found, most in (
            ("operands at a safepoint", operands, OPERANDS_MAX),
            ("locals", len(plan.types), LOCALS_MAX),
        ):
            if found > most:
                name = self._name(plan.scan.index)
                raise UnsupportedModule(
                    f"function {name} has {found} {what}: wasnap runs at most {most}"
                )

    def _name(self, index: int) -> str:
        return self.old.function_names().get(index, f"#{index}")

    def _has_exceptions(self) -> bool:
        facts = self.facts
        return (
            facts.uses_exceptions
            or bool(self.old.tag_space())
            or EXNREF in facts.globals
            or any(EXNREF in t.params + t.results for t in self.old.types)
            or any(EXNREF in s.locals for s in self.analysis.scans)
        )

    def _body(self, plan: FunctionPlan, body: Body, first_site: int) -> Body:
        """The instrumented body of one function."""
        target, s = self.target, plan.scan
        scratch = Scratch(len(s.locals) + len(s.extra_locals))
        # (position, 0 belongs to what ends there / 1 to what begins there, bytes, end of what they replace)
        edits: list[tuple[int, int, bytes, int]] = []
        opening = closing = b""
        if plan.sites:
            cold = ColdCode(target, plan.sites, plan.types, scratch, first_site)
            copied = 0
            for p in plan.sites:
                if p.polled:
                    site = p.scan
                    poll = target.poll(p, cold.label(p, site.depth))
                    edits.append((site.pos, int(site.kind == TAIL), poll, site.pos))
                copied |= p.group.node.mask
            for frame in s.copied:
                if frame.copies and copied >> frame.copies[0] & 1:
                    edits.append((frame.start, 1, copy_code(frame, scratch), frame.start))
            opening = cold.opening(s.type.results)
            closing = cold.closing(s.type.results)
        for site in plan.guarded:
            before, after = target.guard(
                site, call_params(self.facts, body.code, site.start, site.callee)
            )
            edits.append((site.start, 1, before, site.start))
            edits.append((site.pos, 0, after, site.pos))
        for position, kind, segment in s.drops:
            flag = helpers.drop_flag(target, self.flag_of[kind, segment])
            edits.append((position, 0, flag, position))
        for start, end, futex in s.futexes:
            edits.append((start, 2, call(target.helper(helpers.futex_name(futex))), end))
        edits.sort(key=lambda e: (e[0], e[1]))
        code = bytes(body.code)
        parts = [opening]
        done = 0
        for position, _, piece, end in edits:
            if position > done:
                parts.append(code[done:position])
            parts.append(piece)
            done = max(done, end)
        parts.append(code[done:])
        parts.append(closing)
        new_locals = runs(bytes(s.extra_locals) + bytes(scratch.types))
        whole = b"".join(parts)
        if len(whole) > BODY_MAX:
            raise UnsupportedModule(
                f"function {self._name(s.index)} is too large:"
                f" {len(whole)} bytes when it is instrumented, and wasnap runs at most {BODY_MAX}"
            )
        return Body(body.locals + new_locals, whole, body.offset)

    def _describe(self, dispatched: list[int]) -> ProgramInfo:
        facts, old, graph = self.facts, self.old, self.analysis.graph
        imported_memories = old.n_imported(MEMORY)
        types = self.facts.types
        reference_types = (
            facts.uses_references
            or bool(facts.referenced)
            or bool(facts.mutable_tables)
            or any(FUNCREF in p or FUNCREF in r for p, r in types)
            or FUNCREF in facts.globals
            or any(FUNCREF in s.locals for s in self.analysis.scans)
        )
        return ProgramInfo(
            transform=abi.TRANSFORM_VERSION,
            counted=self.counted,
            frames_base=self.frames_base,
            site_bases=self.analysis.site_bases,
            suspends=graph.suspends,
            guarded=graph.guarded,
            dispatched=dispatched,
            referable=referable_functions(old, facts) if reference_types else [],
            mutable_tables=sorted(facts.mutable_tables),
            imports=[
                ImportInfo(i.module, i.name, t.params, t.results)
                for i, t in zip(old.imported(FUNC), facts.function_types, strict=False)
            ],
            memories=[
                MemoryInfo(
                    m.limits.minimum,
                    m.limits.maximum,
                    m.limits.is64,
                    m.limits.shared,
                    i < imported_memories,
                )
                for i, m in enumerate(old.memory_space())
            ],
            has_start=old.start is not None,
            has_refs=reference_types,
            has_exns=self._has_exceptions(),
            dropped=sorted(facts.dropped),
            segment_helpers=segment_helper_names(sorted(facts.dropped), sorted(facts.initialised)),
            globals=[SavedGlobal(index, type.value, at) for index, type, at in self.slots],
            host_memory=next(
                (e.index for e in old.exports if (e.name, e.kind) == (HOST_MEMORY, MEMORY)), 0
            ),
        )

    def _append_all(self, info: ProgramInfo, largest_frame: int) -> None:
        """Add the memory, the global, the tables, the helpers and the exports."""
        module, facts, target = self.module, self.facts, self.target
        tags = [self.old.types[t] for t in self.old.tag_space()]
        headroom = largest_frame + 4096
        pages = (info.frames_base + headroom) // 65536 + 2

        exports: list[Export] = []
        for i in range(len(facts.table_elements)):
            exports.append(Export(f"wasnap.t{i}", TABLE, i))
        for i in range(len(facts.memory64)):
            exports.append(Export(f"wasnap.m{i}", MEMORY, i))
        for i in range(len(facts.globals)):
            exports.append(Export(f"wasnap.g{i}", GLOBAL, i))
        for i in range(len(tags)):
            exports.append(Export(f"wasnap.e{i}", TAG, i))
        exports.append(Export(abi.CONTROL, MEMORY, target.control))
        exports.append(Export(abi.FRAME_POINTER, GLOBAL, len(facts.globals)))
        module.memories.append(MemoryType(Limits(pages, abi.CONTROL_PAGES_MAX)))
        exports.append(Export(abi.STOP, GLOBAL, len(facts.globals) + 1))
        for start in (info.frames_base, 0):
            module.globals.append(Global(GlobalType(I32, True), i32_const(start) + b"\x0b"))

        refs = len(facts.table_elements)
        if info.has_refs:
            funcs = refs + 1
            module.tables.append(Table(TableType(FUNCREF, Limits(0)), None))
            size = len(info.referable)
            module.tables.append(Table(TableType(FUNCREF, Limits(size, size)), None))
            if info.referable:
                module.elements.append(
                    Element("active", FUNCREF, funcs, i32_const(0) + b"\x0b", list(info.referable))
                )
            exports.append(Export(abi.REFS, TABLE, refs))
            exports.append(Export(abi.FUNCS, TABLE, funcs))
        host = len(module.tables) + self.old.n_imported(TABLE)
        if facts.futexes:
            kinds = len(abi.FUTEX_CALLS)
            module.tables.append(Table(TableType(FUNCREF, Limits(kinds, kinds)), None))
            exports.append(Export(abi.HOST, TABLE, host))
        if module.start is not None:
            exports.append(Export(abi.START, FUNC, module.start))
            module.start = None

        self._write_helpers(info, tags, refs, host, headroom)
        for name, index in self._helper_names.items():
            if not name.startswith(abi.SPILL):
                exports.append(Export(name, FUNC, index))
        module.exports += exports

    def _write_helpers(
        self, info: ProgramInfo, tags: list[FuncType], refs: int, host: int, headroom: int
    ) -> None:
        target = self.target
        written: dict[str, helpers.Helper] = {
            abi.PUSH: helpers.push(target, headroom),
            abi.SAVE: helpers.save_globals(target, self.slots),
            abi.LOAD: helpers.load_globals(target, self.slots, self.flags),
        }
        if info.counted:
            written[abi.TICK] = helpers.tick(target)
        if info.guarded:
            written[abi.ENTER] = helpers.enter(target, 1)
            written[abi.LEAVE] = helpers.enter(target, -1)
        if info.has_refs:
            written[abi.SAVE_REF] = helpers.save_ref(target, refs)
            written[abi.LOAD_REF] = helpers.load_ref(refs)
        if info.has_exns:
            written[abi.SAVE_EXN] = helpers.save_exn(target, tags)
            written[abi.LOAD_EXN] = helpers.load_exn(target, tags)
        for kind, segment, at in self.flags:
            written[f"wasnap.drop{kind}_{segment}"] = helpers.drop_segment(
                target, kind, segment, at
            )
        for kind, segment, index in sorted(self.facts.initialised):
            is64 = (self.facts.memory64 if kind == 0 else self.facts.table64)[index]
            written[f"wasnap.init{kind}_{segment}_{index}"] = helpers.initialise(
                kind, segment, index, is64
            )
        for futex in sorted(self.facts.futexes):
            is64 = self.facts.memory64[futex.memory]
            written[helpers.futex_name(futex)] = helpers.futex_call(target, futex, is64, host)
        for i, (type, members) in enumerate(
            dispatch_chunks(info.dispatched, self.facts.function_types)
        ):
            written[f"wasnap.d{i}"] = helpers.dispatcher(type, members)
        for name in written:
            self.helper(name)
        for name in self._helper_names:  # in the order of their indices
            helper = written.get(name) or helpers.spill(target, name)
            self.module.functions.append(self.type_index(helper.type.params, helper.type.results))
            self.module.code.append(Body(runs(helper.locals), helper.code))


def call_params(facts: ModuleFacts, code: bytes, start: int, callee: int) -> bytes:
    """All operands that the call instruction at ``start`` takes, the table index of an indirect one included."""
    if callee != INDIRECT:
        return facts.function_types[callee].params
    if code[start] == 0xFE:
        futex = futex_at(facts, code, start)
        assert futex is not None
        return helpers.futex_type(futex.kind, facts.memory64[futex.memory]).params

    type, p = leb(code, start + 1)
    table, _ = leb(code, p)
    return facts.types[type][0] + bytes((0x7E if facts.table64[table] else 0x7F,))


def referable_functions(module: Module, facts: ModuleFacts) -> list[int]:
    """Every function that a function reference can ever point to, in order of their indices."""
    found = set(facts.referenced)
    for element in module.elements:
        found.update(element.functions or ())
        for expression in element.expressions or ():
            found.update(_ref_funcs(expression))
    for g in module.globals:
        found.update(_ref_funcs(g.init))
    for table in module.tables:
        if table.init is not None:
            found.update(_ref_funcs(table.init))
    for export in module.exports:
        if export.kind == FUNC:
            found.add(export.index)
    return sorted(found)


def _ref_funcs(expression: bytes) -> list[int]:

    found = []
    p = 0
    while p < len(expression):
        if expression[p] == 0xD2:
            found.append(leb(expression, p + 1)[0])
        p = skip_instruction(expression, p)
    return found


def runs(types: bytes) -> list[tuple[int, int]]:
    """Types of locals as runs of (count, type)."""
    out: list[tuple[int, int]] = []
    for t in types:
        if out and out[-1][1] == t:
            out[-1] = (out[-1][0] + 1, t)
        else:
            out.append((1, t))
    return out


__all__ = ["Analysis", "Instrumented", "analyse", "instrument"]
