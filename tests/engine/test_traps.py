"""Traps in the words of the specification, with the guest's own function names."""

from __future__ import annotations

import pytest

from wasnap.engine import Guest, Trapped
from wasnap.errors import GuestTrap

from .guests import functions, load


def trap(body: str, extra: str = "") -> GuestTrap:
    text = f"""(module (memory 1) (table 1 funcref) (tag $e) {extra}
      (func $culprit {body})
      (func $caller (call $culprit))
      (func (export "run") (call $caller)))"""
    with Guest(load(text), functions()) as guest:
        guest.start("run")
        event = guest.wait(30)
    assert isinstance(event, Trapped)
    return event.trap


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const 65536)))", "out of bounds memory access"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer overflow"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer"),
        ("(call_indirect (i32.const 9))", "undefined element: out of bounds table access"),
        ("(call_indirect (i32.const 0))", "uninitialized element"),
        ("(drop (i32.atomic.load (i32.const 1)))", "unaligned atomic"),
        ("(throw $e)", "uncaught exception"),
    ],
)
def test_what_and_where(body: str, message: str) -> None:
    error = trap(body)
    assert error.message == message
    assert error.frames[:2] == ("culprit", "caller")
    assert error.exit_code == 134


def test_indirect_call_of_another_type() -> None:
    error = trap(
        "(call_indirect (param i32) (i32.const 1) (i32.const 0))",
        "(elem (i32.const 0) $culprit)",
    )
    assert error.message == "indirect call type mismatch"


def test_endless_recursion() -> None:
    error = trap("(call $culprit)")
    assert error.message == "call stack exhausted"
    assert set(error.frames) == {"culprit"}


def test_a_function_without_a_name_has_its_index() -> None:
    text = '(module (func) (func unreachable) (func (export "run") (call 1)))'
    with Guest(load(text), functions()) as guest:
        guest.start("run")
        event = guest.wait(20)
    assert isinstance(event, Trapped)
    assert event.trap.frames[0] == "function[1]"


def test_a_segment_that_does_not_fit_traps_at_instantiation() -> None:
    program = load('(module (memory 1) (data (i32.const 65536) "x"))')
    with pytest.raises(GuestTrap, match="out of bounds memory access"):
        Guest(program, functions())
