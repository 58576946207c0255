"""References: functions' are saved by index, external ones cannot be, and what holds one waits."""

from __future__ import annotations

import pytest

from instrument.disturb import EVERY, disturbed, same_everywhere, sites, wasm
from wasnap.errors import UnsupportedModule
from wasnap.harness import Instance
from wasnap.instrument import instrument
from wasnap.wasm.decode import decode

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'
FUNCTIONS = """
  (type $i (func (param i32) (result i32)))
  (func $double (type $i) (i32.mul (local.get 0) (i32.const 2)))
  (func $square (type $i) (i32.mul (local.get 0) (local.get 0)))
  (func $host (type $i) (call $see (local.get 0)))
  (elem declare func $double $square $host $see)
"""


def test_function_references() -> None:
    """In locals, operands, copies below blocks, globals and tables, null or not."""
    same_everywhere(f"""(module {SEE} {FUNCTIONS}
      (table $t 2 20 funcref) (global $g (mut funcref) (ref.func $square))
      (func $swap (param funcref funcref) (result funcref funcref)
        (drop (call $see (ref.is_null (local.get 0))))
        (local.get 1) (local.get 0))
      (func $call (param $f funcref) (param $x i32) (result i32)
        (table.set $t (i32.const 0) (local.get $f))
        (call_indirect $t (type $i) (local.get $x) (i32.const 0)))
      (func (export "run") (param $n i32) (result i64)
        (local $f funcref) (local $h funcref) (local $sum i32)
        (local.set $f (ref.func $double)) (local.set $h (ref.func $see))
        (ref.func $host) (ref.null func)
        (loop
          (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 7))
            (call $call (local.get $f) (local.get $n))))
          (call $swap (local.get $f) (global.get $g))
          (global.set $g) (local.set $f)
          (call $swap (local.get $h) (global.get $g)) (global.set $g) (local.set $h)
          (drop (table.grow $t (local.get $f) (i32.const 1)))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.set $f)
        (local.set $sum (i32.add (ref.is_null (local.get $f)) (local.get $sum)))
        (local.set $h)
        (i64.extend_i32_u (i32.add (call $call (local.get $h) (i32.const 3))
          (i32.mul (local.get $sum) (i32.add (i32.const 1)
            (call_indirect $t (type $i) (i32.const 6) (i32.const 4)))))))) """,
        [5], stops=20)  # fmt: skip


def test_slots_of_references_are_used_again() -> None:
    """However often a program that holds a reference is stopped, what is saved does not grow."""
    module = wasm(f"""(module {SEE} {FUNCTIONS}
      (func (export "run") (param $n i32) (result i32) (local $f funcref)
        (local.set $f (ref.func $double))
        (loop (drop (call $see (local.get $n)))
          (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (ref.is_null (local.get $f))))""")
    for fresh in (False, True):
        with Instance(module, {("h", "see"): lambda n: n}, fresh=fresh) as instance:
            assert instance.invoke("run", [60]) == 0
            assert instance.stops >= 60
            assert len(instance._guest._main.machine._tables.capture()["wasnap.refs"]) <= 3


GUARDED = """
  (import "h" "see" (func $see (param i32) (result i32)))
  (tag $t (param i32))
  (func $loop (param $n i32) (result i32)
    (loop (drop (call $see (local.get $n)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $n))
  (func $throws (param $n i32) (result i32)
    (drop (call $loop (local.get $n)))
    (throw $t (local.get $n)))
  (func $held (param $e externref) (param $n i32) (result i32)
    (i32.add (call $loop (local.get $n)) (ref.is_null (local.get $e))))
  (func $throwing (param $e externref) (param $n i32) (result i32)
    (drop (call $throws (local.get $n)))
    (ref.is_null (local.get $e)))
  (func $spin (param $e externref) (param $n i32) (result i32)
    (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (ref.is_null (local.get $e)))
"""


