"""What lies outside of the stack: tables, segments, memories, globals, the start function."""

from __future__ import annotations

import pytest

from instrument.disturb import EVERY, disturbed, same_everywhere, wasm
from wasnap.harness import Global, Instance

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'
NEXT = """
  (func $stop (param $n i32)
    (loop (drop (call $see (local.get $n)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
"""

CASES = {
    "tables that change": """
      (type $c (func (result i32)))
      (table $t 4 30 funcref) (table $u 6 funcref)
      (func $one (result i32) (i32.const 1)) (func $two (result i32) (call $see (i32.const 2)))
      (func $three (result i32) (i32.const 3))
      (elem (table $u) (i32.const 1) func $one $two $three)
      (elem $passive func $three $two)
      (func (export "run") (param $n i32) (result i64) (local $i i32) (local $sum i64)
        (call $stop (i32.const 2))
        (table.set $t (i32.const 0) (ref.func $three))
        (call $stop (i32.const 1))
        (drop (table.grow $t (ref.func $two) (i32.const 5)))
        (call $stop (i32.const 1))
        (table.copy $t $u (i32.const 1) (i32.const 1) (i32.const 3))
        (table.init $t $passive (i32.const 4) (i32.const 1) (i32.const 1))
        (call $stop (i32.const 1))
        (table.fill $u (i32.const 0) (table.get $t (i32.const 6)) (i32.const 5))
        (loop
          (i64.add (i64.mul (local.get $sum) (i64.const 7)) (i64.extend_i32_u
            (i32.add (call_indirect $t (type $c) (local.get $i))
                     (call_indirect $u (type $c) (i32.rem_u (local.get $i) (i32.const 5))))))
          (local.set $sum)
          (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                             (table.size $t))))
        (local.get $sum))""",
    "segments": """
      (memory 1) (table 8 funcref) (type $c (func (result i32)))
      (data $d "abcdefgh") (data $other "12345678") (elem $e func $one $two)
      (func $one (result i32) (i32.const 11)) (func $two (result i32) (i32.const 22))
      (func (export "run") (param $n i32) (result i64) (local $i i32)
        (loop
          (drop (call $see (local.get $i)))
          (memory.init $d (i32.mul (local.get $i) (i32.const 2)) (local.get $i) (i32.const 2))
          (table.init $e (local.get $i) (i32.const 1) (i32.const 1))
          (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                             (i32.const 5))))
        (data.drop $d) (elem.drop $e)
        (call $stop (i32.const 2))
        (memory.init $other (i32.const 12) (i32.const 0) (i32.const 4))
        (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))
        (drop (call_indirect (type $c) (i32.const 3)))
        (i64.add (i64.load (i32.const 0)) (i64.load (i32.const 8))))""",
    "a dropped segment stays dropped": """
      (memory 1) (data $d "abcdefgh")
      (func (export "run") (param $n i32) (result i64)
        (data.drop $d)
        (call $stop (i32.const 2))
        (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
        (i64.const 1))""",
    "a dropped element segment stays dropped": """
      (table 3 funcref) (elem $e func $stop)
      (func (export "run") (param $n i32) (result i64)
        (loop (drop (call $see (local.get $n))) (elem.drop $e)
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))
        (i64.const 1))""",
    "memory of 64 bits": """
      (memory i64 1 10) (data $d "abcdefgh")
      (func (export "run") (param $n i32) (result i64) (local $a i64)
        (loop
          (i64.store offset=8 (local.get $a) (i64.extend_i32_u (call $see (local.get $n))))
          (local.set $a (i64.add (local.get $a) (i64.const 8)))
          (drop (memory.grow (i64.const 1)))
          (memory.init $d (i64.const 0) (i32.const 1) (i32.const 4))
          (memory.fill (i64.const 3) (i32.const 9) (i64.const 1))
          (memory.copy (i64.const 70000) (i64.const 0) (i64.const 80))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (data.drop $d)
        (i64.mul (memory.size) (i64.add (i64.load (i64.const 70000)) (i64.load (i64.const 70024)))))
      """,
    "table of 64 bits": """
      (type $c (func (result i32)))
      (table $t i64 2 20 funcref) (elem $e func $one $two)
      (func $one (result i32) (i32.const 11)) (func $two (result i32) (call $see (i32.const 22)))
      (func $tail (param $i i64) (result i32)
        (return_call_indirect $t (type $c) (local.get $i)))
      (func (export "run") (param $n i32) (result i64)
        (call $stop (i32.const 1))
        (table.init $t $e (i64.const 0) (i32.const 0) (i32.const 2))
        (call $stop (i32.const 1))
        (drop (table.grow $t (ref.func $one) (i64.const 3)))
        (table.set $t (i64.const 0) (table.get $t (i64.const 1)))
        (i64.add (table.size $t) (i64.extend_i32_u (i32.add
          (call_indirect $t (type $c) (i64.const 0)) (call $tail (i64.const 1))))))""",
    "several memories": """
      (memory $a 1 4) (memory $b 2 9) (memory $c i64 1) (data $d "xyzw0123")
      (func (export "run") (param $n i32) (result i64) (local $sum i64)
        (loop
          (i32.store $b (i32.mul (local.get $n) (i32.const 4)) (call $see (local.get $n)))
          (memory.copy $a $b (i32.const 0) (i32.const 0) (i32.const 100))
          (memory.copy $c $a (i64.const 8) (i32.const 4) (i32.const 64))
          (memory.init $b $d (i32.const 100) (i32.const 2) (i32.const 5))
          (drop (memory.grow $b (i32.const 1)))
          (i64.add (local.get $sum) (i64.load $c (i64.const 12)))
          (local.set $sum)
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i64.add (i64.load $b (i32.const 100))
                 (i64.add (local.get $sum) (i64.extend_i32_u (memory.size $b)))))""",
    "mutable globals of every type": """
      (type $c (func (result i32)))
      (table 1 funcref) (tag $t (param i32)) (elem declare func $one)
      (func $one (result i32) (i32.const 11))
      (global $i (mut i32) (i32.const -5)) (global $l (mut i64) (i64.const 1))
      (global $f (mut f32) (f32.const 1.5)) (global $d (mut f64) (f64.const -0))
      (global $v (mut v128) (v128.const i64x2 1 2)) (global $r (mut funcref) (ref.null func))
      (global $x (mut exnref) (ref.null exn)) (global $o i32 (i32.const 9))
      (func (export "run") (param $n i32) (result i64)
        (loop
          (global.set $i (i32.mul (global.get $i) (call $see (i32.const 3))))
          (global.set $l (i64.add (global.get $l) (i64.extend_i32_s (global.get $i))))
          (global.set $f (f32.reinterpret_i32 (i32.const 0x7fa00002)))
          (global.set $d (f64.neg (global.get $d)))
          (global.set $v (i64x2.add (global.get $v) (v128.const i64x2 5 6)))
          (global.set $r (ref.func $one))
          (global.set $x (block $h (result exnref)
            (try_table (catch_all_ref $h) (throw $t (global.get $i))) (unreachable)))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (call $stop (i32.const 2))
        (table.set (i32.const 0) (global.get $r))
        (drop (call $see (call_indirect (type $c) (i32.const 0))))
        (drop (call $see (block $h (result i32)
          (try_table (catch $t $h) (throw_ref (global.get $x))) (unreachable))))
        (drop (call $see (i32.reinterpret_f32 (global.get $f))))
        (i64.add (i64.add (global.get $l) (i64x2.extract_lane 1 (global.get $v)))
          (i64.add (i64.reinterpret_f64 (global.get $d)) (i64.extend_i32_s (global.get $o)))))
      """,
    "a start function with a loop": """
      (global $g (mut i32) (i32.const 0))
      (func $main (call $stop (i32.const 5))
        (loop (global.set $g (i32.add (global.get $g) (i32.const 1)))
          (br_if 0 (i32.lt_u (global.get $g) (i32.const 5)))))
      (start $main)
      (func (export "run") (param $n i32) (result i64)
        (call $stop (local.get $n)) (i64.extend_i32_u (global.get $g)))""",
}


