"""Damaged modules: cut anywhere, changed anywhere, the answer is a module or a WasnapError."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from wasnap.errors import InvalidModule, WasnapError
from wasnap.wasm.decode import decode
from wasnap.wasm.encode import encode

# Something in every section.
_TEXT = """
(module $sample
  (type $binary (func (param i32 i64) (result f32)))
  (type $pair (func (param i32) (result i32 i32)))
  (import "env" "log" (func $log (param i32)))
  (import "env" "memory" (memory $shared 1 4 shared))
  (import "env" "table" (table $far i64 1 funcref))
  (import "env" "base" (global $base i32))
  (tag $oops (param i32))
  (memory $own i64 1 2)
  (table $t 2 8 funcref)
  (table $x 1 externref)
  (global $top (mut i32) (i32.add (global.get $base) (i32.const 65536)))
  (global $pi f64 (f64.const 3.14159))
  (export "memory" (memory $own))
  (export "run" (func $run))
  (start $init)
  (elem (table $t) (i32.const 0) func $run $init)
  (elem $late funcref (ref.func $run) (ref.null func))
  (elem declare func $pairs)
  (data (memory $own) (i64.const 8) "hello\\00world")
  (data $passive "later")
  (func $init (local i32 i32 f64 v128)
    (memory.init $own $passive (i64.const 0) (i32.const 0) (i32.const 5))
    (data.drop $passive)
    (i32.atomic.store $shared offset=16 (i32.const 0) (i32.const 1))
    (local.set 3 (v128.const i32x4 1 2 3 4)))
  (func $pairs (type $pair) (local.get 0) (i32.const -1))
  (func $run (type $binary) (local $i i32)
    (block $done (result i32)
      (try_table (catch $oops $done)
        (loop $again
          (call $log (local.get $i))
          (br_table $again 1 0 (local.tee $i (i32.add (local.get $i) (i32.const 1))))))
      (throw $oops (i32.const 7)))
    (return_call_indirect $t (type $binary) (local.get 1) (i32.const 0))))
"""


@cache
def sample() -> bytes:
    """The module, assembled by the engine, with a name section and one custom section more."""
    return bytes(wasmtime.wat2wasm(_TEXT)) + b"\x00\x05\x04more"


def section_ends(data: bytes) -> set[int]:
    """Offsets behind the header and behind each section (sizes of up to two bytes)."""
    at = 8
    ends = {at}
    while at < len(data):
        low, high = data[at + 1], data[at + 2]
        at += 2 + low if low < 0x80 else 3 + (low & 0x7F | high << 7)
        ends.add(at)
    return ends


def test_sample_comes_back() -> None:
    module = decode(sample(), code=True)
    assert encode(module) == sample()
    assert module.function_names()[1] == "init"


def test_a_module_cut_anywhere_is_invalid_at_or_before_the_cut() -> None:
    ends = section_ends(sample())
    assert len(sample()) in ends
    for size in range(len(sample())):
        try:
            decode(sample()[:size], code=True)
        except InvalidModule as error:
            assert error.offset is not None and error.offset <= size
        else:
            assert size in ends


@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_every_byte_replaced(value: int) -> None:
    for at in range(len(sample())):
        damaged = bytearray(sample())
        damaged[at] = value
        with suppress(WasnapError):
            module = decode(bytes(damaged), code=True)
            assert decode(encode(module), code=True) == module
            module.function_names()


@given(st.data())
def test_several_bytes_changed_inserted_removed(data: st.DataObject) -> None:
    damaged = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(WasnapError):
        module = decode(bytes(damaged), code=True)
        assert decode(encode(module), code=True).code == module.code
        module.function_names()


@given(st.binary(max_size=60))
def test_any_bytes_behind_a_header(rest: bytes) -> None:
    with suppress(WasnapError):
        decode(b"\0asm\1\0\0\0" + rest, code=True)
