"""The pieces of code that both the hot module and the continuations are made of: polls, copies, guards, cold code.

A function with safepoints is wrapped, so that no label inside it changes its depth::

    block $finish
      block $push (result i32 i32)
        block $node ... (result i32 i32)   one for each large set of locals that is shared, parents outermost
          block $entry ... (result operands..)
            block $body (results)  the function's own code, with polls  end
            return
          end   ;; an entry: the operands are on the stack
          i32.const site  ..locals..  call $spill  br $finish               a small set: one helper stores all
          ..store operands..  i32.const size  i32.const site  br $node      a large one
        end     ;; a node
        ..store the locals that the parent does not..  br $parent
      end       ;; push
      call $push
    end         ;; finish
    dummy results

A poll is ``load of the stop word, br_if $entry``: the branch carries the operands.  Where several sites share an entry
it carries the site's ordinal, too (``i32.const ordinal`` before, ``drop`` after).  A helper that takes values as its
parameters costs two bytes of code for each, a store in line eight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wasnap.instrument.abi import NO_STOP_DEPTH, PUSH, SAVE_EXN, SAVE_REF, SPILL, STOP_WORD
from wasnap.instrument.layout import Group, Node, PlannedSite
from wasnap.instrument.sites import LOOP, Frame, SiteScan
from wasnap.wasm.types import EXNREF, EXTERNREF, F32, F64, FUNCREF, I32, I64, V128, FuncType

LOCAL_GET, LOCAL_SET, LOCAL_TEE = 0x20, 0x21, 0x22
I32_CONST, I64_CONST = 0x41, 0x42
CALL, RETURN, END, BLOCK, LOOP_OP, IF, ELSE = 0x10, 0x0F, 0x0B, 0x02, 0x03, 0x04, 0x05
BR, BR_IF, DROP, TRY_TABLE, THROW_REF = 0x0C, 0x0D, 0x1A, 0x1F, 0x0A
GLOBAL_GET, GLOBAL_SET = 0x23, 0x24
I32_EQZ, I32_ADD, I32_SUB, I32_AND = 0x45, 0x6A, 0x6B, 0x71

_ULEB: dict[int, bytes] = {}


def uleb(n: int) -> bytes:
    """Unsigned LEB128."""
    known = _ULEB.get(n)
    if known is not None:
        return known
    value, out = n, bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    if n < 1 << 16:
        _ULEB[n] = bytes(out)
    return bytes(out)


def sleb(n: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while not -64 <= n < 64:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n & 127)
    return bytes(out)


def i32_const(n: int) -> bytes:
    """``i32.const n`` for an unsigned or signed ``n``."""
    return bytes((I32_CONST,)) + sleb(n - (1 << 32) if n >= 1 << 31 else n)


def i64_const(n: int) -> bytes:
    """``i64.const n`` for an unsigned ``n``."""
    return bytes((I64_CONST,)) + sleb(n - (1 << 64) if n >= 1 << 63 else n)


def local_get(x: int) -> bytes:
    return b"\x20" + uleb(x)


def local_set(x: int) -> bytes:
    return b"\x21" + uleb(x)


def call(f: int) -> bytes:
    return b"\x10" + uleb(f)


_STORE = {I32: b"\x36", I64: b"\x37", F32: b"\x38", F64: b"\x39", V128: b"\xfd\x0b"}
_LOAD = {I32: b"\x28", I64: b"\x29", F32: b"\x2a", F64: b"\x2b", V128: b"\xfd\x00"}
ZERO = {
    I32: b"\x41\x00",
    I64: b"\x42\x00",
    F32: b"\x43" + bytes(4),
    F64: b"\x44" + bytes(8),
    V128: b"\xfd\x0c" + bytes(16),
    FUNCREF: bytes((0xD0, FUNCREF)),
    EXTERNREF: bytes((0xD0, EXTERNREF)),
    EXNREF: bytes((0xD0, EXNREF)),
}
"""A dummy value of each type."""


class TypeIndices:
    """Where function types stand in a module's list; those that are missing are appended."""

    def __init__(self, types: list[FuncType]) -> None:
        self._types = types
        self._indices: dict[FuncType, int] = {}
        for i, type in enumerate(types):
            self._indices.setdefault(type, i)

    def __call__(self, params: bytes, results: bytes) -> int:
        type = FuncType(params, results)
        index = self._indices.get(type)
        if index is None:
            index = self._indices[type] = len(self._types)
            self._types.append(type)
        return index


