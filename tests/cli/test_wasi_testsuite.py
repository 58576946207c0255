"""WebAssembly/wasi-testsuite: programs in C, AssemblyScript and Rust, each with what it must do.

They are not part of this repository: ``WASNAP_WASI_TESTSUITE`` names a checkout of it that holds the
compiled programs (its branch ``prod/testsuite-base``), of which those for preview1 are run.

Source: https://github.com/WebAssembly/wasi-testsuite/blob/main/doc/specification.md
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command

SUITE = Path(os.environ.get("WASNAP_WASI_TESTSUITE", "nowhere"))
PROGRAMS = sorted(SUITE.glob("tests/*/testsuite/wasm32-wasip1/*.wasm"))

NOT_CHECKED = {"kill", "connect", "send", "recv", "request"}
"""Operations that no program for preview1 asks for."""


def expectations(program: Path) -> dict[str, Any]:
    """The program's JSON, in its older form: args, env, root, exit_code, stdout, stderr."""
    file = program.with_suffix(".json")
    given: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for operation in given.pop("operations", ()):
        assert operation["type"] not in NOT_CHECKED, operation
        if operation["type"] == "read":
            stream = operation.get("id", "stdout")
            given[stream] = given.get(stream, "") + operation.get("payload", "")
        elif operation["type"] == "write":
            given["stdin"] = given.get("stdin", "") + operation.get("payload", "")
        else:
            given |= {key: value for key, value in operation.items() if key != "type"}
    return given


@pytest.mark.real
@pytest.mark.skipif(not PROGRAMS, reason="WASNAP_WASI_TESTSUITE names no testsuite with programs")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: f"{p.parts[-4]}-{p.stem}")
def test_program(program: Path, wasnap: Command, tmp_path: Path) -> None:
    """Exit code and output are as the program's JSON says."""
    expected = expectations(program)
    options: list[str] = []
    for name, value in expected.get("env", {}).items():
        options += ["--env", f"{name}={value}"]
    if expected.get("root"):
        root = tmp_path / "root"
        shutil.copytree(program.parent / expected["root"], root, symlinks=True)
        options += ["--dir", f"{root}::/"]
    stdin = expected.get("stdin", "").encode()
    ended = wasnap("run", *options, str(program), *expected.get("args", ()), stdin=stdin)
    assert ended.returncode == expected.get("exit_code", 0), ended.stderr.decode()
    for stream in ("stdout", "stderr"):
        if stream in expected:
            assert getattr(ended, stream).decode() == expected[stream]
