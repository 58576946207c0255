"""Structured control: whatever lies around a safepoint, its continuation opens it again."""

from __future__ import annotations

import pytest

from instrument.disturb import same_everywhere

CASES = {
    "blocks with parameters": """
      (func (export "run") (param i32) (result i64) (local f64 i64)
        (local.get 0) (i64.const 5) (f64.const 2.5)
        (block (param i32 i64 f64) (result f64 i64)
          (local.set 1) (local.set 2)
          (call $see) (i64.extend_i32_u) (i64.add (local.get 2)) (local.set 2)
          (f64.add (local.get 1) (f64.convert_i32_s (call $see (i32.const 2)))) (local.get 2))
        (local.set 2) (i64.reinterpret_f64) (i64.add (local.get 2)))""",
    "operands below blocks": """
      (func (export "run") (param $n i32) (result i64) (local $i i32)
        (i64.const 1000) (f32.const 1.5) (local.get $n)
        (block (result i32)
          (i32.const 7)
          (loop (result i32)
            (drop (call $see (local.get $i)))
            (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                               (i32.const 3)))
            (local.get $i))
          (i32.add))
        (i32.add) (local.set $i)
        (i32.reinterpret_f32) (i32.add (local.get $i)) (i64.extend_i32_u) (i64.add))""",
    "operands below, parameters above": """
      (func (export "run") (param $n i32) (result i64) (local $x i64)
        (i64.const 3) (f64.const 0.5) (i32.const 11) (i64.const 17)
        (block (param i32 i64) (result i64)
          (local.set $x) (i64.extend_i32_u) (local.get $n) (local.get $x)
          (loop (param i32 i64) (result i64)
            (local.set $x) (local.set $n)
            (drop (call $see (local.get $n)))
            (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
            (i64.add (local.get $x) (i64.const 1))
            (br_if 0 (local.get $n))
            (local.set $x) (drop) (local.get $x))
          (i64.mul))
        (local.set $x) (i64.reinterpret_f64 (f64.neg)) (i64.xor (local.get $x)) (i64.mul))""",
    "if and else with operands": """
      (func $pick (param $n i32) (result i32)
        (i32.const 100) (i32.const 20)
        (if (result i32) (i32.and (local.get $n) (i32.const 1))
          (then (i32.const 3) (call $see (local.get $n)) (i32.add))
          (else (call $see (i32.const 50))
            (if (param i32) (result i32) (i32.and (local.get $n) (i32.const 2))
              (then (call $see) (i32.const 1) (i32.add))
              (else (drop) (call $see (call $see (i32.const 9)))))))
        (i32.mul) (i32.add))
      (func (export "run") (param $n i32) (result i64) (local $sum i64)
        (loop
          (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31))
                                   (i64.extend_i32_u (call $pick (local.get $n)))))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum))""",
    "if without else": """
      (func (export "run") (param $n i32) (result i64)
        (i64.const 5)
        (if (local.get $n) (then (drop (call $see (local.get $n)))))
        (i32.const 3) (i32.const 4)
        (if (param i32 i32) (result i32 i32) (i32.eqz (local.get $n))
          (then (call $see) (drop) (i32.const 8)))
        (i32.mul) (i64.extend_i32_u) (i64.add))""",
    "br_table out of nested loops": """
      (func (export "run") (param $n i32) (result i64) (local $i i32) (local $sum i32)
        (block $out (result i64)
          (loop $a
            (i64.const 1)
            (loop $b (param i64) (result i64)
              (loop $c (param i64) (result i64)
                (i64.extend_i32_u (call $see (local.get $i))) (i64.add)
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $out (i32.gt_u (local.get $i) (local.get $n)))
                (block $d (param i64) (result i64)
                  (br_table $d $c $b $d $c (i32.rem_u (local.get $i) (i32.const 7))))
                (i64.const 3) (i64.mul)))
            (i32.wrap_i64) (local.set $sum (i32.add (local.get $sum)))
            (br $a))
          (unreachable))
        (i64.add (i64.extend_i32_u (local.get $sum))))""",
    "return and branches to the function": """
      (func $f (param $n i32) (result i32 i64)
        (i32.const 6) (i64.const 7)
        (block (param i32 i64) (result i32 i64)
          (br_if 1 (i32.eqz (call $see (local.get $n))))
          (i32.and (local.get $n) (i32.const 1))
          (if (param i32 i64) (result i32 i64)
            (then (drop) (drop) (return (call $see (i32.const 1)) (i64.const 3)))
            (else (i64.const 2) (i64.add)))))
      (func (export "run") (param $n i32) (result i64) (local $sum i64)
        (loop
          (call $f (local.get $n))
          (i64.add (local.get $sum)) (local.set $sum)
          (i64.extend_i32_u) (i64.add (local.get $sum)) (local.set $sum)
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum))""",
    "code that is not reached": """
      (data $d "x") (elem $e func $run) (memory 1) (table 3 funcref)
      (func $unused (result i32) (i32.const 1))
      (func $run (export "run") (param $n i32) (result i64)
        (loop $l
          (drop (call $see (local.get $n)))
          (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
          (block
            (br 0)
            (call $unused) (drop)
            (loop (drop (ref.func $run)) (br 0))
            (data.drop $d) (elem.drop $e)
            (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))
            (table.init $e (i32.const 0) (i32.const 0) (i32.const 0))
            (if (i32.const 1) (then (return_call $run (i32.const 2))) (else (unreachable)))
            (try_table (catch_all 0) (call $run (i32.const 1)) (drop)) (throw_ref))
          (if (local.get $n) (then (unreachable) (i32.const 3) (call $unused) (drop) (drop)) (else))
          (drop (call $see (local.get $n))))
        (i64.const 8))""",
    "nothing is reached": """
      (func (export "run") (param i32) (result i64)
        (drop (call $see (i32.const 1)))
        (unreachable) (call $see) (i64.extend_i32_u))""",
    "select, tee and every kind of local": """
      (func (export "run") (param $n i32) (result i64)
        (local $a f32) (local $b f64) (local $c v128) (local $l i64)
        (local.set $a (f32.reinterpret_i32 (i32.const 0x7fa00001)))
        (local.set $b (f64.reinterpret_i64 (i64.const 0x7ff4000000000001)))
        (local.set $c (v128.const i64x2 0x1122334455667788 -2))
        (loop
          (local.set $l (i64.add (local.get $l)
            (select (i64x2.extract_lane 0 (local.get $c)) (i64x2.extract_lane 1 (local.get $c))
                    (call $see (local.get $n)))))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (v128.xor (local.get $c) (v128.const i64x2 1 2))
        (drop (call $see (i32.reinterpret_f32 (local.get $a))))
        (i64.add (i64x2.extract_lane 1) (i64.add (local.get $l)
          (i64.add (i64.reinterpret_f64 (local.get $b))
                   (i64.extend_i32_u (i32.reinterpret_f32 (local.get $a)))))))""",
    "no memory, no import": """
      (func (export "run") (param $n i32) (result i64) (local $sum i64)
        (loop
          (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 3))
                                   (i64.extend_i32_u (local.get $n))))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum))""",
}

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'


