"""The table of instructions against the engine: names by its assembler, signatures by validation.

For each instruction whose signature is free of context: its text, assembled by the engine, decodes
to that entry of the table and encodes to the same bytes; and a function that pushes ``pops``, runs
it, and returns ``pushes`` validates, on 32-bit and on 64-bit memories and tables.
"""

from __future__ import annotations

import pytest
import wasmtime

from wasnap.wasm.code import encode_instr, instructions
from wasnap.wasm.decode import decode
from wasnap.wasm.encode import encode
from wasnap.wasm.module import Body
from wasnap.wasm.opcodes import BY_NAME, OPS, TERMINATORS, UNSUPPORTED, Op
from wasnap.wasm.signature import signature
from wasnap.wasm.types import VALUE_TYPE_NAMES, FuncType

TEXTS = {
    "": "",
    "s": "-1",
    "S": "-1",
    "f": "1.5",
    "d": "1.5",
    "v": "i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    "l": "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    "L": "1",
    "m": "$small offset=7",
    "mL": "$small offset=7 1",
    "M": "$small",
    "MM": "$small $big",
    "D": "$d",
    "DM": "$small $d",
    "T": "$narrow",
    "TT": "$narrow $wide",
    "ET": "$narrow $e",
    "E": "$e",
    "F": "$f",
    "z": "",
    "X": "0",
    "G": "0",
    "h": "func",
}
WIDER = {"$small": "$BIG", "$big": "$SMALL", "$narrow": "$WIDE", "$wide": "$NARROW"}
MODULE = """
(module (memory $zero 1) (memory $small 1) (memory $big i64 1)
  (table $zero 1 funcref) (table $narrow 1 funcref) (table $wide i64 1 funcref)
  (elem $e func) (data $d "x") (func $f) (elem declare func $f) (func {instruction}))
"""

CLOSED = [op for op in OPS.values() if op.pops is not None and op.pushes is not None]


def features() -> wasmtime.Engine:
    config = wasmtime.Config()
    for name in ("memory64", "multi_memory", "threads", "tail_call", "exceptions", "relaxed_simd"):
        setattr(config, f"wasm_{name}", True)
    return wasmtime.Engine(config)


def spelled(op: Op, wide: bool) -> str:
    text = TEXTS[op.immediates]
    if wide:
        for word, other in WIDER.items():
            text = text.replace(word, other)
        text = text.lower()
    return f"{op.name} {text}"


@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
def test_names_codes_and_signatures(wide: bool) -> None:
    engine = features()
    for op in CLOSED:
        module = decode(bytes(wasmtime.wat2wasm(MODULE.format(instruction=spelled(op, wide)))))
        body = module.code[-1]
        first, end = instructions(body.code)
        assert first.op is op
        assert end.op.name == "end"
        assert encode_instr(op, *first.args) + b"\x0b" == body.code
        pops, pushes = signature(op, first.args, module.memory_space(), module.table_space())
        assert pops is not None and pushes is not None
        module.functions[-1] = module.type_index(FuncType(pops, pushes))
        push = b"".join(encode_instr(BY_NAME["local.get"], i) for i in range(len(pops)))
        module.code[-1] = Body([], push + body.code)
        module.data_count = len(module.data)
        wasmtime.Module.validate(engine, encode(module))


def test_instructions_of_context_by_name() -> None:
    """Those that depend on the context, once each in a function."""
    text = """
    (module (type $t (func (param i32) (result i32))) (tag $e (param i32)) (global $g (mut i32)
      (i32.const 0)) (table $T 1 funcref)
      (func $f (type $t)
        (block nop) (loop nop) (if (local.get 0) (then nop) (else nop))
        (block (result i32) (try_table (catch $e 0) (catch_all 1) nop) unreachable) drop
        (br_if 0 (local.get 0) (local.get 0)) drop
        (call_indirect $T (type $t) (local.get 0) (call $f (local.get 0))) drop
        (select (i32.const 1) (i32.const 2) (i32.const 3)) drop
        (select (result i32) (i32.const 1) (i32.const 2) (i32.const 3)) drop
        (local.set 0 (local.tee 0 (local.get 0))) (global.set $g (global.get $g))
        (table.set $T (i32.const 0) (table.get $T (i32.const 0)))
        (drop (table.grow $T (ref.null func) (i32.const 1)))
        (table.fill $T (i32.const 0) (ref.null func) (i32.const 1))
        (drop (ref.is_null (ref.null extern)))
        (block (br_table 0 0 (i32.const 0))) (block (br 0)) (block (throw $e (i32.const 1)))
        (block (throw_ref (ref.null exn))) (block (return_call $f (i32.const 1)))
        (block (return_call_indirect $T (type $t) (i32.const 1) (i32.const 1)))
        (return (i32.const 1))))
    """
    (body,) = decode(bytes(wasmtime.wat2wasm(text))).code
    decoded = list(instructions(body.code))
    open_ops = {op for op in OPS.values() if op.pops is None or op.pushes is None}
    assert open_ops <= {instr.op for instr in decoded}
    assert b"".join(encode_instr(i.op, *i.args) for i in decoded) == body.code


def test_table_is_consistent() -> None:
    assert len(OPS) == len(BY_NAME) == 529
    assert {OPS[code].name for code in TERMINATORS} >= {"br", "unreachable", "throw_ref"}
    assert not OPS.keys() & UNSUPPORTED.keys()
    for op in CLOSED:
        values = (op.pops or b"") + (op.pushes or b"")
        assert set(values) <= VALUE_TYPE_NAMES.keys(), op
