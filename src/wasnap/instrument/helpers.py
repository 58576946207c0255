"""The few functions that the transform adds to a module: ends of the cold path, and hands for the host.

Each is written once here, in instructions; all are exported, since continuation modules call most of them, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wasnap.instrument.abi import (
    COUNTDOWN,
    EXCEPTION_FRAME,
    FRAME_HEADER,
    FUTEX,
    FUTEX_CALLS,
    NO_STOP_DEPTH,
    PUSH,
    SAVE_EXN,
    SAVE_REF,
    SIZE_OF,
    SPILL,
    STATIC_AREA,
    STOP_WORD,
)
from wasnap.instrument.emit import (
    ZERO,
    Target,
    call,
    i32_const,
    i64_const,
    local_get,
    local_set,
    uleb,
)
from wasnap.instrument.sites import Futex
from wasnap.wasm.types import EXNREF, EXTERNREF, FUNCREF, I32, I64, FuncType, GlobalType

GROW_PAGES = 64
"""Pages that the control memory grows by when the frames need more (4 MiB)."""


@dataclass(frozen=True, slots=True)
class Helper:
    """An added function: its type, the types of its locals behind the parameters, its code with the final end."""

    type: FuncType
    locals: bytes
    code: bytes


I = bytes((I32,))  # noqa: E741


def push(target: Target, headroom: int) -> Helper:
    """(size, site, keep): write the header of the frame at the frame pointer, move the pointer behind it, make room.

    Afterwards ``headroom`` more bytes may be stored before the next push.  Unless ``keep`` is 1
    the stop global is set: the
    guest unwinds, whoever asked for it.
    """
    size_pages = b"\x3f" + uleb(target.control)
    grow = b"\x40" + uleb(target.control)
    room = target.get_fp + i32_const(65535 + headroom) + b"\x6a" + i32_const(16) + b"\x76"
    code = b"".join(
        (
            local_get(2), b"\x45\x04\x40", i32_const(1), target.set_stop, b"\x0b",
            target.get_fp, local_get(1), target.memarg(b"\x36", 0),
            target.get_fp, local_get(0), target.memarg(b"\x36", 4),
            target.get_fp, local_get(0), b"\x6a", target.set_fp,
            room, size_pages, b"\x4f", b"\x04\x40",  # (fp + headroom + 65535) >> 16 >= pages (unsigned)
            i32_const(GROW_PAGES + (headroom >> 16)), grow, i32_const(-1), b"\x46", b"\x04\x40\x00\x0b",
            b"\x0b\x0b",
        )
    )  # fmt: skip
    return Helper(FuncType(I + I + I, b""), b"", code)


def spill(target: Target, name: str) -> Helper:
    """(operands.., site, locals..): push a whole frame. ``name``: see ``emit.spill_helper``."""
    head, _, tail = name.removeprefix(SPILL).partition("_")
    operands, types = bytes.fromhex(head), bytes.fromhex(tail)
    n = len(operands)
    params = operands + I + types
    out = []
    # Saved references first: exceptions become frames of their own.
    values: list[tuple[int, bytes]] = []
    handles = bytearray()
    for i, t in enumerate(params):
        if t in (FUNCREF, EXNREF):
            handle = len(params) + len(handles)
            handles.append(I32)
            save = target.helper(SAVE_REF if t == FUNCREF else SAVE_EXN)
            out.append(local_get(i) + call(save) + local_set(handle))
            values.append((I32, local_get(handle)))
        else:
            values.append((t, local_get(i)))
    offset = FRAME_HEADER
    for t, value in values[n + 1 :] + values[:n]:
        out.append(target.store(t, target.get_fp, value, offset))
        offset += SIZE_OF[t]
    out.append(
        i32_const(offset) + local_get(n) + i32_const(0) + call(target.helper(PUSH)) + b"\x0b"
    )
    return Helper(FuncType(params, b""), bytes(handles), b"".join(out))


def tick(target: Target) -> Helper:
    """() -> stop?: a poll of a counted module. The countdown's last tick sets the stop word."""
    zero = i32_const(0)
    load64 = target.memarg(b"\x29", COUNTDOWN)
    store64 = target.memarg(b"\x37", COUNTDOWN)
    code = b"".join(
        (
            zero, target.memarg(b"\x28", NO_STOP_DEPTH), b"\x04\x40", zero, b"\x0f\x0b",
            zero, target.memarg(b"\xfe\x10", STOP_WORD, 2), b"\x04\x40", i32_const(1), b"\x0f\x0b",
            zero, load64, b"\x50", b"\x04\x40", zero, b"\x0f\x0b",
            zero, zero, load64, b"\x42\x01\x7d", store64,
            zero, load64, b"\x50", b"\x45", b"\x04\x40", zero, b"\x0f\x0b",
            zero, i32_const(1), target.memarg(b"\xfe\x17", STOP_WORD, 2),
            i32_const(1), b"\x0b",
        )
    )  # fmt: skip
    return Helper(FuncType(b"", I), b"", code)


