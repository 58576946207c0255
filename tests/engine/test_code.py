"""What is refused before anything runs, each with one clear line."""

from __future__ import annotations

import pytest

from wasnap.engine import validate
from wasnap.errors import InvalidModule, UnsupportedModule

from .guests import wasm


def test_not_wasm() -> None:
    with pytest.raises(InvalidModule, match="not a WebAssembly module") as caught:
        validate(b"#!/bin/sh\n")
    assert caught.value.offset == 0
    with pytest.raises(InvalidModule):
        validate(b"")


def test_component() -> None:
    with pytest.raises(UnsupportedModule, match="component"):
        validate(b"\0asm\x0d\0\1\0")


def test_every_cut_is_invalid_or_whole() -> None:
    """A cut module is never a crash: it is refused, or was cut between sections."""
    module = wasm('(module (memory 1) (func (export "run") (result i32) (i32.const 5)))')
    refused = 0
    for length in range(len(module)):
        try:
            validate(module[:length])
        except InvalidModule:
            refused += 1
    assert refused > len(module) // 2


def test_type_error_has_its_offset() -> None:
    module = bytearray(wasm("(module (func (result i32) (i32.const 5)))"))
    at = module.index(b"\x41\x05")
    module[at] = 0x42
    with pytest.raises(InvalidModule, match="type mismatch") as caught:
        validate(bytes(module))
    assert caught.value.offset is not None
    assert at <= caught.value.offset <= at + 3


def test_legacy_exceptions() -> None:
    module = wasm("(module (func (block (nop))))")
    module = module.replace(b"\x02\x40\x01\x0b", b"\x06\x40\x01\x0b")
    with pytest.raises(UnsupportedModule, match="old exceptions"):
        validate(module)


def test_a_feature_that_is_off_is_named() -> None:
    with pytest.raises(UnsupportedModule, match="gc"):
        validate(wasm("(module (type (struct (field i32))))"))
