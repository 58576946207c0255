"""Exceptions: thrown past safepoints, caught around them, and alive across them."""

from __future__ import annotations

import pytest

from instrument.disturb import same_everywhere

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'
THROW = """
  (tag $a (param i32)) (tag $b (param i64 f64)) (tag $none)
  (func $throw (param $n i32) (result i32)
    (drop (call $see (local.get $n)))
    (block $three (block $two (block $one (block $zero
      (br_table $zero $one $two $three (i32.and (local.get $n) (i32.const 3))))
      (throw $a (call $see (i32.const 4)))) (throw $b (i64.const 5) (f64.const 0.5)))
      (throw $none))
    (call $see (local.get $n)))
"""
LOOP = """
  (func (export "run") (param $n i32) (result i64) (local $sum i64)
    (loop $l
      (i64.add (i64.mul (local.get $sum) (i64.const 31))
               (i64.extend_i32_s (call $f (local.get $n))))
      (local.set $sum)
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
"""

CATCHES = {
    "catch": """
      (func $f (param $n i32) (result i32)
        (block $c (block $b (result i64 f64) (block $a (result i32)
          (return (try_table (result i32) (catch $a $a) (catch $b $b) (catch $none $c)
            (i32.add (i32.const 1) (call $throw (local.get $n))))))
          (return (call $see)))
          (drop) (return (i32.wrap_i64)))
        (call $see (i32.const 77)))""",
    "catch_ref": """
      (func $f (param $n i32) (result i32) (local $e exnref) (local $x i64)
        (block $all (result exnref) (block $b (result i64 f64 exnref) (block $a (result i32 exnref)
          (return (try_table (result i32) (catch_ref $a $a) (catch_ref $b $b) (catch_all_ref $all)
            (call $throw (local.get $n)))))
          (local.set $e) (drop (call $see))
          (block $again (result i32)
            (try_table (catch $a $again) (throw_ref (local.get $e)))
            (unreachable))
          (return (i32.add (call $see (i32.const 3)))))
          (local.set $e) (drop) (local.set $x)
          (return (i32.add (i32.wrap_i64 (local.get $x)) (call $see (i32.const 8)))))
        (drop) (call $see (i32.const 9)))""",
    "catch_all": """
      (func $f (param $n i32) (result i32)
        (block $all
          (try_table (catch_all $all)
            (loop $l
              (drop (call $throw (local.get $n)))
              (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
            (return (i32.const 1))))
        (call $see (i32.const -5)))""",
    "catch_all_ref and throw_ref": """
      (func $hold (param $n i32) (result i32) (local $e exnref) (local $i i32)
        (local.set $e (block $all (result exnref)
          (return (try_table (result i32) (catch_all_ref $all) (call $throw (local.get $n))))))
        (loop $l
          (drop (call $see (local.get $i)))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                              (i32.const 3))))
        (throw_ref (local.get $e)))
      (func $f (param $n i32) (result i32) (local $x i32)
        (block $all (block $b (result i64 f64) (block $a (result i32)
          (return (try_table (result i32) (catch $a $a) (catch $b $b) (catch_all $all)
            (call $hold (local.get $n)))))
          (return))
          (f64.mul (f64.const 8)) (i32.trunc_f64_s) (local.set $x)
          (i32.wrap_i64) (return (i32.add (local.get $x))))
        (i32.const -1))""",
    "tail calls in a try_table": """
      (func $f (param $n i32) (result i32)
        (block $all
          (return (try_table (result i32) (catch_all $all) (call $g (local.get $n)))))
        (i32.const -7))
      (func $g (param $n i32) (result i32)
        (block $all
          (try_table (result i32) (catch_all $all) (return_call $throw (local.get $n)))
          (return))
        (i32.const -8))""",
    "nested": """
      (func $f (param $n i32) (result i32)
        (block $outer
          (try_table (catch_all $outer)
            (block $inner (result i32)
              (try_table (catch $a $inner)
                (loop $l
                  (drop (call $throw (local.get $n)))
                  (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
              (i32.const 2))
            (drop (call $throw))))
        (call $see (i32.const 1)))""",
}
CATCHES["operands below and parameters"] = """
      (func $f (param $n i32) (result i32) (local $x i32)
        (i32.const 1000) (i64.const 5)
        (block $a (param i64) (result i32)
          (local.get $n)
          (block $all (param i64 i32)
            (try_table (param i64 i32) (catch $a $a) (catch_all $all)
              (call $throw) (i32.add (call $see (i32.const 1))) (local.set $x)
              (i32.wrap_i64) (i32.add (local.get $x)) (br $a))
            (unreachable))
          (call $see (i32.const 12)))
        (i32.add) (call $see))"""