def enter(target: Target, step: int) -> Helper:
    """() -> (): one more (or, with ``step`` -1, one less) guarded call around us."""
    zero = i32_const(0)
    code = zero + zero + target.memarg(b"\x28", NO_STOP_DEPTH) + i32_const(step) + b"\x6a"
    return Helper(FuncType(), b"", code + target.memarg(b"\x36", NO_STOP_DEPTH) + b"\x0b")


def save_ref(target: Target, refs: int) -> Helper:
    """(funcref) -> slot: keep the reference in the table ``refs`` (its index), or -1 for null."""
    zero = i32_const(0)
    count = zero + target.memarg(b"\x28", STATIC_AREA)
    table = uleb(refs)
    code = b"".join(
        (
            local_get(0), b"\xd1", b"\x04\x40", i32_const(-1), b"\x0f\x0b",
            count, local_set(1),
            local_get(1), b"\xfc\x10" + table, b"\x49", b"\x04\x40",
            local_get(1), local_get(0), b"\x26" + table,
            b"\x05",
            local_get(0), i32_const(1), b"\xfc\x0f" + table, b"\x1a",
            b"\x0b",
            zero, local_get(1), i32_const(1), b"\x6a", target.memarg(b"\x36", STATIC_AREA),
            local_get(1), b"\x0b",
        )
    )  # fmt: skip
    return Helper(FuncType(bytes((FUNCREF,)), I), I, code)


def load_ref(refs: int) -> Helper:
    """(slot) -> funcref: the opposite of ``save_ref``."""
    code = b"".join(
        (
            local_get(0), i32_const(-1), b"\x46", bytes((0x04, FUNCREF)),
            bytes((0xD0, FUNCREF)), b"\x05", local_get(0), b"\x25" + uleb(refs), b"\x0b\x0b",
        )
    )  # fmt: skip
    return Helper(FuncType(I, bytes((FUNCREF,))), b"", code)


def save_exn(target: Target, tags: Sequence[FuncType]) -> Helper:
    """(exnref) -> address: throw it, catch it by its tag, and push its payload as a frame of its own (0 for null)."""
    own = 1
    local_types = bytearray(I)

    def new_local(t: int) -> int:
        local_types.append(t)
        return len(local_types)

    out = [local_get(0), b"\xd1", b"\x04\x40", i32_const(0), b"\x0f\x0b"]
    out.append(b"\x02\x40")  # $foreign: an exception of no tag of ours
    for tag in reversed(tags):
        out.append(b"\x02" + target.block_type(b"", tag.params))
    out.append(b"\x1f\x40" + uleb(len(tags) + 1))
    for k in range(len(tags)):
        out.append(b"\x00" + uleb(k) + uleb(k))
    out.append(b"\x02" + uleb(len(tags)))
    out.append(local_get(0) + b"\x0a\x0b\x00")
    for k, tag in enumerate(tags):
        temps = [new_local(t) for t in tag.params]
        out.append(b"\x0b")
        out += [local_set(x) for x in reversed(temps)]
        values = []
        for x, t in zip(temps, tag.params, strict=True):
            if t == EXNREF:  # a frame of its own, before this one
                handle = new_local(I32)
                out.append(local_get(x) + call(target.helper(SAVE_EXN)) + local_set(handle))
                x, t = handle, I32
            values.append((local_get(x), t))
        out.append(target.get_fp + local_set(own))
        offset = FRAME_HEADER
        for value, t in values:
            if t != EXTERNREF:  # such tags make exception references unsaveable: never reached
                out.append(target.store(t, target.get_fp, value, offset))
            offset += SIZE_OF[t]
        header = i32_const(offset) + i32_const(EXCEPTION_FRAME + k) + i32_const(1)
        out.append(header + call(target.helper(PUSH)))
        out.append(local_get(own) + b"\x0f")
    out.append(b"\x0b\x00\x0b")
    return Helper(FuncType(bytes((EXNREF,)), I), bytes(local_types), b"".join(out))


def load_exn(target: Target, tags: Sequence[FuncType]) -> Helper:
    """(address) -> exnref: throw the saved payload again under its tag and catch it by reference."""
    address = local_get(0)
    out = [address, b"\x45", b"\x04\x40", bytes((0xD0, EXNREF)), b"\x0f\x0b"]
    out += [bytes((0x02, EXNREF)), b"\x1f\x40\x01\x03\x00"]
    for k, tag in enumerate(tags):
        out += [
            address,
            target.memarg(b"\x28", 0),
            i32_const(EXCEPTION_FRAME + k),
            b"\x46",
            b"\x04\x40",
        ]
        offset = FRAME_HEADER
        for t in tag.params:
            if t == EXTERNREF:
                out.append(ZERO[t])
                continue
            out.append(target.load(t, address, offset))
            offset += SIZE_OF[t]
        out.append(b"\x08" + uleb(k) + b"\x0b")
    out.append(b"\x00\x0b\x00\x0b\x0b")
    return Helper(FuncType(I, bytes((EXNREF,))), b"", b"".join(out))


