"""Continuation modules: for one site, a module with one function that is the rest of the site's function.

The rest is made by peeling.  The blocks around the site, outermost first, are opened again without parameters; in
each, the operands that lie below the next inner block are pushed from their copies::

    block, try_table, if    the same block: operands, inner level, rest of the block (or arm), end
    loop                    block $out (results)
                              block $again (params)  operands, inner level, rest of the iteration  br $out  end
                              loop  the whole body  end
                            end

so a branch to the loop lands behind $again with the loop's parameters on the stack.  The innermost level pushes the
operands saved in the frame, calls the next inner frame's continuation through the table ``wasnap.slots`` (or takes the
results that lie in the frame, if this is the innermost), and goes on.  In it every site has the number, the operands
and the saved set that it has in the hot module: the frames of a continued function look the same.

At a loop's header the site's own loop is peeled without a rest: its parameters are pushed, and it is entered.
Before a tail call only the call remains.

Indices are those of the original module, since a continuation imports all memories, globals, tables and tags; only
functions and segments are reached through helpers (``call f`` becomes a call of f's dispatcher).  Types that nothing
here names keep their places, as () -> (): the engine compiles an entry for each type, used or not, and in a CPython's
continuation of three hundred bytes of code that was four fifths of the time.
"""

from __future__ import annotations

from bisect import bisect_right

from wasnap.instrument import abi
from wasnap.instrument.abi import ProgramInfo, Site
from wasnap.instrument.bytecode import LEAVING, block_type, leb, skip_instruction, skip_unreached
from wasnap.instrument.callgraph import CallGraph
from wasnap.instrument.emit import (
    ColdCode,
    Scratch,
    Target,
    TypeIndices,
    call,
    copy_code,
    i32_const,
    local_get,
    local_set,
    uleb,
)
from wasnap.instrument.helpers import Helper, futex_name, futex_of, futex_type, spill
from wasnap.instrument.layout import FunctionPlan, PlannedSite, plan_function
from wasnap.instrument.scan import scan
from wasnap.instrument.sites import (
    CALL,
    INDIRECT,
    KIND_NAMES,
    LOOP,
    TAIL,
    Frame,
    ModuleFacts,
    SiteScan,
    futex_at,
)
from wasnap.instrument.transform import call_params, dispatch_chunks, runs, static_layout
from wasnap.wasm.encode import encode
from wasnap.wasm.module import Body, Custom, Export, Import, Module
from wasnap.wasm.names import encode_function_names
from wasnap.wasm.types import (
    FUNC,
    FUNCREF,
    GLOBAL,
    I32,
    I64,
    MEMORY,
    TABLE,
    TAG,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
)

SUCCESSOR = "wasnap.resume."
"""Prefix of the imports that stand for other continuations; behind it the site's number."""

HOT = "wasnap"
"""The module name under which the hot module's exports (and the table of slots) are imported."""