@pytest.mark.parametrize("name", CATCHES)
def test_catches(name: str) -> None:
    """Nothing of ours is caught by the guest, and each exception of its own where it was."""
    same_everywhere(f"(module {SEE} {THROW} {CATCHES[name]} {LOOP})", [9])


def test_payloads() -> None:
    """An exception's payload of every type survives, in a local and as an operand."""
    same_everywhere(f"""(module {SEE}
      (tag $inner (param i32))
      (tag $t (param i32 i64 f32 f64 v128 funcref exnref exnref))
      (type $s (func (param i32) (result i32)))
      (table 1 funcref)
      (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
      (elem declare func $double)
      (func $make (param i32) (result exnref)
        (block $h (result exnref)
          (try_table (catch_all_ref $h) (throw $inner (local.get 0))) (unreachable)))
      (func $open (param exnref) (result i32)
        (block $h (result i32)
          (try_table (catch $inner $h) (throw_ref (local.get 0))) (unreachable)))
      (func (export "run") (param $n i32) (result i64)
        (local $e exnref) (local $x exnref) (local $y exnref) (local $f funcref)
        (local $v v128) (local $d f64) (local $s f32) (local $l i64) (local $i i32)
        (block $caught (result exnref)
          (try_table (catch_all_ref $caught)
            (throw $t (i32.const -3) (i64.const 0x1234567890abcdef)
              (f32.reinterpret_i32 (i32.const 0x7fa00001))
              (f64.reinterpret_i64 (i64.const 0xfff4000000000123))
              (v128.const i64x2 11 -12) (ref.func $double)
              (call $make (call $see (i32.const 1))) (ref.null exn)))
          (unreachable))
        (local.tee $e)
        (loop (drop (call $see (local.get $n)))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (drop)
        (block $again (result i32 i64 f32 f64 v128 funcref exnref exnref)
          (try_table (catch $t $again) (throw_ref (local.get $e)))
          (unreachable))
        (local.set $y) (local.set $x) (local.set $f) (local.set $v) (local.set $d) (local.set $s)
        (local.set $l) (local.set $i)
        (table.set (i32.const 0) (local.get $f))
        (drop (call $see (ref.is_null (local.get $y))))
        (drop (call $see (call_indirect (type $s) (call $open (local.get $x)) (i32.const 0))))
        (drop (call $see (i32.reinterpret_f32 (local.get $s))))
        (i64.add (i64.reinterpret_f64 (local.get $d)) (i64.add (local.get $l)
          (i64.add (i64x2.extract_lane 1 (local.get $v)) (i64.extend_i32_s (local.get $i)))))))""",
        [3], stops=7)  # fmt: skip


def test_payloads_larger_than_frames() -> None:
    """An exception of 16,000 bytes, ten deep in another, is saved where frames are small."""
    vectors, n = "v128 " * 999, 20
    zeros = "(v128.const i64x2 3 4) " * 999
    same_everywhere(f"""(module {SEE} (tag $t (param {vectors} exnref))
      (func (export "run") (param $n i32) (result i64) (local $e exnref) (local $d i32)
        (loop $l
          (block $caught (result exnref)
            (try_table (catch_all_ref $caught) (throw $t {zeros} (local.get $e))) (unreachable))
          (local.set $e)
          (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (loop $l
          (block $caught (result {vectors} exnref)
            (try_table (catch $t $caught) (throw_ref (local.get $e))) (unreachable))
          (local.set $e) {"(drop) " * 999}
          (local.set $d (i32.add (local.get $d) (i32.const 1)))
          (br_if $l (i32.eqz (ref.is_null (local.get $e)))))
        (i64.extend_i32_u (local.get $d))))""", [n], every=[7])  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 2])
def test_uncaught(n: int) -> None:
    """An exception that leaves the entry ends it, as it does on the plain engine."""
    run = same_everywhere(f"""(module {SEE} {THROW}
      (func (export "run") (param $n i32) (result i64)
        (i64.extend_i32_u (call $throw (local.get $n)))))""", [n])
    assert run.trap


def test_only_null_references() -> None:
    """A null that is alive across a call, in a module where nothing else is a reference."""
    same_everywhere(f"""(module {SEE} (func (export "run") (param $n i32) (result i64)
      (ref.null exn) (drop (call $see (local.get $n))) (ref.is_null) (i64.extend_i32_u)))""", [3])
    same_everywhere(f"""(module {SEE} (func (export "run") (param $n i32) (result i64)
      (ref.null func) (drop (call $see (local.get $n))) (ref.is_null) (i64.extend_i32_u)))""", [3])
    same_everywhere(f"""(module {SEE} (func (export "run") (param $n i32) (result i64)
      (ref.null extern) (drop (ref.is_null)) (drop (call $see (local.get $n)))
      (i64.const 4)))""", [3])