def save_globals(target: Target, slots: Sequence[tuple[int, GlobalType, int]]) -> Helper:
    """() -> (): store each mutable global (index, type, address) in the static area.

    An external reference cannot be stored: 1 is written in its place if it is not null, and the host refuses.
    """
    out = []
    for index, type, address in slots:
        value = b"\x23" + uleb(index)
        if type.value == EXTERNREF:
            out.append(i32_const(0) + value + b"\xd1\x45" + target.memarg(b"\x36", address))
        else:
            out.append(target.store(type.value, i32_const(0), value, address))
    return Helper(FuncType(), b"", b"".join(out) + b"\x0b")


def load_globals(
    target: Target,
    slots: Sequence[tuple[int, GlobalType, int]],
    dropped: Sequence[tuple[int, int, int]],
) -> Helper:
    """() -> (): the opposite of ``save_globals``; and drop the segments (0 data or 1 element,
    index, address of flag)."""
    out = []
    for kind, segment, address in dropped:
        drop = (b"\xfc\x09" if kind == 0 else b"\xfc\x0d") + uleb(segment)
        out.append(i32_const(0) + target.memarg(b"\x2d", address) + b"\x04\x40" + drop + b"\x0b")
    for index, type, address in slots:
        if type.value != EXTERNREF:
            out.append(target.load(type.value, i32_const(0), address) + b"\x24" + uleb(index))
    return Helper(FuncType(), b"", b"".join(out) + b"\x0b")


def drop_segment(target: Target, kind: int, segment: int, address: int) -> Helper:
    """() -> (): data.drop or elem.drop with its flag, for continuation modules."""
    return Helper(
        FuncType(), b"", dropping(target, kind, segment) + drop_flag(target, address) + b"\x0b"
    )


def dropping(target: Target, kind: int, segment: int) -> bytes:
    """The instruction itself."""
    del target
    return (b"\xfc\x09" if kind == 0 else b"\xfc\x0d") + uleb(segment)


def drop_flag(target: Target, address: int) -> bytes:
    """Note that a segment has been dropped."""
    return i32_const(0) + i32_const(1) + target.memarg(b"\x3a", address)


def initialise(kind: int, segment: int, index: int, is64: bool) -> Helper:
    """(to, from, length): memory.init or table.init, for continuation modules (segments cannot be exported)."""
    first = bytes((I64,)) if is64 else I
    op = b"\xfc\x08" if kind == 0 else b"\xfc\x0c"
    code = local_get(0) + local_get(1) + local_get(2) + op + uleb(segment) + uleb(index) + b"\x0b"
    return Helper(FuncType(first + I + I, b""), b"", code)


def futex_name(futex: Futex) -> str:
    """Of the helper that stands for this instruction."""
    return f"{FUTEX}{futex.kind}_{futex.memory}_{futex.offset}"


def futex_of(name: str) -> Futex:
    """The inverse of ``futex_name``."""
    return Futex(*map(int, name.removeprefix(FUTEX).split("_")))


def futex_type(kind: int, is64: bool) -> FuncType:
    """Of such a helper: the instruction's own."""
    _, params, results = FUTEX_CALLS[kind]
    return FuncType((bytes((I64,)) if is64 else I) + params[2:], results)


def futex_call(target: Target, futex: Futex, is64: bool, table: int) -> Helper:
    """As memory.atomic.notify or wait, but that the host does it: called through its table.

    An atomic load of the same width traps where the instruction would.
    """
    kind, memory, offset = futex
    align = 3 if kind == 2 else 2
    memarg = bytes((align,)) if memory == 0 else bytes((align | 0x40,)) + uleb(memory)
    load = b"\xfe" + (b"\x11" if kind == 2 else b"\x10") + memarg + uleb(offset)
    address = local_get(0) if is64 else local_get(0) + b"\xad"  # i64.extend_i32_u
    _, params, results = FUTEX_CALLS[kind]
    code = b"".join(
        (
            local_get(0), load, b"\x1a",
            i32_const(memory),
            address, i64_const(offset), b"\x7c",
            *(local_get(i) for i in range(1, len(params) - 1)),
            i32_const(kind), b"\x11", uleb(target.type_index(params, results)), uleb(table), b"\x0b",
        )
    )  # fmt: skip
    return Helper(futex_type(kind, is64), b"", code)


def dispatcher(type: FuncType, functions: Sequence[int]) -> Helper:
    """(arguments, k) -> results: call the k-th of ``functions``, all of the same type.

    One exported entry for many functions: exporting each would cost a trampoline of machine code each.
    """
    n = len(type.params)
    arguments = b"".join(local_get(i) for i in range(n))
    if len(functions) == 1:
        return Helper(
            FuncType(type.params + I, type.results), b"", arguments + call(functions[0]) + b"\x0b"
        )
    out = [b"\x02\x40" * len(functions), local_get(n), b"\x0e", uleb(len(functions) - 1)]
    out += [uleb(k) for k in range(len(functions))]
    for f in functions:
        out.append(b"\x0b" + arguments + call(f) + b"\x0f")
    out.append(b"\x00\x0b")
    return Helper(FuncType(type.params + I, type.results), b"", b"".join(out))