class Continuations:
    """Makes continuation modules for the sites of one program, from its original module.

    ``module`` is the decoded original, ``info`` what its instrumentation told.  Functions are analysed when one of
    their sites is first asked for, and kept.
    """

    def __init__(self, module: Module, info: ProgramInfo) -> None:
        self.module = module
        self.info = info
        self.facts = ModuleFacts(module)
        self._plans: dict[int, FunctionPlan] = {}
        self._by_ordinal: dict[int, dict[int, PlannedSite]] = {}
        self._names: dict[int, str] | None = None
        self.chunks = dispatch_chunks(info.dispatched, self.facts.function_types)
        self.dispatch: dict[int, tuple[int, int]] = {
            f: (d, k) for d, (_, members) in enumerate(self.chunks) for k, f in enumerate(members)
        }
        self.referable = {f: k for k, f in enumerate(info.referable)}
        # Flags of droppable segments lie where the whole module's scan put them.
        self.facts.dropped.update(info.dropped)
        flags, _, _ = static_layout(self.facts)
        self.flag_of = {(kind, segment): at for kind, segment, at in flags}

    def function_of(self, number: int) -> int:
        """The function (whole index space) that holds site ``number``."""
        bases = self.info.site_bases
        if not 0 <= number < bases[-1]:
            raise ValueError(f"no site {number}: there are {bases[-1]}")
        return bisect_right(bases, number) - 1 + self.facts.n_imported

    def function_name(self, function: int) -> str:
        """The function's name from the name section, or ``#index``."""
        if self._names is None:
            self._names = self.module.function_names()
        return self._names.get(function, f"#{function}")

    def site(self, number: int) -> Site:
        """The facts of site ``number``."""
        function = self.function_of(number)
        planned = self._planned(number)
        s = planned.scan
        results = s.results if s.kind == CALL else b""
        group = planned.group
        offset = group.offset_of_operand(len(s.operands) - len(results))
        return Site(number, function, KIND_NAMES[s.kind], s.start, results, offset, group.size)

    def by_table(self, number: int) -> bool:
        """Whether site ``number`` is a call through a table or a reference, and not by index."""
        return _by_table(self._planned(number))

    def before_table(self, number: int) -> bool:
        """Whether site ``number`` is none of the calls through a table, and its function has one."""
        here = self._planned(number)
        sites = self._by_ordinal[self.function_of(number)].values()
        return not _by_table(here) and any(_by_table(site) for site in sites)

    def module_for(self, number: int) -> bytes:
        """The continuation module for site ``number``: exports ``resume``, () -> results of the function."""
        function = self.function_of(number)
        plan = self._plan(function)
        first_site = self._first_site(function)
        site = self._planned(number)
        # Twice: which functions are imported is known at the end, and only then where the module's own begin.
        draft = _Continuation(self, plan, site, first_site, {})
        draft.encode()
        return _Continuation(self, plan, site, first_site, draft.helper_imports).encode()

    def _first_site(self, function: int) -> int:
        return self.info.site_bases[function - self.facts.n_imported]

    def _planned(self, number: int) -> PlannedSite:
        function = self.function_of(number)
        self._plan(function)
        ordinal = number - self._first_site(function)
        try:
            return self._by_ordinal[function][ordinal]
        except KeyError:
            raise ValueError(f"site {number} is not a safepoint") from None

    def _plan(self, function: int) -> FunctionPlan:
        plan = self._plans.get(function)
        if plan is None:
            body = self.module.code[function - self.facts.n_imported]
            s = scan(self.facts, function, body)
            graph = CallGraph.known(self.facts, self.info.suspends, self.info.guarded)
            plan = self._plans[function] = plan_function(graph, s)
            self._by_ordinal[function] = {p.ordinal: p for p in plan.sites}
        return plan


def _by_table(site: PlannedSite) -> bool:
    return site.scan.kind != LOOP and site.scan.callee == INDIRECT


