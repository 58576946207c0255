"""What we declare of the C API is what the package declares, which is made from its headers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
from wasmtime import _bindings, _ffi

from wasnap.engine import ffi, objects
from wasnap.engine.config import SETTINGS, engine

CONFIGURATION = {
    f"wasmtime_config_{name}_set": "pb" if isinstance(value, bool) else "pq"
    for name, value in SETTINGS
}


def _letter(theirs: Any) -> str:
    """Of a type that the package uses."""
    if theirs is None:
        return ""
    if issubclass(theirs, (ctypes._Pointer, ctypes.c_void_p)) or hasattr(theirs, "_flags_"):
        return "p"
    if theirs is ctypes.c_bool:
        return "b"
    return {1: "k", 4: "u", 8: "q"}[ctypes.sizeof(theirs)]


@pytest.mark.parametrize(("name", "signature"), (ffi.SIGNATURES | CONFIGURATION).items())
def test_a_function_takes_what_the_package_says(name: str, signature: str) -> None:
    """In the letters of ``ffi``; size_t and uint64_t are one here."""
    function = getattr(_bindings, f"_{name}")
    theirs = "".join(map(_letter, function.argtypes)) + ">" + _letter(function.restype)
    assert theirs == signature.replace("z", "q") + ">" * (">" not in signature)


@pytest.mark.parametrize(
    ("ours", "names"),
    [
        (ffi.wasm_byte_vec_t, ["wasm_byte_vec_t"]),
        (
            ffi.wasm_pointer_vec_t,
            [
                "wasm_importtype_vec_t",
                "wasm_exporttype_vec_t",
                "wasm_frame_vec_t",
                "wasm_valtype_vec_t",
            ],
        ),
        (ffi.wasm_limits_t, ["wasm_limits_t"]),
        (ffi.wasmtime_func_t, ["wasmtime_func_t"]),
        (
            ffi.wasmtime_item_t,
            ["wasmtime_global_t", "wasmtime_table_t", "wasmtime_memory_t", "wasmtime_tag_t"],
        ),
        (ffi.wasmtime_instance_t, ["wasmtime_instance_t"]),
        (ffi.wasmtime_extern_t, ["wasmtime_extern_t"]),
        (
            ffi.wasmtime_reference_t,
            ["wasmtime_anyref_t", "wasmtime_externref_t", "wasmtime_exnref_t"],
        ),
        (ffi.wasmtime_val_t, ["wasmtime_val_t"]),
        (ffi.wasmtime_heaptype_t, ["wasmtime_heaptype_t"]),
        (ffi.wasmtime_reftype_t, ["wasmtime_reftype_t"]),
        (ffi.wasmtime_valtype_t, ["wasmtime_valtype_t"]),
    ],
)
def test_a_structure_lies_as_the_package_says(
    ours: type[ctypes.Structure], names: list[str]
) -> None:
    """Size and alignment, and where the fields are that both name."""
    for name in names:
        theirs = getattr(_ffi, name)
        assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)
        assert ctypes.alignment(ours) == ctypes.alignment(theirs)
        for field, *_ in theirs._fields_:
            if hasattr(ours, field):
                assert getattr(ours, field).offset == getattr(theirs, field).offset


def test_the_library_is_the_packages() -> None:
    """One library, loaded once: what one of them makes the other can use."""
    assert ffi.filename == str(_ffi.filename)
    assert ffi.dll._handle == _ffi.dll._handle


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: objects.wat2wasm("(modul)"), "modul"),
        (lambda: objects.Module.compiled(engine(), b"\0asm"), "unexpected end"),
        (lambda: objects.Module.loaded(engine(), b"/dev/null"), "/dev/null"),
    ],
)
def test_what_the_engine_refuses_is_an_error_of_ours(
    act: Callable[[], object], message: str
) -> None:
    """With the engine's message."""
    with pytest.raises(objects.EngineError, match=message):
        act()


def test_no_other_function_can_be_called() -> None:
    """Only what is declared is there."""
    with pytest.raises(AttributeError):
        ffi.wasmtime_engine_increment_epoch  # noqa: B018
