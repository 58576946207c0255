"""Real programs and the specification's own tests come back from a round trip as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import wasmtime

from wasnap.errors import InvalidModule, UnsupportedModule
from wasnap.wasm.decode import check_code, decode
from wasnap.wasm.encode import encode
from wasnap.wasm.module import Module

PROGRAMS = (
    "python312",
    "python311",
    "php",
    "ruby",
    "sqlite",
    "quickjs",
    "micropython",
    "nextpnr",
    "yosys",
    "clang8",
    "clang22",
)


def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    for name in ("memory64", "multi_memory", "threads", "tail_call", "exceptions", "relaxed_simd"):
        setattr(config, f"wasm_{name}", True)
    config.wasm_custom_page_sizes = True
    config.shared_memory = True
    return wasmtime.Engine(config)


def refusal(data: bytes) -> str | None:
    """What the engine has against a module; None: it is valid."""
    try:
        wasmtime.Module.validate(engine(), data)
    except wasmtime.WasmtimeError as error:
        return str(error)
    return None


def assert_same(module: Module, other: Module) -> None:
    for field in fields(Module):  # a plain == would print megabytes
        assert getattr(module, field.name) == getattr(other, field.name), field.name


@pytest.mark.real
@pytest.mark.parametrize("name", PROGRAMS)
def test_real_program(name: str) -> None:
    import guests

    data = guests.path(name).read_bytes()
    module = decode(data)
    check_code(module)
    again = encode(module)
    assert_same(decode(again), module)
    assert again == data or refusal(again) is None


# --- the core testsuite, converted by tests/wast.py into $WASNAP_SPEC ---


class Case(NamedTuple):
    where: str
    type: str
    module_type: str
    data: bytes


def cases() -> Iterator[Case]:
    root = Path(os.environ["WASNAP_SPEC"])
    for path in sorted(root.rglob("*.json")):
        for command in json.loads(path.read_text())["commands"]:
            if "filename" in command:
                data = (path.parent / command["filename"]).read_bytes()
                where = f"{path.relative_to(root)}:{command['line']}"
                yield Case(where, command["type"], command["module_type"], data)


def outcome(case: Case) -> Any:
    try:
        return decode(case.data, code=True)
    except (InvalidModule, UnsupportedModule) as error:
        return error


@pytest.mark.real
@pytest.mark.skipif("WASNAP_SPEC" not in os.environ, reason="WASNAP_SPEC: converted testsuite")
def test_specification() -> None:
    """What is well-formed decodes and keeps its verdict, what is malformed is InvalidModule."""
    wrong = []
    seen = 0
    for case in cases():
        seen += 1
        module = outcome(case)
        if case.type == "assert_malformed":
            # The text format has rules of its own, which the assembler has already broken.
            if case.module_type == "binary" and isinstance(module, Module):
                wrong.append(f"{case.where}: malformed, but decoded")
        elif isinstance(module, InvalidModule):
            wrong.append(f"{case.where}: {module}")
        elif isinstance(module, Module):
            again = encode(module)
            if (refusal(case.data) is None) != (refusal(again) is None):
                wrong.append(f"{case.where}: {refusal(case.data)} became {refusal(again)}")
    assert not wrong
    assert seen > 5000