class _Continuation:
    """The making of one continuation function and the module around it."""

    def __init__(
        self,
        program: Continuations,
        plan: FunctionPlan,
        site: PlannedSite,
        first_site: int,
        imported: dict[str, int],
    ) -> None:
        self.program = program
        self.plan = plan
        self.site = site
        self.first_site = first_site
        self.facts = program.facts
        old = program.module
        self.code = bytes(old.code[plan.scan.index - self.facts.n_imported].code)
        self.module = Module(types=list(old.types))
        self._type_indices = TypeIndices(self.module.types)
        self.types_used: set[int] = set()
        self._imports_of_indices()
        self.helper_imports: dict[str, int] = {}
        self.own_helpers: dict[str, int] = {}
        for name in imported:
            self.helper(name)
        self.target = Target(
            control=len(self.facts.memory64),
            frame_pointer=len(self.facts.globals),
            counted=program.info.counted,
            guarded=program.info.guarded,
            exceptions=program.info.has_exns,
            helper=self.helper,
            type_index=self.type_index,
        )
        self.scratch = Scratch(len(plan.types))
        self.frame_local = self.scratch.new(I32)
        self.next_local = self.scratch.new(I32)
        # What the code asks for at each position: (0 for what ends there, 1 for what begins there, thing)
        self.marks: dict[int, list[tuple[int, PlannedSite | Frame | tuple[SiteScan, bool]]]] = {}
        self.out: list[bytes] = []
        self.depth = 0  # labels open in the emitted code, $body included
        self.labels: list[
            int
        ] = []  # for each open label of the original code, its level in the emitted code

    # --- the module around the function -----------------------------------------------------------------

    def type_index(self, params: bytes, results: bytes) -> int:
        """Where a function type stands among the module's types."""
        index = self._type_indices(params, results)
        self.types_used.add(index)
        return index

    def helper(self, name: str) -> int:
        """The index of a helper of the hot module, imported when it is first asked for; or of one of our own."""
        if name.startswith(abi.SPILL):
            first = self.facts.n_imported + len(self.helper_imports)
            return first + self.own_helpers.setdefault(name, len(self.own_helpers))
        index = self.helper_imports.get(name)
        if index is None:
            params, results = self._helper_type(name)
            self.module.imports.append(Import(HOT, name, FUNC, self.type_index(params, results)))
            index = self.facts.n_imported + len(self.helper_imports)
            self.helper_imports[name] = index
        return index

    def _helper_type(self, name: str) -> tuple[bytes, bytes]:
        i32, i64 = bytes((I32,)), bytes((I64,))
        fixed = {
            abi.PUSH: (i32 + i32 + i32, b""),
            abi.TICK: (b"", i32),
            abi.ENTER: (b"", b""),
            abi.LEAVE: (b"", b""),
            abi.SAVE_REF: (bytes((FUNCREF,)), i32),
            abi.LOAD_REF: (i32, bytes((FUNCREF,))),
            abi.SAVE_EXN: (b"\x69", i32),
            abi.LOAD_EXN: (i32, b"\x69"),
        }
        if name in fixed:
            return fixed[name]
        if name.startswith("wasnap.drop"):
            return b"", b""
        if name.startswith("wasnap.init"):
            kind, _, index = name.removeprefix("wasnap.init").split("_")
            is64 = (self.facts.memory64 if kind == "0" else self.facts.table64)[int(index)]
            return (i64 if is64 else i32) + i32 + i32, b""
        if name.startswith(abi.FUTEX):
            futex = futex_of(name)
            type = futex_type(futex.kind, self.facts.memory64[futex.memory])
            return type.params, type.results
        if name.startswith(SUCCESSOR):
            return b"", self.plan.scan.type.results
        chunk = self.program.chunks[int(name.removeprefix("wasnap.d"))]
        return chunk[0].params + i32, chunk[0].results

    def _imports_of_indices(self) -> None:
        """Import all that the code names by index, in the order of the original index spaces."""
        old, imports = self.program.module, self.module.imports
        imports += old.imported(FUNC)
        self.types_used.update(i.type for i in imports if isinstance(i.type, int))
        for i, m in enumerate(old.memory_space()):
            low = replace_minimum(m.limits)
            imports.append(Import(HOT, f"wasnap.m{i}", MEMORY, MemoryType(low)))
        control = MemoryType(Limits(0, abi.CONTROL_PAGES_MAX))
        imports.append(Import(HOT, abi.CONTROL, MEMORY, control))
        tables = old.table_space()
        for i, t in enumerate(tables):
            imports.append(
                Import(HOT, f"wasnap.t{i}", TABLE, TableType(t.element, replace_minimum(t.limits)))
            )
        self.slots = len(tables)
        imports.append(Import(HOT, abi.SLOTS, TABLE, TableType(FUNCREF, Limits(0))))
        if self.program.info.has_refs:
            self.funcs = self.slots + 1
            imports.append(Import(HOT, abi.FUNCS, TABLE, TableType(FUNCREF, Limits(0))))
        for i, g in enumerate(old.global_space()):
            imports.append(Import(HOT, f"wasnap.g{i}", GLOBAL, g))
        for name in (abi.FRAME_POINTER, abi.STOP):
            imports.append(Import(HOT, name, GLOBAL, GlobalType(I32, True)))
        for i, tag in enumerate(old.tag_space()):
            imports.append(Import(HOT, f"wasnap.e{i}", TAG, tag))
            self.types_used.add(tag)

    def encode(self) -> bytes:
        results = self.plan.scan.type.results
        code = self._function(results)
        own = [spill(self.target, name) for name in self.own_helpers]
        types = self.plan.types + bytes(self.scratch.types)
        own.append(Helper(FuncType(b"", results), types, code))
        module = self.module
        for f in own:
            module.functions.append(self.type_index(f.type.params, f.type.results))
            module.code.append(Body(runs(f.locals), f.code))
        last = self.facts.n_imported + len(self.helper_imports) + len(self.own_helpers)
        module.exports.append(Export(abi.RESUME, FUNC, last))
        name = self.program.function_name(self.plan.scan.index)
        names = encode_function_names({last: name})
        nothing = FuncType(b"", b"")
        module.types = [
            type if i in self.types_used else nothing for i, type in enumerate(module.types)
        ]
        module.customs.append(Custom("name", names, 11))
        return encode(module)

    # --- the function ------------------------------------------------------------------------------------

    def _function(self, results: bytes) -> bytes:
        target, site = self.target, self.site
        path: list[Frame] = []
        frame: Frame | None = site.scan.frame
        while frame is not None:
            path.append(frame)
            frame = frame.parent
        path.reverse()
        self.headers = {p.scan.frame.start: p for p in self.plan.sites if p.scan.kind == LOOP}
        sites = self._reachable(path)
        self.cold = ColdCode(target, sites, self.plan.types, self.scratch, self.first_site)
        self._collect_marks()
        prologue = self._prologue()
        self.depth = 1
        self.labels = [0]
        if site.scan.kind == TAIL:
            self._push_operands(0)
            end = skip_instruction(self.code, site.scan.start)
            self._range(site.scan.start, end, marked=False)
            self._emit(b"\x0b")
        else:
            self._peel(path)
            self._emit(b"\x0b")
        return b"".join(
            (prologue, self.cold.opening(results), *self.out, self.cold.closing(results))
        )

    def _reachable(self, path: list[Frame]) -> list[PlannedSite]:
        """The sites that the continuation's code holds: those after the site, and in loops entered again whole."""
        if self.site.scan.kind == TAIL:
            return []
        start = self.site.scan.start
        for frame in path:
            if frame.kind == 0x03 and frame.start not in self.headers:
                start = min(start, frame.start)
        return [p for p in self.plan.sites if p.scan.start >= start]

    def _collect_marks(self) -> None:
        copied = 0
        for p in self.plan.sites:
            copied |= p.group.node.mask
            if p.polled:
                self.marks.setdefault(p.scan.pos, []).append((int(p.scan.kind == TAIL), p))
        for frame in self.plan.scan.copied:
            if frame.copies and copied >> frame.copies[0] & 1:
                self.marks.setdefault(frame.start, []).append((1, frame))
        for s in self.plan.guarded:
            self.marks.setdefault(s.start, []).append((1, (s, True)))
            self.marks.setdefault(s.pos, []).append((0, (s, False)))
        for things in self.marks.values():
            things.sort(key=lambda m: m[0])

    def _prologue(self) -> bytes:
        """Read the frame: locals, where the next frame lies, which continuation it has."""
        target = self.target
        frame = local_get(self.frame_local)
        out = [target.get_fp, local_set(self.frame_local)]
        for local, offset in self.site.group.node.slots:
            out.append(target.load(self.plan.types[local], frame, offset) + local_set(local))
        out.append(frame + target.memarg(b"\x28", 4) + local_set(self.next_local))
        # The operands are read later: a frame is overwritten only after all of them have been read.
        out.append(frame + target.memarg(b"\x28", 0) + target.set_fp)
        if self.program.info.has_refs:  # so are the slots of references, from the first one on
            out.append(i32_const(0) * 2 + target.memarg(b"\x36", abi.STATIC_AREA))
        return b"".join(out)

    def _emit(self, code: bytes) -> None:
        self.out.append(code)

    def _open(self, code: bytes) -> int:
        """Open a block; returns its level."""
        self._emit(code)
        self.depth += 1
        return self.depth - 1

    def _close(self) -> None:
        self._emit(b"\x0b")
        self.depth -= 1

    def _peel(self, path: list[Frame]) -> None:
        """The blocks around the site from the function's own on: open them all, go on, finish them.

        Without recursion: compilers nest more blocks than Python has stack frames.
        """
        site = self.site.scan
        at_loop = site.kind == LOOP
        opened = path[1:-1] if at_loop else path[1:]
        for frame in opened:
            self._push_copies(frame)
            self._open_again(frame)
        if at_loop:
            inner = path[-1]
            self._push_copies(inner)
            self._push_operands(0)
            self._range(inner.start, inner.end_pos + 1, marked=True, first=False)
            position = inner.end_pos + 1
        else:
            self._innermost()
            position = site.pos
        for frame in reversed(opened):
            self._range(position, self._stop_of(frame, position), marked=True)
            self._finish(frame)
            position = frame.end_pos + 1
        self._range(position, self._stop_of(path[0], position), marked=True)

    def _push_copies(self, frame: Frame) -> None:
        """The operands that lay below a block when it was entered."""
        for local in frame.copies or ():
            self._emit(local_get(local))

    def _open_again(self, frame: Frame) -> None:
        """Open a block around the site, without parameters; a loop's label becomes that of $again."""
        results = self.target.block_type(b"", frame.results)
        if frame.kind == 0x03:
            self._open(b"\x02" + results)
            self.labels.append(self._open(b"\x02" + self.target.block_type(b"", frame.params)))
        elif frame.kind == 0x1F:
            _, p = self._block_type_end(frame.start)
            clauses, _ = self._catches(p)
            self.labels.append(self._open(b"\x1f" + results + clauses))
        else:
            self.labels.append(self._open(b"\x02" + results))

    def _finish(self, frame: Frame) -> None:
        """The rest of a block has been emitted: close it; a loop may have to be entered once more."""
        if frame.kind != 0x03:
            self._close()
            self.labels.pop()
            return
        self._emit(b"\x0c\x01")
        self._close()
        self.labels.pop()
        header = self.headers.get(frame.start)
        if header is None:  # a value that cannot be saved is live at the header
            self._range(frame.start, frame.end_pos + 1, marked=True, first=False)
        else:
            self._hand_over(header)
        self._close()

    def _stop_of(self, frame: Frame, position: int) -> int:
        """Where the part of ``frame`` that holds ``position`` ends: its end, or the else that follows."""
        if frame.else_pos >= 0 and position <= frame.else_pos:
            return frame.else_pos
        return frame.end_pos

    def _push_operands(self, without: int) -> None:
        """Push the operands saved in the frame, all but the last ``without``."""
        for k in range(len(self.site.scan.operands) - without):
            self._emit(self._operand(k))

    def _operand(self, k: int) -> bytes:
        site = self.site
        offset = site.group.offset_of_operand(k)
        return self.target.load(site.scan.operands[k], local_get(self.frame_local), offset)

    def _innermost(self) -> None:
        """After a call: the operands, then what the next continuation returns, or the results in the frame."""
        target, site = self.target, self.site
        s = site.scan
        n = len(s.results)
        self._push_operands(n)
        following = local_get(self.next_local)
        index = self.type_index(b"", s.results)
        out = [following, b"\x04", target.block_type(b"", s.results)]
        out += [following, i32_const(1), b"\x6b", b"\x11", uleb(index), uleb(self.slots)]
        out.append(b"\x05")
        for k in range(len(s.operands) - n, len(s.operands)):
            out.append(self._operand(k))
        out.append(b"\x0b")
        # The innermost frame has just been left at this site: it goes on without a poll.
        stop = following + b"\x04\x7f" + target.stop + b"\x05" + i32_const(0) + b"\x0b"
        out.append(target.poll(site, self.cold.label(site, self.depth), stop))
        self._emit(b"".join(out))

    def _hand_over(self, header: PlannedSite) -> None:
        """The loop's parameters are on the stack: go on in the continuation of the loop's header, as its only frame."""
        target = self.target
        outer = self.scratch.new(I32)
        fp = target.get_fp
        successor = self.helper(f"{SUCCESSOR}{self.first_site + header.ordinal}")
        self._emit(
            b"".join(
                (
                    fp, local_set(outer),
                    self.cold.push_frame(header),
                    fp, i32_const(header.group.size), b"\x6b", target.set_fp,
                    fp, local_get(outer), target.memarg(b"\x36", 0),
                    fp, i32_const(0), target.memarg(b"\x36", 4),
                    b"\x12", uleb(successor),
                )
            )
        )  # fmt: skip

    # --- copying code, with its labels and indices put right ----------------------------------------------

    def _range(self, p: int, stop: int, *, marked: bool, first: bool = True) -> None:
        """Emit the original code from ``p`` to ``stop``, polls and copies included.

        ``first`` False: what begins at ``p`` itself has been done already (copies before a block).
        """
        code, begin, base = self.code, p, len(self.labels)
        start = p
        while p <= stop:
            if marked and p in self.marks:
                for when, thing in self.marks[p]:
                    # What ends at the first position belongs to what was emitted before, what begins at the last
                    # to what comes after.
                    if (p == start and (when == 0 or not first)) or (p == stop and when == 1):
                        continue
                    if begin < p:
                        self._emit(code[begin:p])
                        begin = p
                    self._mark(thing)
            if p == stop:
                break
            op = code[p]
            after = skip_instruction(code, p)
            if op in (0x02, 0x03, 0x04):
                self._use_block_type(p)
                self.labels.append(self.depth)
                self.depth += 1
            elif op == 0x0B:
                self.labels.pop()
                self.depth -= 1
            else:
                changed = self._rewrite(op, p)
                if changed is not None:
                    if begin < p:
                        self._emit(code[begin:p])
                    self._emit(changed)
                    begin = after
                    if op == 0x1F:
                        self.labels.append(self.depth)
                        self.depth += 1
            if op in LEAVING and after < stop:
                # What is not reached is left out: it was not looked at for what it would need.
                end = skip_unreached(code, after)
                if begin < after:
                    self._emit(code[begin:after])
                begin = after = end
            p = after
        if begin < stop:
            self._emit(code[begin:stop])
        assert len(self.labels) == base

    def _mark(self, thing: PlannedSite | Frame | tuple[SiteScan, bool]) -> None:
        target = self.target
        if isinstance(thing, PlannedSite):
            label = self.cold.label(thing, self.depth)
            self._emit(target.poll(thing, label))
        elif isinstance(thing, Frame):
            self._emit(copy_code(thing, self.scratch))
        else:
            s, opens = thing
            params = call_params(self.facts, self.code, s.start, s.callee)
            self._emit(target.guard(s, params)[0 if opens else 1])

    def _label(self, label: int) -> int:
        """An original label at this point, as a label of the emitted code."""
        return self.depth - 1 - self.labels[len(self.labels) - 1 - label]

    def _block_type_end(self, start: int) -> tuple[bytes, int]:
        """The raw block type of the block at ``start``, and where it ends."""
        self._use_block_type(start)
        _, _, p = block_type(self.code, start + 1, self.facts.types)
        return self.code[start + 1 : p], p

    def _use_block_type(self, start: int) -> None:
        """The block at ``start`` is emitted with its type as it is: an index, unless its LEB128 is negative."""
        if self.code[start + 1] & 0xC0 != 0x40:
            self.types_used.add(leb(self.code, start + 1)[0])

    def _catches(self, p: int) -> tuple[bytes, int]:
        """The catch clauses at ``p`` with their labels put right, and where they end."""
        code = self.code
        count, p = leb(code, p)
        out = [uleb(count)]
        for _ in range(count):
            kind = code[p]
            out.append(bytes((kind,)))
            p += 1
            if kind < 2:
                tag, p = leb(code, p)
                out.append(uleb(tag))
            label, p = leb(code, p)
            out.append(uleb(self._label(label)))
        return b"".join(out), p

    def _rewrite(self, op: int, p: int) -> bytes | None:
        """The instruction at ``p`` as it must be here, or None if it stays as it is."""
        code = self.code
        if op == 0x0C or op == 0x0D:
            label, _ = leb(code, p + 1)
            return bytes((op,)) + uleb(self._label(label))
        if op == 0x10 or op == 0x12:
            f, _ = leb(code, p + 1)
            return None if f < self.facts.n_imported else self._dispatch(op, f)
        if op == 0x11 or op == 0x13:
            self.types_used.add(leb(code, p + 1)[0])
            return None
        if op == 0x0E:
            count, q = leb(code, p + 1)
            out = [b"\x0e", uleb(count)]
            for _ in range(count + 1):
                label, q = leb(code, q)
                out.append(uleb(self._label(label)))
            return b"".join(out)
        if op == 0x1F:
            raw, q = self._block_type_end(p)
            return b"\x1f" + raw + self._catches(q)[0]
        if op == 0xD2:
            f, _ = leb(code, p + 1)
            return i32_const(self.program.referable[f]) + b"\x25" + uleb(self.funcs)
        if op == 0xFC:
            sub, q = leb(code, p + 1)
            if sub in (8, 12):
                segment, q = leb(code, q)
                index, _ = leb(code, q)
                return call(self.helper(f"wasnap.init{0 if sub == 8 else 1}_{segment}_{index}"))
            if sub in (9, 13):
                segment, _ = leb(code, q)
                return call(self.helper(f"wasnap.drop{0 if sub == 9 else 1}_{segment}"))
        if op == 0xFE and self.facts.has_shared:
            futex = futex_at(self.facts, code, p)
            if futex is not None:
                return call(self.helper(futex_name(futex)))
        return None

    def _dispatch(self, op: int, f: int) -> bytes:
        d, k = self.program.dispatch[f]
        return i32_const(k) + bytes((op,)) + uleb(self.helper(f"wasnap.d{d}"))


def replace_minimum(limits: Limits) -> Limits:
    """Limits that an import of the same memory or table accepts whatever it has grown to."""
    return Limits(0, limits.maximum, limits.shared, limits.is64, limits.page_size_log2)


__all__ = ["Continuations"]