class Target:
    """The module that code is made for: where the control memory and the helpers lie in its index spaces."""

    def __init__(
        self,
        *,
        control: int,
        frame_pointer: int,
        counted: bool,
        guarded: bool,
        exceptions: bool,
        helper: Callable[[str], int],
        type_index: Callable[[bytes, bytes], int],
    ) -> None:
        self.control = control
        self.counted = counted
        self.guarded = guarded
        self.exceptions = exceptions
        self.helper = helper
        self.type_index = type_index
        self.get_fp = bytes((GLOBAL_GET,)) + uleb(frame_pointer)
        self.set_fp = bytes((GLOBAL_SET,)) + uleb(frame_pointer)
        self.set_stop = bytes((GLOBAL_SET,)) + uleb(frame_pointer + 1)
        stop = bytes((GLOBAL_GET,)) + uleb(frame_pointer + 1)
        atomic = i32_const(0) + self.memarg(b"\xfe\x10", STOP_WORD, 2)
        if counted:
            stop = atomic = call(helper("wasnap.tick"))
        elif guarded:
            free = i32_const(0) + self.memarg(b"\x28", NO_STOP_DEPTH) + bytes((I32_EQZ, I32_AND))
            stop += free
            atomic += free
        self.stop = stop
        self.stop_at_loop = atomic

    def memarg(self, op: bytes, offset: int, align: int = 0) -> bytes:
        """A load or store of the control memory."""
        if self.control == 0:
            return op + bytes((align,)) + uleb(offset)
        return op + bytes((align | 0x40,)) + uleb(self.control) + uleb(offset)

    def load(self, t: int, address: bytes, offset: int) -> bytes:
        """The value of type ``t`` saved at ``address + offset``."""
        if t == FUNCREF:
            return address + self.memarg(_LOAD[I32], offset) + call(self.helper("wasnap.load_ref"))
        if t == EXNREF:
            return address + self.memarg(_LOAD[I32], offset) + call(self.helper("wasnap.load_exn"))
        return address + self.memarg(_LOAD[t], offset)

    def store(self, t: int, address: bytes, value: bytes, offset: int) -> bytes:
        """Save ``value`` of type ``t`` at ``address + offset``."""
        if t == FUNCREF:
            value += call(self.helper("wasnap.save_ref"))
        elif t == EXNREF:
            value += call(self.helper("wasnap.save_exn"))
        if t in (FUNCREF, EXNREF):
            t = I32
        return address + value + self.memarg(_STORE[t], offset)

    def block_type(self, params: bytes, results: bytes) -> bytes:
        """The encoded block type."""
        if not params:
            if not results:
                return b"\x40"
            if len(results) == 1:
                return results
        index = self.type_index(params, results)
        return _sleb_positive(index)

    def poll(self, site: PlannedSite, label: int, stop: bytes | None = None) -> bytes:
        """The poll of a site whose cold entry is ``label`` levels out."""
        if stop is None:
            stop = self.stop_at_loop if site.scan.kind == LOOP else self.stop
        poll = stop + b"\x0d" + uleb(label)
        return i32_const(site.ordinal) + poll + b"\x1a" if site.group.shared else poll

    def guard(self, site: SiteScan, params: bytes) -> tuple[bytes, bytes]:
        """What goes before and after a call below which nothing may stop; ``params``: all that the call takes."""
        enter, leave = call(self.helper("wasnap.enter")), call(self.helper("wasnap.leave"))
        if not self.exceptions:
            return enter, leave
        outer = bytes((BLOCK,)) + self.block_type(params, site.results)
        inner = bytes((BLOCK,)) + self.block_type(params, bytes((EXNREF,)))
        attempt = (
            bytes((TRY_TABLE,)) + self.block_type(params, site.results) + b"\x01\x03\x00"
        )  # catch_all_ref -> inner
        after = bytes((END, BR, 1, END)) + leave + bytes((THROW_REF, END)) + leave
        return enter + outer + inner + attempt, after


