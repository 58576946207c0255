"""One forward pass over a function: operand types, blocks, sites, and the flow that liveness needs.

The pass is the hot loop of the whole transform (a few hundred nanoseconds an instruction, millions of
instructions), so it is written for speed: one long loop over the bytes, ordered by how often compilers emit an
instruction, with no object per instruction.  The module has been validated before: nothing is checked again.

What it finds for each potential site (every call, loop and tail call; whether it becomes a safepoint is decided
later, when the call graph is known):

- where the poll goes, how many labels are open there, the operands of the innermost block at that point;
- which enclosing blocks were entered with operands below their parameters: those cannot be carried by a branch,
  so the block's entry keeps copies in fresh locals (``Frame.copies``);
- the flow node whose live-out set is what must be saved.

Flow nodes are basic blocks cut at sites.  A node knows the locals it reads before writing (``gen``), those it
writes (``kill``) and its successors.  A call under a ``try_table`` may continue at each of its handlers.
Code that cannot be reached is skipped: there are no sites in it.
"""

from __future__ import annotations

from wasnap.errors import UnsupportedModule
from wasnap.instrument.bytecode import LEAVING, block_type, leb, skip_instruction, skip_unreached
from wasnap.instrument.liveness import cover_loops, liveness
from wasnap.instrument.sites import (
    CALL,
    INDIRECT,
    LOOP,
    TAIL,
    Frame,
    FunctionScan,
    ModuleFacts,
    SiteScan,
    futex_at,
)
from wasnap.wasm.module import Body
from wasnap.wasm.opcodes import OPS
from wasnap.wasm.types import EXNREF, F32, F64, FUNCREF, I32, I64

# What an opcode does to the operand stack, for those that do the same everywhere: EFFECT[op] = (pops, push or 0),
# and SHAPE[op]: how its immediates are skipped (0 none, 1 one LEB, 2 memarg; None: handled by name).
EFFECT: list[tuple[int, int] | None] = [None] * 256
for _code, _op in OPS.items():
    if _code < 256 and _op.pops is not None and _op.pushes is not None and len(_op.pushes) <= 1:
        EFFECT[_code] = (len(_op.pops), _op.pushes[0] if _op.pushes else 0)