@pytest.mark.parametrize("name", CASES)
def test_state(name: str) -> None:
    """Restored in a new instance, and untouched in the old one."""
    same_everywhere(f"(module {SEE} {NEXT} {CASES[name]})", [4])


def test_imported_mutable_global() -> None:
    """It is part of the state like one of the module's own."""
    module = wasm("""(module (global $g (import "h" "g") (mut i64)) (global (import "h" "c") i32)
      (func (export "run") (result i64)
        (loop
          (global.set $g (i64.mul (global.get $g) (i64.const 3)))
          (br_if 0 (i64.lt_u (global.get $g) (i64.const 1000))))
        (i64.add (global.get $g) (i64.extend_i32_u (global.get 1)))))""")
    for every in EVERY:
        for fresh in (False, True):
            imports = {("h", "g"): Global(5), ("h", "c"): Global(7)}
            with Instance(module, imports, stop_every=every, fresh=fresh) as instance:
                assert instance.invoke("run") == 1222


def test_what_traps_leaves_the_state() -> None:
    """A trap with frames of an earlier stop behind it is the plain engine's trap."""
    run = same_everywhere(
        f"""(module {SEE} {NEXT}
      (func $f (param i32) (result i64)
        (call $stop (local.get 0)) (i64.div_u (i64.const 1) (i64.const 0)))
      (func (export "run") (param $n i32) (result i64) (i64.add (i64.const 1)
        (call $f (local.get $n)))))""",
        [3],
    )
    assert run.trap == "divide by zero"
    assert (
        disturbed(wasm('(module (func (export "run") (unreachable)))'), every=1, fresh=True)[0].trap
        == "unreachable"
    )
