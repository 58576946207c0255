"""Host calls: values of every type both ways, and exceptions that reach the right thread."""

from __future__ import annotations

import math
import struct
import threading
from typing import Any

import pytest

from wasnap.engine import Event, Exited, Failed, Finished, Guest
from wasnap.errors import UnknownImport, UnsupportedModule
from wasnap.host.protocol import Exit, HostFunction

from .guests import functions, host, load


def run(text: str, *hosts: HostFunction, entry: str = "run", args: tuple[int, ...] = ()) -> Event:
    with Guest(load(text), functions(*hosts)) as guest:
        guest.start(entry, args)
        event = guest.wait(20)
        assert event is not None
        return event


def test_arguments_of_every_type_arrive() -> None:
    got: list[Any] = []
    text = """(module
      (import "h" "f" (func $f (param i32 i64 f32 f64 v128)))
      (func (export "run") (call $f (i32.const -1) (i64.const -2) (f32.const 1.5) (f64.const -2.25)
        (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15))))"""
    event = run(text, host("f", "ilfdv->", lambda call, *args: got.extend(args)))
    assert event == Finished(())
    assert got == [0xFFFFFFFF, 0xFFFFFFFFFFFFFFFE, 1.5, -2.25, bytes(range(16))]


def test_results_of_every_type_come_back_in_order() -> None:
    text = """(module
      (import "h" "f" (func $f (result i32 i64 f32 f64 v128)))
      (func (export "run") (result i32 i64 f32 f64 v128) (call $f)))"""
    vector = bytes(range(1, 17))
    event = run(text, host("f", "->ilfdv", lambda call: (-1, 1 << 63, 0.5, math.inf, vector)))
    bits_f32 = int.from_bytes(struct.pack("<f", 0.5), "little")
    bits_f64 = int.from_bytes(struct.pack("<d", math.inf), "little")
    vector_bits = int.from_bytes(vector, "little")
    assert event == Finished((0xFFFFFFFF, 1 << 63, bits_f32, bits_f64, vector_bits))


def test_entry_arguments_keep_their_bits() -> None:
    """A signalling NaN with a payload passes through an entry as it is."""
    text = """(module (func (export "run") (param f32 v128 i64) (result i64 v128 f32)
      (local.get 2) (local.get 1) (local.get 0)))"""
    nan, vector = 0x7FA00001, (1 << 127) | 5
    assert run(text, args=(nan, vector, 1 << 63)) == Finished((1 << 63, vector, nan))


@pytest.mark.parametrize("result", [None, (1, 2), "1"])
def test_a_result_that_does_not_fit_is_a_failure_of_the_host(result: Any) -> None:
    text = """(module (import "h" "f" (func $f (result i32)))
      (func (export "run") (result i32) (call $f)))"""
    event = run(text, host("f", "->i", lambda call: result))
    assert isinstance(event, Failed)
    assert isinstance(event.error, TypeError)


def test_exit_ends_the_guest_with_its_code() -> None:
    def leave(call: object, code: int) -> None:
        raise Exit(code)

    text = """(module (import "h" "exit" (func $exit (param i32)))
      (func (export "run") (call $exit (i32.const 42)) unreachable))"""
    assert run(text, host("exit", "i->", leave)) == Exited(42)


def test_a_host_function_reads_memory_that_has_just_grown() -> None:
    text = """(module (import "h" "f" (func $f (param i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "run") (result i32)
        (drop (memory.grow (i32.const 3)))
        (i32.store (i32.const 200000) (i32.const 77))
        (call $f (i32.const 200000))))"""
    event = run(text, host("f", "i->i", lambda call, ptr: call.memory.u32(ptr)))
    assert event == Finished((77,))


def test_each_thread_gets_its_own_exceptions() -> None:
    """Guests on several threads raise at the same time; none may see another's exception."""

    class Mine(Exception):
        pass

    text = """(module (import "h" "f" (func $f (param i32)))
      (func (export "run") (param i32) (call $f (local.get 0))))"""
    program = load(text)
    wrong: list[object] = []

    def fail(call: object, number: int) -> None:
        raise Mine(number)

    def one_after_the_other(first: int) -> None:
        for number in range(first, first + 40):
            with Guest(program, functions(host("f", "i->", fail))) as guest:
                guest.start("run", (number,))
                event = guest.wait(20)
            if not isinstance(event, Failed) or event.error.args != (number,):
                wrong.append((number, event))

    threads = [threading.Thread(target=one_after_the_other, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_missing_import_is_named() -> None:
    program = load('(module (import "env" "gone" (func)))')
    with pytest.raises(UnknownImport, match=r"env\.gone"):
        Guest(program, functions())


def test_missing_memory_is_named() -> None:
    program = load('(module (import "env" "mem" (memory 1)))')
    with pytest.raises(UnknownImport, match=r"memory env\.mem"):
        Guest(program, functions())


def test_import_of_another_type_is_refused() -> None:
    program = load('(module (import "h" "f" (func (param i32))))')
    with pytest.raises(UnknownImport, match=r"\(i32\) -> \(\).*\(i64\) -> \(\)"):
        Guest(program, functions(host("f", "l->", lambda call, a: None)))


def test_reference_import_is_refused_by_name() -> None:
    program = load('(module (import "h" "f" (func (param externref))))')
    function = HostFunction("h", "f", b"\x6f", b"", lambda call, a: None)
    with pytest.raises(UnsupportedModule, match=r"h\.f passes a externref"):
        Guest(program, functions(function))