def scan(facts: ModuleFacts, index: int, body: Body) -> FunctionScan:
    """Scan the defined function ``index`` (counted in the whole function space) and compute what
    is live at its sites."""
    code = bytes(body.code)
    ftype = facts.function_types[index]
    lt = ftype.params + b"".join(bytes((t,)) * n for n, t in body.locals)
    bits = [1 << i for i in range(len(lt))]
    types = facts.types
    function_types = facts.function_types
    global_types = facts.globals
    effect = EFFECT

    root = Frame(0, 0, 0, b"", ftype.results, 0, None, ())
    result = FunctionScan(index, ftype, lt, [], root)
    sites = result.sites
    free_locals: dict[int, list[int]] = {}
    extra = result.extra_locals

    # Flow nodes.  `order` lists them as they become current, which is textual order.
    gens: list[int] = [0]
    kills: list[int] = [0]
    succs: list[list[int]] = [[]]
    order: list[int] = [0]
    loops: list[int] = []
    node = 0
    gen = kill = 0

    def new_node() -> int:
        gens.append(0)
        kills.append(0)
        succs.append([])
        return len(gens) - 1

    def keep_copies(frame: Frame | None) -> None:
        """A site lies in `frame`: it and all around it must hold copies of the operands below them."""
        while frame is not None and frame.copies is None:
            if frame.below:
                copies = []
                for t in frame.below:
                    pool = free_locals.get(t)
                    if pool:
                        copies.append(pool.pop())
                    else:
                        copies.append(len(lt) + len(extra))
                        extra.append(t)
                frame.copies = tuple(copies)
                result.copied.append(frame)
            else:
                frame.copies = ()
            frame = frame.parent

    root.end_node = root.target = new_node()
    frame = root
    depth = 1
    stack = bytearray()
    height = 0  # of the innermost block
    push = stack.append
    p = 0
    n = len(code)
    while True:
        op = code[p]
        p += 1
        if op == 0x20:  # local.get
            x = code[p]
            p += 1
            if x >= 128:
                x, p = leb(code, p - 1)
            push(lt[x])
            b = bits[x]
            if not kill & b:
                gen |= b
        elif op == 0x41 or op == 0x42:  # i32.const, i64.const
            while code[p] >= 128:
                p += 1
            p += 1
            push(I32 if op == 0x41 else I64)
        elif 0x28 <= op <= 0xC4 and op != 0x3F and op != 0x40 and op != 0x43 and op != 0x44:
            if op <= 0x3E:
                if code[p] & 0x40:
                    p = leb(code, p + 1)[1]
                else:
                    p += 1
                while code[p] >= 128:
                    p += 1
                p += 1
            pops, t = effect[op]  # type: ignore[misc]
            if t:
                if pops == 2:
                    del stack[-1]
                stack[-1] = t
            else:
                del stack[-2:]
        elif op == 0x21 or op == 0x22:  # local.set, local.tee
            x = code[p]
            p += 1
            if x >= 128:
                x, p = leb(code, p - 1)
            kill |= bits[x]
            if op == 0x21:
                del stack[-1]
        elif op == 0x0B:  # end
            gens[node] |= gen
            kills[node] = kill
            succs[node].append(frame.end_node)
            frame.end_pos = p - 1
            if frame.else_node >= 0:  # an if without else: the condition may skip it
                succs[frame.else_node].append(frame.end_node)
                order.append(frame.else_node)
            node = frame.end_node
            gen = kill = 0
            order.append(node)
            parent = frame.parent
            if parent is None:
                break
            del stack[frame.height :]
            stack += frame.results
            if frame.copies:
                for local, t in zip(frame.copies, frame.below, strict=True):
                    free_locals.setdefault(t, []).append(local)
            frame = parent
            height = frame.height
            depth -= 1
            continue
        elif op == 0x0D:  # br_if
            label, p = leb(code, p)
            del stack[-1]
            target = frame
            while label:
                target = target.parent  # type: ignore[assignment]
                label -= 1
            gens[node] = gen
            kills[node] = kill
            gen = kill = 0
            following = new_node()
            succs[node] += (target.target, following)
            node = following
            order.append(node)
        elif op == 0x10 or op == 0x11:  # call, call_indirect
            start = p - 1
            callee, p = leb(code, p)
            if op == 0x10:
                called = function_types[callee]
                params, results = called.params, called.results
                npops = len(params)
            else:
                params, results = types[callee]
                npops = len(params) + 1
                callee = INDIRECT
                p = leb(code, p)[1]
            if npops:
                del stack[-npops:]
            stack += results
            gens[node] = gen
            kills[node] = kill
            gen = kill = 0
            following = new_node()
            succs[node].append(following)
            if frame.handlers:
                succs[node] += frame.handlers
            if frame.copies is None:
                keep_copies(frame)
            sites.append(
                SiteScan(CALL, start, p, callee, bytes(stack[height:]), results, depth, frame, node)
            )
            node = following
            order.append(node)
        elif op == 0x02 or op == 0x03 or op == 0x04 or op == 0x1F:  # block, loop, if, try_table
            start = p - 1
            params, results, p = block_type(code, p, types)
            if op == 0x04:
                del stack[-1]
            handlers = frame.handlers
            if op == 0x1F:
                facts.uses_exceptions = True
                count, p = leb(code, p)
                reached = []
                for _ in range(count):
                    kind = code[p]
                    p += 1
                    if kind < 2:
                        p = leb(code, p)[1]
                    label, p = leb(code, p)
                    target = frame
                    while label:
                        target = target.parent  # type: ignore[assignment]
                        label -= 1
                    reached.append(target.target)
                handlers = (*handlers, *reached)
            opened = Frame(op, start, p, params, results, len(stack) - len(params), frame, handlers)
            if opened.height > height:
                opened.below = bytes(stack[height : opened.height])
            opened.end_node = opened.target = new_node()
            depth += 1
            frame = opened
            height = frame.height
            if op == 0x03:
                gens[node] = gen
                kills[node] = kill
                gen = kill = 0
                # the node before the header has only the header as its successor: live-out is the header's live-in
                header = new_node()
                succs[node].append(header)
                keep_copies(frame)
                sites.append(
                    SiteScan(LOOP, start, p, INDIRECT, bytes(params), b"", depth, frame, node)
                )
                frame.target = frame.loop_node = node = header
                loops.append(header)
                order.append(header)
            elif op == 0x04:
                gens[node] = gen
                kills[node] = kill
                gen = kill = 0
                frame.else_node = new_node()
                following = new_node()
                succs[node] += (following, frame.else_node)
                node = following
                order.append(node)
            elif op == 0x1F and handlers:
                gens[node] = gen
                kills[node] = kill
                gen = kill = 0
                following = new_node()
                succs[node].append(following)
                node = following
                order.append(node)
        elif op == 0x05:  # else
            gens[node] = gen
            kills[node] = kill
            gen = kill = 0
            succs[node].append(frame.end_node)
            frame.else_pos = p - 1
            node = frame.else_node
            frame.else_node = -1
            order.append(node)
            del stack[frame.height :]
            stack += frame.params
        elif op == 0x1A:  # drop
            del stack[-1]
        elif op == 0x1B:  # select
            del stack[-2:]
        elif op == 0x23:  # global.get
            x, p = leb(code, p)
            push(global_types[x])
        elif op == 0x24:  # global.set
            p = leb(code, p)[1]
            del stack[-1]
        elif op == 0x43:
            p += 4
            push(F32)
        elif op == 0x44:
            p += 8
            push(F64)
        elif op in LEAVING:  # what follows is not reached
            gens[node] = gen
            kills[node] = kill
            start = p - 1
            if op == 0x0C:
                label, p = leb(code, p)
                target = frame
                while label:
                    target = target.parent  # type: ignore[assignment]
                    label -= 1
                succs[node].append(target.target)
            elif op == 0x0E:
                count, p = leb(code, p)
                targets = set()
                for _ in range(count + 1):
                    label, p = leb(code, p)
                    target = frame
                    while label:
                        target = target.parent  # type: ignore[assignment]
                        label -= 1
                    targets.add(target.target)
                succs[node] += sorted(targets)
            elif op == 0x08 or op == 0x0A:
                facts.uses_exceptions = True
                if op == 0x08:
                    p = leb(code, p)[1]
                succs[node] += frame.handlers
            elif op == 0x12 or op == 0x13:
                callee, p = leb(code, p)
                if op == 0x12:
                    params = function_types[callee].params
                else:
                    params = types[callee][0] + bytes(
                        (I64 if facts.table64[leb(code, p)[0]] else I32,)
                    )
                    callee = INDIRECT
                    p = leb(code, p)[1]
                if frame.copies is None:
                    keep_copies(frame)
                sites.append(
                    SiteScan(TAIL, start, start, callee, bytes(params), b"", depth, frame, node)
                )
            p = skip_unreached(code, p)
            op = code[p]
            p += 1
            frame_end = op == 0x0B
            if frame_end:
                frame.end_pos = p - 1
                if frame.else_node >= 0:
                    succs[frame.else_node].append(frame.end_node)
                    order.append(frame.else_node)
                node = frame.end_node
                parent = frame.parent
                if parent is None:
                    order.append(node)
                    break
                del stack[frame.height :]
                stack += frame.results
                if frame.copies:
                    for local, t in zip(frame.copies, frame.below, strict=True):
                        free_locals.setdefault(t, []).append(local)
                frame = parent
                height = frame.height
                depth -= 1
            else:
                frame.else_pos = p - 1
                node = frame.else_node
                frame.else_node = -1
                del stack[frame.height :]
                stack += frame.params
            gen = kill = 0
            order.append(node)
        elif op == 0x01:  # nop
            pass
        elif op == 0x3F or op == 0x40:  # memory.size, memory.grow
            x, p = leb(code, p)
            t = I64 if facts.memory64[x] else I32
            if op == 0x3F:
                push(t)
        elif op == 0x1C:  # select with a type
            count, p = leb(code, p)
            p += count
            del stack[-2:]
        elif op == 0x25 or op == 0x26:  # table.get, table.set
            x, p = leb(code, p)
            facts.uses_references = True
            if op == 0x25:
                stack[-1] = facts.table_elements[x]
            else:
                facts.mutable_tables.add(x)
                del stack[-2:]
        elif op == 0xD0:  # ref.null
            push(code[p])
            if code[p] == FUNCREF:
                facts.uses_references = True
            elif code[p] == EXNREF:
                facts.uses_exceptions = True
            p += 1
        elif op == 0xD1:  # ref.is_null
            stack[-1] = I32
        elif op == 0xD2:  # ref.func
            x, p = leb(code, p)
            facts.referenced.add(x)
            push(FUNCREF)
        elif op == 0xFC:
            sub, p = leb(code, p)
            if sub < 8:
                stack[-1] = I64 if sub >= 4 else I32
            elif sub == 8 or sub == 12:  # memory.init, table.init
                segment, p = leb(code, p)
                x, p = leb(code, p)
                facts.initialised.add((0 if sub == 8 else 1, segment, x))
                if sub == 12:
                    facts.mutable_tables.add(x)
                del stack[-3:]
            elif sub == 9 or sub == 13:  # data.drop, elem.drop
                segment, p = leb(code, p)
                drop = (0 if sub == 9 else 1, segment)
                facts.dropped.add(drop)
                result.drops.append((p, *drop))
            elif sub == 10 or sub == 14:  # memory.copy, table.copy
                x, p = leb(code, p)
                p = leb(code, p)[1]
                if sub == 14:
                    facts.mutable_tables.add(x)
                del stack[-3:]
            elif sub == 11 or sub == 17:  # memory.fill, table.fill
                x, p = leb(code, p)
                if sub == 17:
                    facts.mutable_tables.add(x)
                del stack[-3:]
            elif sub == 15:  # table.grow
                x, p = leb(code, p)
                facts.mutable_tables.add(x)
                stack[-2:] = bytes((I64 if facts.table64[x] else I32,))
            elif sub == 16:  # table.size
                x, p = leb(code, p)
                push(I64 if facts.table64[x] else I32)
            else:
                raise UnsupportedModule(f"function {index} uses an unknown instruction 0xFC {sub}")
        elif op == 0xFD or op == 0xFE:
            sub = leb(code, p)[0]
            known = OPS.get(op << 16 | sub)
            if known is None or known.pops is None or known.pushes is None:
                raise UnsupportedModule(
                    f"function {index} uses an unknown instruction 0x{op:X} {sub}"
                )
            start = p - 1
            p = skip_instruction(code, start)
            if known.pops:
                del stack[-len(known.pops) :]
            stack += known.pushes
            if op == 0xFE and facts.has_shared:
                futex = futex_at(facts, code, start)
                if futex is not None:
                    facts.futexes.add(futex)
                    result.futexes.append((start, p, futex))
                    if futex.kind:  # a wait is a call of the host
                        gens[node] = gen
                        kills[node] = kill
                        gen = kill = 0
                        following = new_node()
                        succs[node].append(following)
                        if frame.copies is None:
                            keep_copies(frame)
                        operands = bytes(stack[height:])
                        sites.append(
                            SiteScan(
                                CALL, start, p, INDIRECT, operands, known.pushes, depth, frame, node
                            )
                        )
                        node = following
                        order.append(node)
        else:
            raise UnsupportedModule(f"function {index} uses an unknown instruction 0x{op:X}")
    assert p == n, "the module was not validated"
    if sites:
        liveness(sites, gens, kills, succs, order, bool(loops))
        if loops:
            cover_loops(sites, succs)
    return result