@pytest.mark.parametrize("name", CASES)
def test_blocks(name: str) -> None:
    """Results, calls of the host and traps are those of the plain engine."""
    see = "" if "$see" not in CASES[name] else SEE
    same_everywhere(f"(module {see} {CASES[name]})", [6])


def test_a_thousand_blocks_deep() -> None:
    """Safepoints behind a br_table's blocks, more of them than Python has stack frames."""
    depth = 1500
    labels = " ".join(map(str, range(depth)))
    text = f"""(module {SEE} (func (export "run") (param $n i32) (result i64)
      (loop $again
        {"(block " * depth} (br_table {labels} (i32.mul (local.get $n) (i32.const 77)))
        {") (drop (call $see (i32.const 1)))" * 2} {")" * (depth - 4)}
        {"(drop (call $see (local.get $n))) )" * 2}
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (i64.const 4)))"""
    same_everywhere(text, [5], every=[1])


def test_a_safepoint_within_a_thousand_blocks() -> None:
    """The same with the safepoint innermost, and operands below a block half way out."""
    half = 700
    text = f"""(module {SEE} (func (export "run") (param $n i32) (result i64)
      {"(block (result i64) " * half} (i64.const 1) {"(block (result i64) " * half}
      (i64.extend_i32_u (call $see (local.get $n)))
      {")" * half} (i64.add) {")" * half}))"""
    same_everywhere(text, [5], every=[1])
