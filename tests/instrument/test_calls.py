"""Calls: tail calls, recursion with and without loops, through tables, and very deep."""

from __future__ import annotations

import pytest

from instrument.disturb import disturbed, plain, same_everywhere, sites, wasm

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'

CASES = {
    "direct tail calls": """
      (func $even (param $n i32) (param $sum i64) (result i64)
        (if (i32.eqz (local.get $n)) (then (return (local.get $sum))))
        (return_call $odd (i32.sub (local.get $n) (i32.const 1))
          (i64.add (local.get $sum) (i64.const 3))))
      (func $odd (param $n i32) (param $sum i64) (result i64)
        (if (i32.eqz (local.get $n)) (then (return (i64.mul (local.get $sum) (i64.const -1)))))
        (return_call $even (i32.sub (local.get $n) (i32.const 1))
          (i64.mul (local.get $sum) (i64.const 7))))
      (func (export "run") (param $n i32) (result i64)
        (i64.add (call $even (local.get $n) (i64.const 1)) (i64.const 1)))""",
    "indirect tail calls": """
      (type $t (func (param i32 i64) (result i64)))
      (table funcref (elem $a $b))
      (func $a (type $t)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1))
          (i64.add (local.get 1) (i64.const 3)) (i32.and (local.get 0) (i32.const 1))))
      (func $b (type $t)
        (i32.const 5)
        (block (param i32)
          (drop)
          (loop $l
            (local.set 1 (i64.add (local.get 1) (i64.extend_i32_u (call $see (local.get 0)))))
            (br_if $l (i32.and (i32.wrap_i64 (local.get 1)) (i32.const 3)))
            (return_call_indirect (type $t) (local.get 0)
              (i64.mul (local.get 1) (i64.const 5)) (i32.const 0))))
        (unreachable))
      (func (export "run") (param $n i32) (result i64)
        (return_call_indirect (type $t) (local.get $n) (i64.const 1) (i32.const 1)))""",
    "tail calls of imports": """
      (table funcref (elem $see))
      (func $f (param i32) (result i32) (return_call $see (local.get 0)))
      (func $g (param i32) (result i32)
        (return_call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))
      (func (export "run") (param $n i32) (result i64)
        (i64.extend_i32_u (i32.add (call $f (local.get $n))
          (i32.mul (call $g (i32.const 2)) (call $f (i32.const 8))))))""",
    "recursion without loops": """
      (func $fib (param i32) (result i64)
        (if (result i64) (i32.lt_u (local.get 0) (i32.const 2))
          (then (i64.extend_i32_u (local.get 0)))
          (else (i64.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                         (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
      (func (export "run") (param $n i32) (result i64) (call $fib (local.get $n)))""",
    "mutual recursion": """
      (func $a (param i32) (result i64)
        (if (i32.eqz (local.get 0)) (then (return (i64.const 1))))
        (i64.add (call $b (i32.sub (local.get 0) (i32.const 1))) (call $leaf (local.get 0))))
      (func $b (param i32) (result i64)
        (if (i32.eqz (local.get 0)) (then (return (i64.const 2))))
        (i64.mul (call $leaf (local.get 0)) (call $c (i32.sub (local.get 0) (i32.const 1)))))
      (func $c (param i32) (result i64) (i64.sub (call $a (local.get 0)) (i64.const 5)))
      (func $leaf (param i32) (result i64) (i64.extend_i32_u (local.get 0)))
      (func (export "run") (param $n i32) (result i64) (call $a (local.get $n)))""",
    "recursion through a table": """
      (type $t (func (param i32) (result i64 i32)))
      (table funcref (elem $f $g))
      (func $f (type $t)
        (if (i32.eqz (local.get 0)) (then (return (i64.const 1) (i32.const 2))))
        (i64.const 10)
        (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1))
          (i32.and (local.get 0) (i32.const 1)))
        (local.set 0) (i64.mul) (i32.add (local.get 0) (i32.const 1)))
      (func $g (type $t)
        (call_indirect (type $t) (i32.shr_u (local.get 0) (i32.const 1)) (i32.const 0)))
      (func (export "run") (param $n i32) (result i64)
        (call_indirect (type $t) (local.get $n) (i32.const 0)) (i64.extend_i32_u) (i64.add))""",
}


@pytest.mark.parametrize("name", CASES)
def test_calls(name: str) -> None:
    """Stopped in all of them, before each tail call and behind each other call."""
    same_everywhere(f"(module {SEE} {CASES[name]})", [9], stops=3)


def test_tail_calls_do_not_pile_up() -> None:
    """A million tail calls, stopped now and then: the stack stays as flat as it was."""
    text = f"(module {SEE} {CASES['direct tail calls']})"
    module = wasm(text)
    wanted = plain(module, args=[1_000_000])
    for fresh in (False, True):
        found, stops = disturbed(module, args=[1_000_000], every=300_001, fresh=fresh)
        assert found == wanted
        assert stops == 3


def test_a_hundred_thousand_frames() -> None:
    """Recursion that deep is stopped, captured and gone on with, on its way down and up."""
    module = wasm("""(module
      (func $down (param i32 i64) (result i64)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (loop (br_if 0 (i32.const 0)))
        (i64.add (local.get 1) (call $down (i32.sub (local.get 0) (i32.const 1))
          (i64.add (local.get 1) (i64.const 3)))))
      (func (export "run") (param $n i32) (result i64)
        (call $down (local.get $n) (i64.const 1))))""")
    wanted = plain(module, args=[100_000])
    for fresh in (False, True):
        found, stops = disturbed(module, args=[100_000], every=70_000, fresh=fresh)
        assert found == wanted
        assert stops == 2


def test_functions_that_cannot_be_stopped_are_no_sites() -> None:
    """Only calls of what has loops, imports or recursion in it are safepoints."""
    info, found = sites(
        wasm(f"""(module {SEE}
      (func $leaf (result i32) (i32.const 1))
      (func $above (result i32) (call $leaf))
      (func $loops (loop (br_if 0 (call $leaf))))
      (func $calls (call $loops))
      (func $imports (drop (call $see (call $above))))
      (func $again (if (call $above) (then (call $again))))
      (table funcref (elem $leaf))
      (func $indirect (drop (call_indirect (result i32) (i32.const 0)))))""")
    )
    assert info.suspends == bytes((1, 0, 0, 1, 1, 1, 1, 1))
    assert [(s.function, s.kind) for s in found] == [
        (3, "loop"), (4, "call"), (5, "call"), (6, "call"), (7, "call"),
    ]  # fmt: skip
