"""The reader of test scripts: its commands, its constants to the last bit."""

from __future__ import annotations

import struct

import pytest
import wast
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = r"""
(; a comment (; in a comment ;) ;)
(module $M (@note "(") (func (export "f") (param i32) (result f32 v128) unreachable)) ;; )
(module binary "\00asm" "\01\00\00\00")
(register "lib" $M)
(assert_return (invoke $M "f" (i32.const -1)) (f32.const nan:canonical)
  (v128.const i16x8 0 1 2 3 4 5 6 -1))
(assert_return (get "g\"\u{20ac}") (either (i64.const 0x1_0) (ref.null func)))
(assert_return (invoke "r" (ref.extern 7)) (ref.func))
(invoke "f" (i32.const 0))
(assert_trap (invoke "f" (i32.const 0x7f)) "unreachable")
(assert_trap (module (func $s unreachable) (start $s)) "unreachable")
(assert_malformed (module quote "(func (bad))") "unknown operator")
(assert_exception (invoke "f"))
(module definition $D)
(module instance $I $D)
"""


def assemble(text: str) -> bytes:
    if "bad" in text:
        raise ValueError("unknown operator\nand more")
    return text.encode()


def test_commands() -> None:
    script = wast.convert(SCRIPT, assemble, "s")
    types = [command["type"] for command in script.commands]
    assert types == [
        "module",
        "module",
        "register",
        "assert_return",
        "assert_return",
        "assert_return",
        "action",
        "assert_trap",
        "assert_uninstantiable",
        "assert_malformed",
        "assert_exception",
        "module_definition",
        "module_instance",
    ]
    module, binary, register, returned, got, *_ = script.commands
    assert (module["name"], module["line"], module["filename"]) == ("$M", 3, "s.0.wasm")
    assert script.modules["s.0.wasm"].startswith(b"(module $M (@note")
    assert script.modules[binary["filename"]] == b"\0asm\1\0\0\0"
    assert register == {"type": "register", "as": "lib", "name": "$M", "line": 5}
    assert returned["action"] == {
        "type": "invoke",
        "module": "$M",
        "field": "f",
        "args": [{"type": "i32", "value": "4294967295"}],
    }
    assert returned["expected"] == [
        {"type": "f32", "value": "nan:canonical"},
        {"type": "v128", "lane_type": "i16", "value": [*map(str, range(7)), "65535"]},
    ]
    assert got["action"] == {"type": "get", "field": 'g"€'}
    assert got["expected"][0]["values"] == [
        {"type": "i64", "value": "16"},
        {"type": "funcref", "value": "null"},
    ]
    references = script.commands[5]
    assert references["action"]["args"] == [{"type": "externref", "value": "7"}]
    assert references["expected"] == [{"type": "funcref"}]
    assert script.commands[7]["text"] == "unreachable"
    malformed = script.commands[9]
    assert (malformed["error"], malformed["text"]) == ("unknown operator", "unknown operator")
    assert script.commands[-2]["name"] == "$D"
    assert script.modules[script.commands[-2]["filename"]] == b"(module $D)"
    assert (script.commands[-1]["name"], script.commands[-1]["module"]) == ("$I", "$D")


def test_fields_alone_are_a_module() -> None:
    script = wast.convert("(func) (memory 0)", assemble)
    assert script.modules == {"script.0.wasm": b"(module (func) (memory 0))"}


@pytest.mark.parametrize("text", ["(module", "(; open", '(module) ")', "(assert_oddly (x))"])
def test_unreadable(text: str) -> None:
    with pytest.raises(ValueError):
        wast.convert(text if "assert" not in text else f"(module) {text}", assemble)


@given(st.floats(width=32, allow_nan=False))
def test_f32(value: float) -> None:
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    assert wast.float_bits(repr(value), 8, 23) == bits
    assert wast.float_bits(value.hex(), 8, 23) == bits


@given(st.floats(allow_nan=False))
def test_f64(value: float) -> None:
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    assert wast.float_bits(repr(value), 11, 52) == bits
    assert wast.float_bits(value.hex(), 11, 52) == bits


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("nan", 0x7FC00000),
        ("-nan:0x1", 0xFF800001),
        ("-inf", 0xFF800000),
        ("0x1p-149", 1),
        ("0x1p-150", 0),  # a tie, to even
        ("0x1.8p-149", 2),
        ("0x1.fffffep127", 0x7F7FFFFF),
        ("0x1.ffffffp127", 0x7F800000),
        ("+0x1_0.8p0", 0x41840000),
        # Halfway but for the last digit: rounding to a double on the way would lose it.
        ("1.00000005960464477539062500000001", 0x3F800001),
        ("1.000000059604644775390625", 0x3F800000),
    ],
)
def test_f32_bits(text: str, bits: int) -> None:
    assert wast.float_bits(text, 8, 23) == bits