@pytest.mark.parametrize(
    ("body", "stops"),
    [
        ("(call $held (ref.null extern) (i32.const 3))", 0),
        ("(call $spin (ref.null extern) (i32.const 3))", 0),
        ("(i32.add (call $loop (i32.const 2)) (call $held (ref.null extern) (i32.const 3)))", 2),
        ("(call $held (ref.null extern) (i32.const 3)) (call $loop (i32.const 4)) (i32.add)", 4),
        (
            """(block $h (result i32)
                 (try_table (result i32) (catch $t $h)
                   (call $throwing (ref.null extern) (i32.const 3))))
               (i32.add (call $loop (i32.const 5)))""",
            5,
        ),
        (
            """(block $h (try_table (catch_all $h)
                 (drop (call $throwing (ref.null extern) (i32.const 3)))))
               (call $loop (i32.const 5))""",
            5,
        ),
        ("(ref.null extern) (call $loop (i32.const 3)) (i32.add (ref.is_null))", 0),
    ],
)
def test_external_references(body: str, stops: int) -> None:
    """Nothing stops below a call that one lives across, and everything else does, also when the
    call ended in an exception."""
    if "(i32.add (ref.is_null))" in body:
        body = "(ref.null extern) (call $loop (i32.const 3)) (local.set 1) (ref.is_null)"
    text = f"""(module {GUARDED} (func $main (param $n i32) (result i32) (local i32) {body})
      (func (export "run") (param $n i32) (result i32) (call $main (local.get $n))))"""
    same_everywhere(text, [1], stops=0)
    for fresh in (False, True):
        _, stopped = disturbed(wasm(text), args=[1], every=1, fresh=fresh)
        assert stopped >= stops
        if not stops:
            assert stopped <= 2  # behind the guarded call


def test_a_loop_that_holds_an_external_reference_is_not_polled() -> None:
    """The loop is none of the safepoints, that of its caller is."""
    info, found = sites(
        wasm(f"""(module {GUARDED}
      (func (export "run") (result i32)
        (loop (br_if 0 (call $see (i32.const 0))))
        (call $spin (ref.null extern) (i32.const 3))))""")
    )
    assert not [s for s in found if s.function == 5 and s.kind == "loop"]
    assert info.guarded


def test_what_can_never_be_stopped_is_refused() -> None:
    """By the name of the function, and what it holds."""
    text = """(module (func $keeper (export "run") (param $e externref) (param $n i32)
      (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (drop (local.get $e))))"""
    with pytest.raises(UnsupportedModule, match="function keeper keeps a live externref"):
        instrument(decode(wasm(text)))


def test_an_exception_that_carries_an_external_reference() -> None:
    """Then exception references cannot be saved either: the call is guarded."""
    same_everywhere(f"""(module {GUARDED} (tag $x (param externref))
      (func $f (param $n i32) (result i32) (local $e exnref)
        (local.set $e (block $h (result exnref)
          (try_table (catch_all_ref $h) (throw $x (ref.null extern))) (unreachable)))
        (drop (call $loop (local.get $n)))
        (block $h (result externref)
          (try_table (catch $x $h) (throw_ref (local.get $e))) (unreachable))
        (ref.is_null))
      (func (export "run") (param $n i32) (result i32)
        (i32.add (call $f (local.get $n)) (call $loop (local.get $n)))))""",
        [4], every=EVERY, stops=4)  # fmt: skip


def test_exceptions_in_a_table_are_refused() -> None:
    """By the table's number; a table that only holds nulls is not."""
    text = """(module (table 1 funcref) (table $t 1 exnref)
      (func (param exnref) (loop (table.set $t (i32.const 0) (local.get 0)))))"""
    with pytest.raises(UnsupportedModule, match="exception references in table 1"):
        instrument(decode(wasm(text)))
    instrument(decode(wasm(text.replace("table.set $t (i32.const 0) (local.get 0)", "br 0"))))


def test_a_table_of_external_references_grows() -> None:
    """The host gives none, so it holds only nulls; how many is part of the state."""
    same_everywhere(
        f"""(module {SEE} (table $t 2 10 externref)
          (func (export "run") (param $n i32) (result i64)
            (loop
              (drop (table.grow $t (ref.null extern) (i32.const 1)))
              (table.set $t (i32.const 1) (ref.null extern))
              (drop (call $see (local.get $n)))
              (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (i64.extend_i32_u (table.size $t))))""",
        [4],
    )
