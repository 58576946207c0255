"""Memories, tables and globals that a guest imports are made for it, and are part of its state."""

from __future__ import annotations

import pytest

from wasnap.engine import (
    Definition,
    Finished,
    GlobalDefinition,
    Guest,
    MemoryDefinition,
    Stopped,
    TableDefinition,
)
from wasnap.errors import UnknownImport, UnsupportedModule

from .guests import Snapshot, host, load

TEXT = """(module
  (import "s" "memory" (memory 1 2)) (import "s" "table" (table 10 funcref))
  (import "s" "i32" (global $i i32)) (import "s" "f64" (global $f f64))
  (import "s" "mutable" (global $m (mut i64)))
  (import "h" "stop" (func $stop))
  (type $t (func (result i32)))
  (func $seven (result i32) (i32.const 7)) (elem declare func $seven)
  (func (export "run") (result i32 f64 i64 i32 i32)
    (i32.store (i32.const 8) (i32.const 5))
    (table.set (i32.const 3) (ref.func $seven))
    (global.set $m (i64.const 77))
    (call $stop)
    (global.get $i) (global.get $f) (global.get $m) (i32.load (i32.const 8))
    (call_indirect (type $t) (i32.const 3))))"""


def test_definitions_are_the_guests_own() -> None:
    guests: list[Guest] = []
    definitions: dict[str, Definition] = {
        "memory": MemoryDefinition(1, 2),
        "table": TableDefinition(10, 20),
        "i32": GlobalDefinition(666),
        "f64": GlobalDefinition(0x3FF0000000000000),
        "mutable": GlobalDefinition(1),
        "stop": host("stop", "->", lambda call: guests[0].stop()),
    }
    program = load(TEXT)
    expected = Finished((666, 0x3FF0000000000000, 77, 5, 7))
    with Guest(program, lambda module, name: definitions.get(name)) as guest:
        guests[:] = [guest]
        guest.start("run")
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
        guest.proceed()
        assert guest.wait(20) == expected
    with Guest(program, lambda module, name: definitions.get(name)) as guest:
        snapshot.restore(guest)
        guest.proceed()
        assert guest.wait(20) == expected


def test_another_kind_is_not_what_was_asked_for() -> None:
    program = load('(module (import "s" "x" (global i32)))')
    with pytest.raises(UnknownImport, match=r"global s\.x"):
        Guest(program, lambda module, name: MemoryDefinition(1, 2))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("(func)", "function"),
        ("(global i32)", "global"),
        ("(table 1 funcref)", "table"),
        ("(memory 1)", "memory"),
        ("(tag)", "tag"),
    ],
)
def test_what_nobody_provides_is_named(kind: str, what: str) -> None:
    program = load(f'(module (import "s" "x" {kind}))')
    with pytest.raises(UnknownImport, match=rf"the {what} s\.x"):
        Guest(program, lambda module, name: None)


def test_sizes_that_do_not_fit() -> None:
    program = load('(module (import "s" "x" (memory 2)))')
    with pytest.raises(UnsupportedModule, match="cannot be instantiated"):
        Guest(program, lambda module, name: MemoryDefinition(1, 1))
