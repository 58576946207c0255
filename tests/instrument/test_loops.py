"""Loops: which are polled, and how a continuation gets back into those around it."""

from __future__ import annotations

import pytest

from instrument.disturb import disturbed, same_everywhere, wasm
from wasnap.instrument import Continuations, instrument
from wasnap.wasm.decode import decode

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'
NESTED = f"""(module {SEE}
  (func (export "run") (param $n i32) (result i64)
    (local $i i32) (local $j i32) (local $k i32) (local $s i64) (local $v v128)
    (loop $a
      (local.set $s (i64.add (local.get $s) (i64.extend_i32_u (call $see (local.get $i)))))
      (local.set $j (i32.const 0))
      (i64.const 100)
      (loop $b (param i64) (result i64 i32)
        (i64.mul (local.get $s)) (local.set $s)
        (local.set $k (i32.const 0))
        (i32.const 5) (i32.const 6)
        (loop $c (param i32)
          (drop)
          (local.set $v (i64x2.add (local.get $v) (i64x2.splat (local.get $s))))
          (if (i32.eq (local.get $k) (i32.const 1))
            (then (local.set $s (i64.xor (local.get $s) (i64.extend_i32_u (call $see
              (local.get $k)))))))
          (local.tee $k (i32.add (local.get $k) (i32.const 1)))
          (br_if $c (i32.lt_u (local.get $k) (i32.const 3)))
          (drop))
        (drop (call $see))
        (i64.extend_i32_u (local.get $j))
        (br_if $b (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 2)))
        (call $see (local.get $j)))
      (drop) (drop)
      (br_if $a (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (i64.add (local.get $s) (i64x2.extract_lane 1 (local.get $v)))))"""


def test_nested_three_deep() -> None:
    """Sites at each depth, parameters, results and operands below at each loop."""
    same_everywhere(NESTED, [3], stops=20)


@pytest.mark.parametrize(
    ("body", "stops"),
    [
        # every way round passes a call of an import: no poll at the header
        ("(loop (drop (call $see (local.get 0))) (br_if 0 (call $dec)))", 5),
        ("""(loop (if (i32.and (local.get 0) (i32.const 1))
              (then (drop (call $see (i32.const 1)))) (else (drop (call $see (i32.const 2)))))
              (br_if 0 (call $dec)))""", 5),
        # one way does not: header and call are polled
        ("""(loop (if (i32.and (global.get $n) (i32.const 1))
              (then (drop (call $see (i32.const 1)))))
              (br_if 0 (call $dec)))""", 5 + 3),
        # a call that cannot be stopped in is none
        ("(loop (br_if 0 (call $dec)))", 5),
        # an inner loop's poll serves the outer one
        ("(loop (loop (br_if 0 (i32.const 0))) (br_if 0 (call $dec)))", 5),
        # an exception goes round the poll behind the call
        ("""(loop $l (block $h (try_table (catch_all $h)
              (drop (call $throw)))) (br_if $l (call $dec)))""", 5),
    ],
)  # fmt: skip
def test_which_loops_are_polled(body: str, stops: int) -> None:
    """As few polls as possible, and one on every way round."""
    text = f"""(module {SEE} (global $n (mut i32) (i32.const 5)) (tag $t)
      (func $dec (result i32)
        (global.set $n (i32.sub (global.get $n) (i32.const 1))) (global.get $n))
      (func $throw (result i32)
        (if (i32.eq (global.get $n) (i32.const 99)) (then (drop (call $see (i32.const 1)))))
        (throw $t))
      (func (export "run") (param i32) (result i64)
        {body} (i64.extend_i32_u (global.get $n))))"""
    same_everywhere(text, [1])
    for fresh in (False, True):
        assert disturbed(wasm(text), args=[1], every=1, fresh=fresh)[1] == stops


def test_hand_over() -> None:
    """A continuation holds the loop around it only as a call of the header's own continuation."""
    filler = "(local.set $x (i64.mul (local.get $x) (i64.const 3)))" * 300
    module = wasm(f"""(module {SEE}
      (func (export "run") (param $n i32) (result i64) (local $x i64)
        (loop $l
          (drop (call $see (i32.const 1)))
          {filler}
          (drop (call $see (i32.const 2)))
          (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x)))""")
    decoded = decode(module)
    continuations = Continuations(decoded, instrument(decoded).info)
    whole, first, second = (len(continuations.module_for(n)) for n in range(3))
    assert whole > 1500
    assert second < 700 < first
    imports = [i.name for i in decode(continuations.module_for(2)).imports]
    assert "wasnap.resume.0" in imports


def test_a_loop_within_a_try_table() -> None:
    """What a loop throws after the hand-over is still caught around it."""
    same_everywhere(f"""(module {SEE} (tag $t (param i32))
      (func (export "run") (param $n i32) (result i64)
        (i64.const 50)
        (block $h (result i32)
          (try_table (catch $t $h)
            (loop $l
              (drop (call $see (local.get $n)))
              (if (i32.eqz (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
                (then (throw $t (i32.const 9))))
              (br $l)))
          (unreachable))
        (i64.extend_i32_u) (i64.add)))""", [5])  # fmt: skip