def _sleb_positive(n: int) -> bytes:
    return i32_const(n)[1:]


class Scratch:
    """Extra locals of one function, handed out by type and position; the first has the index ``base``."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.types = bytearray()
        self._by_type: dict[int, list[int]] = {}

    def take(self, types: Iterable[int]) -> list[int]:
        """One distinct local for each of ``types``; another call may hand out the same ones."""
        used: dict[int, int] = {}
        out = []
        for t in types:
            pool = self._by_type.setdefault(t, [])
            k = used.get(t, 0)
            if k == len(pool):
                pool.append(self.new(t))
            used[t] = k + 1
            out.append(pool[k])
        return out

    def new(self, t: int) -> int:
        """One more local that nobody else gets."""
        self.types.append(t)
        return self.base + len(self.types) - 1


def copy_code(frame: Frame, scratch: Scratch) -> bytes:
    """Keep copies of the operands below ``frame``'s parameters; goes before the block's opening instruction."""
    copies = frame.copies or ()
    above = frame.params + (bytes((I32,)) if frame.kind == IF else b"")
    temps = scratch.take(above)
    out = [local_set(x) for x in reversed(temps)]
    out += [local_set(x) for x in reversed(copies[1:])]
    out.append(bytes((LOCAL_TEE,)) + uleb(copies[0]))
    out += [local_get(x) for x in copies[1:]]
    out += [local_get(x) for x in temps]
    return b"".join(out)


class ColdCode:
    """The cold code of one function: opens before the body, closes after it, and knows each site's label.

    No call but the last may be made while values are still to be stored: a value that lives across a call is spilled by
    the engine's register allocator, and it does so in the hot loop.
    """

    def __init__(
        self,
        target: Target,
        sites: Iterable[PlannedSite],
        types: bytes,
        scratch: Scratch,
        first_site: int,
    ) -> None:
        self.target = target
        self.types = types
        self.scratch = scratch
        self.first_site = first_site
        groups: dict[int, Group] = {}
        for site in sites:
            if site.polled:
                groups.setdefault(id(site.group), site.group)
        self.groups = list(groups.values())
        in_line = [g for g in self.groups if g.in_line]
        users: dict[int, int] = {}
        nodes: dict[int, Node] = {}
        for group in in_line:
            node: Node | None = group.node
            users[id(node)] = users.get(id(node), 0) + 1
            while node is not None and id(node) not in nodes:
                nodes[id(node)] = node
                node = node.parent
                if node is not None:
                    users[id(node)] = users.get(id(node), 0) + 1
        # A set with one entry and no children is stored by its entry.
        self._inlined = {id(g.node) for g in in_line if users[id(g.node)] == 1}
        # Parents (smaller sets) come first: outermost.
        self.nodes = sorted(
            (n for n in nodes.values() if id(n) not in self._inlined),
            key=lambda n: (n.mask.bit_count(), n.mask),
        )
        self._ordinal = scratch.new(I32) if any(g.shared for g in in_line) else -1
        # Levels: 0 is $finish, 1 $push (if anything is stored in line), then the nodes, then the entries.
        self._has_push = bool(in_line)
        first_node = 1 + self._has_push
        self._level = {id(n): first_node + i for i, n in enumerate(self.nodes)}
        first = first_node + len(self.nodes)
        self._entry = {id(g): first + i for i, g in enumerate(self.groups)}
        self.count = first + len(self.groups)
        self._handles: dict[int, int] = {}

    def label(self, site: PlannedSite, depth: int) -> int:
        """The label of the site's entry from a place in the body where ``depth`` labels are open, $body included."""
        return depth + self.count - 1 - self._entry[id(site.group)]

    def opening(self, results: bytes) -> bytes:
        target = self.target
        out = [b"\x02\x40"]
        if self._has_push:
            sized = b"\x02" + target.block_type(b"", b"\x7f\x7f")
            out.append(sized * (1 + len(self.nodes)))
        for group in self.groups:
            carried = group.operands + (b"\x7f" if group.shared else b"")
            out.append(b"\x02" + target.block_type(b"", carried))
        out.append(b"\x02" + target.block_type(b"", results))
        return b"".join(out)

    def closing(self, results: bytes) -> bytes:
        """Everything after the body (whose own ``end`` has been written)."""
        target = self.target
        out = [bytes((RETURN,))]
        for group in reversed(self.groups):
            out.append(b"\x0b")
            out.append(self._entry_code(group))
        for node in reversed(self.nodes):
            out.append(b"\x0b")
            out.append(self._store_locals(node.delta))
            out.append(self._branch(self._goal(node.parent), self._level[id(node)]))
        if self._has_push:
            out.append(b"\x0b" + i32_const(0) + call(target.helper(PUSH)))
        out.append(b"\x0b")
        out += [ZERO[t] for t in results]
        out.append(b"\x0b")
        return b"".join(out)

    def push_frame(self, site: PlannedSite) -> bytes:
        """Push the site's frame in straight code, not to unwind but to go on from it; its operands are on the stack."""
        group = site.group
        temps = self.scratch.take(group.operands)
        out = [local_set(x) for x in reversed(temps)]
        out.append(self._store(group, temps))
        out.append(self._store_locals(group.node.slots))
        out.append(i32_const(group.size) + i32_const(self.first_site + site.ordinal))
        out.append(i32_const(1) + call(self.target.helper(PUSH)))
        return b"".join(out)

    def _goal(self, node: Node | None) -> int:
        """The level of the code that goes on after a set's own locals: the parent's, or $push."""
        return 1 if node is None else self._level[id(node)]

    def _branch(self, goal: int, level: int) -> bytes:
        """Go to the code of level ``goal`` from code that lies in ``level`` blocks, unless it follows anyway."""
        return b"" if goal == level - 1 else b"\x0c" + uleb(level - 1 - goal)

    def _entry_code(self, group: Group) -> bytes:
        target, node = self.target, group.node
        level = self._entry[id(group)]
        if group.shared:
            site = i32_const(self.first_site) + bytes((I32_ADD,))
        else:
            site = i32_const(self.first_site + group.ordinal)
        if not group.in_line:
            values = b"".join(local_get(local) for local, _ in node.slots)
            types = bytes(self.types[local] for local, _ in node.slots)
            spill = call(target.helper(spill_helper(group.operands, types)))
            return site + values + spill + self._branch(0, level)
        out = []
        if group.shared:
            out.append(local_set(self._ordinal))
            site = local_get(self._ordinal) + site
        temps = self.scratch.take(group.operands)
        out += [local_set(x) for x in reversed(temps)]
        out.append(self._store(group, temps))
        if id(node) in self._inlined:
            out.append(self._store_locals(node.delta))
            goal = self._goal(node.parent)
        else:
            goal = self._goal(node)
        out.append(i32_const(group.size) + site + self._branch(goal, level))
        return b"".join(out)

    def _store(self, group: Group, temps: Sequence[int]) -> bytes:
        """Store the operands, which are in ``temps``.

        Saved references come before the frame's first byte: exceptions become frames of their own.
        """
        target = self.target
        refs = [
            (t, x) for t, x in zip(group.operands, temps, strict=True) if t in (FUNCREF, EXNREF)
        ]
        refs += [
            (self.types[x], x) for x, _ in group.node.slots if self.types[x] in (FUNCREF, EXNREF)
        ]
        out = []
        for t, x in refs:
            handle = self._handles.get(x)
            if handle is None:
                handle = self._handles[x] = self.scratch.new(I32)
            save = target.helper(SAVE_REF if t == FUNCREF else SAVE_EXN)
            out.append(local_get(x) + call(save) + local_set(handle))
        for i, (t, x) in enumerate(zip(group.operands, temps, strict=True)):
            out.append(self._store_local(t, x, group.offset_of_operand(i)))
        return b"".join(out)

    def _store_local(self, t: int, local: int, offset: int) -> bytes:
        if t in (FUNCREF, EXNREF):
            t, local = I32, self._handles[local]
        return self.target.store(t, self.target.get_fp, local_get(local), offset)

    def _store_locals(self, slots: Iterable[tuple[int, int]]) -> bytes:
        return b"".join(self._store_local(self.types[local], local, at) for local, at in slots)


def spill_helper(operands: bytes, types: bytes) -> str:
    """Name of the helper (operands.., site, locals..) that pushes a whole frame."""
    return f"{SPILL}{operands.hex()}_{types.hex()}"
