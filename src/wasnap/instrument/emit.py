"""The pieces of code that both the hot module and the continuations are made of: polls, copies, guards, cold code.

A function with safepoints is wrapped, so that no label inside it changes its depth::

    block $finish (result i32)
      block $node ... (result i32)            one for each shared set, parents outermost
        block $entry ... (result operands.. i32)
          block $body (results)  the function's own code, with polls  end
          return
        end   ;; entry: operands and the site's ordinal are on the stack
        ..store operands..  i32.const size  br $node
      end     ;; node: the frame's size is on the stack
      ..store locals..  br $parent
    end       ;; finish
    local.get $site  i32.const first site  i32.add  call $push   dummy results

A poll is ``i32.const ordinal, load of the stop word, br_if $entry, drop``: the branch carries the operands and the ordinal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wasnap.instrument.abi import NO_STOP_DEPTH, SIZE_OF, STOP_WORD
from wasnap.instrument.layout import Group, Node
from wasnap.instrument.scan import Frame, SiteScan
from wasnap.wasm.types import EXNREF, EXTERNREF, F32, F64, FUNCREF, I32, I64, V128

LOCAL_GET, LOCAL_SET, LOCAL_TEE = 0x20, 0x21, 0x22
I32_CONST = 0x41
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


def i32_const(n: int) -> bytes:
    """``i32.const n`` for an unsigned or signed ``n``."""
    if n >= 1 << 31:
        n -= 1 << 32
    out = bytearray((I32_CONST,))
    while True:
        byte = n & 127
        n >>= 7
        if (n == 0 and not byte & 64) or (n == -1 and byte & 64):
            out.append(byte)
            return bytes(out)
        out.append(byte | 128)


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
        stop = i32_const(0) + self.memarg(b"\x28", STOP_WORD)
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
        """Save ``value`` of type ``t`` at ``address + offset``; an exception reference must be a handle already."""
        if t == FUNCREF:
            value += call(self.helper("wasnap.save_ref"))
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

    def poll(self, site: SiteScan, ordinal: int, label: int, stop: bytes | None = None) -> bytes:
        """The poll of a site whose cold entry is ``label`` levels out."""
        if stop is None:
            stop = self.stop_at_loop if site.kind == 1 else self.stop
        return i32_const(ordinal) + stop + b"\x0d" + uleb(label) + b"\x1a"

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
    """The cold code of one function: opens before the body, closes after it, and knows each group's label."""

    def __init__(self, target: Target, groups: Sequence[Group], types: bytes, scratch: Scratch) -> None:
        self.target = target
        self.types = types
        self.scratch = scratch
        self.site_local = scratch.new(I32)
        self._handles: dict[int, int] = {}  # a local that holds an exception reference -> the one for its handle
        self.groups = list(groups)
        users: dict[int, int] = {}
        nodes: dict[int, Node] = {}
        for group in self.groups:
            node: Node | None = group.node
            users[id(node)] = users.get(id(node), 0) + 1
            while node is not None and id(node) not in nodes:
                nodes[id(node)] = node
                node = node.parent
                if node is not None:
                    users[id(node)] = users.get(id(node), 0) + 1
        # A set with one entry and no children is stored by its entry.  Parents (smaller sets) come first: outermost.
        inlined = {id(g.node) for g in self.groups if users[id(g.node)] == 1}
        self.nodes = sorted(
            (n for n in nodes.values() if id(n) not in inlined), key=lambda n: (n.mask.bit_count(), n.mask)
        )
        self._inlined = inlined
        self._level = {id(n): 1 + i for i, n in enumerate(self.nodes)}  # level 0 is $finish
        first = 1 + len(self.nodes)
        self._entry = {id(g): first + i for i, g in enumerate(self.groups)}
        self.count = first + len(self.groups)

    def label(self, group: Group, depth: int) -> int:
        """The label of the group's entry from a place in the body where ``depth`` labels are open, $body included."""
        return depth + self.count - 1 - self._entry[id(group)]

    def opening(self, results: bytes) -> bytes:
        target = self.target
        out = [b"\x02\x7f" * (1 + len(self.nodes))]
        for group in self.groups:
            out.append(b"\x02" + target.block_type(b"", group.operands + b"\x7f"))
        out.append(b"\x02" + target.block_type(b"", results))
        return b"".join(out)

    def closing(self, results: bytes, first_site: int) -> bytes:
        """Everything after the body (whose own ``end`` has been written)."""
        target = self.target
        out = [bytes((RETURN,))]
        for group in reversed(self.groups):
            out.append(b"\x0b")
            out.append(self._entry_code(group))
        for i, node in reversed(list(enumerate(self.nodes))):
            out.append(b"\x0b")
            out.append(self._store_locals(node))
            out.append(self._branch(node.parent, 1 + i))
        out.append(b"\x0b")
        out.append(local_get(self.site_local) + i32_const(first_site) + bytes((I32_ADD,)))
        out.append(call(target.helper("wasnap.push")))
        out += [ZERO[t] for t in results]
        out.append(b"\x0b")
        return b"".join(out)

    def _branch(self, node: Node | None, level: int) -> bytes:
        """Go to ``node``'s code (or to $finish) from code that lies in ``level`` blocks."""
        goal = 0 if node is None else self._level[id(node)]
        return b"\x0c" + uleb(level - 1 - goal)

    def _entry_code(self, group: Group) -> bytes:
        target, node = self.target, group.node
        out = [local_set(self.site_local)]
        temps = self.scratch.take(group.operands)
        out += [local_set(x) for x in reversed(temps)]
        values = [local_get(x) for x in temps]
        if EXNREF in group.operands:
            # Saved exceptions are frames of their own: all of them come before this frame's first byte.
            for i, t in enumerate(group.operands):
                if t == EXNREF:
                    handle = self._handle(temps[i])
                    out.append(values[i] + call(target.helper("wasnap.save_exn")) + local_set(handle))
                    values[i] = local_get(handle)
        inline = id(node) in self._inlined
        if node.has_exn:
            # Such a set has no parent, and its node may be shared: convert here, where everything can still be first.
            for local, _ in node.delta:
                if self.types[local] == EXNREF:
                    save = call(target.helper("wasnap.save_exn")) + local_set(self._handle(local))
                    out.append(local_get(local) + save)
        offset = node.size
        for t, value in zip(group.operands, values, strict=True):
            out.append(target.store(t, target.get_fp, value, offset))
            offset += SIZE_OF[t]
        level = self._entry[id(group)]
        if inline:
            out.append(self._store_locals(node))
            out.append(i32_const(group.size))
            out.append(self._branch(node.parent, level))
        else:
            out.append(i32_const(group.size))
            out.append(self._branch(node, level))
        return b"".join(out)

    def _handle(self, local: int) -> int:
        got = self._handles.get(local)
        if got is None:
            got = self._handles[local] = self.scratch.new(I32)
        return got

    def _store_locals(self, node: Node) -> bytes:
        target = self.target
        out = []
        for local, offset in node.delta:
            t = self.types[local]
            value = local_get(self._handle(local) if t == EXNREF else local)
            out.append(target.store(t, target.get_fp, value, offset))
        return b"".join(out)

