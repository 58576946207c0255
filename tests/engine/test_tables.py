"""Tables that the code changes, and function references that live across a stop."""

from __future__ import annotations

from wasnap.engine import Finished, Guest, Stopped

from .guests import Snapshot, functions, host, load

TABLES = """(module
  (import "h" "stop" (func $stop)) (import "h" "ten" (func $ten (result i32)))
  (type $t (func (result i32)))
  (table $changed 3 funcref) (table $fixed funcref (elem $one))
  (elem (table $changed) (i32.const 0) func $one $one $one) (elem declare func $two $ten)
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (i32.const 2))
  (func (export "run") (result i32)
    (table.set $changed (i32.const 1) (ref.func $two))
    (table.set $changed (i32.const 2) (ref.null func))
    (drop (table.grow $changed (ref.func $ten) (i32.const 2)))
    (call $stop)
    (i32.add
      (i32.mul (i32.const 1000) (table.size $changed))
      (i32.add
        (i32.mul (i32.const 100) (ref.is_null (table.get $changed (i32.const 2))))
        (i32.add (call_indirect $changed (type $t) (i32.const 1))
                 (call_indirect $changed (type $t) (i32.const 4)))))))"""


def test_a_changed_table_comes_back() -> None:
    guests: list[Guest] = []
    program = load(TABLES)
    provided = functions(
        host("stop", "->", lambda call: guests[0].stop()), host("ten", "->i", lambda call: 10)
    )
    with Guest(program, provided) as guest:
        guests[:] = [guest]
        guest.start("run")
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
        guest.proceed()
        assert guest.wait(20) == Finished((5112,))
    table = snapshot.state.main.tables["wasnap.t0"]
    assert len(table) == 5
    assert table[2] == -1
    assert len({table[0], table[1], table[3]}) == 3
    assert table[3] == table[4]
    with Guest(program, provided) as guest:
        snapshot.restore(guest)
        assert guest.capture().main.tables == snapshot.state.main.tables
        guest.proceed()
        assert guest.wait(20) == Finished((5112,))


def test_a_live_function_reference_comes_back() -> None:
    text = """(module (import "h" "stop" (func $stop)) (type $t (func (result i32)))
      (table $t 1 funcref) (elem declare func $one $two)
      (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
      (func (export "run") (param i32) (result i32) (local $f funcref)
        (local.set $f (select (result funcref) (ref.func $one) (ref.func $two) (local.get 0)))
        (call $stop)
        (table.set $t (i32.const 0) (local.get $f))
        (call_indirect $t (type $t) (i32.const 0))))"""
    guests: list[Guest] = []
    program = load(text)
    provided = functions(host("stop", "->", lambda call: guests[0].stop()))
    for choice, result in ((1, 1), (0, 2)):
        with Guest(program, provided) as guest:
            guests[:] = [guest]
            guest.start("run", (choice,))
            assert guest.wait(20) == Stopped()
            snapshot = Snapshot(guest)
        with Guest(program, provided) as guest:
            snapshot.restore(guest)
            guest.proceed()
            assert guest.wait(20) == Finished((result,))
