"""Mutable globals of a stopped guest, for people."""

from __future__ import annotations

from wasnap.engine import Guest, Stopped, globals_of

from .guests import functions, host, load

GLOBALS = """(module
  (import "h" "stop" (func $stop))
  (global i32 (i32.const 9))
  (global $a (mut i32) (i32.const 0)) (global $b (mut i64) (i64.const 0))
  (global $c (mut f32) (f32.const 0)) (global $d (mut f64) (f64.const 0))
  (global $e (mut v128) (v128.const i64x2 0 0))
  (global $f (mut funcref) (ref.null func)) (global $g (mut funcref) (ref.func $run))
  (elem declare func $two $run)
  (func $two)
  (func $run (export "run")
    (global.set $a (i32.const -1)) (global.set $b (i64.const -2))
    (global.set $c (f32.const 1.5)) (global.set $d (f64.const -0.25))
    (global.set $e (v128.const i32x4 1 2 3 4))
    (global.set $f (ref.func $two)) (global.set $g (ref.null func))
    (call $stop)))"""


def test_each_type_of_value() -> None:
    """With its number among all globals; those that cannot change are none of the state."""
    guests: list[Guest] = []
    program = load(GLOBALS)
    provided = functions(host("stop", "->", lambda call: guests[0].stop()))
    with Guest(program, provided) as guest:
        guests[:] = [guest]
        guest.start("run")
        assert guest.wait(20) == Stopped()
        assert globals_of(program.info, guest.capture().main) == [
            (1, "i32", (1 << 32) - 1),
            (2, "i64", (1 << 64) - 2),
            (3, "f32", 1.5),
            (4, "f64", -0.25),
            (5, "v128", b"\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0"),
            (6, "funcref", 1),
            (7, "funcref", -1),
        ]
