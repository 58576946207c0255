"""Real programs do on our engine and host what they do on wasmtime's own.

``plain.py`` shares nothing with us but the engine: no transform, no host function. What a program
prints, returns and writes must be the same, to the byte.
"""

from __future__ import annotations

import os
from pathlib import Path

import kernels
import plain
import programs
import pytest

import wasnap

WASI_UNSTABLE = {"sqlite"}
"""What wasmtime-py cannot run."""

UNKNOWN_IMPORTS = {"micropython"}
"""They import what only their makers' embedder provides."""


_HEAVY = {"clang22", "lld22", "yosys", "nextpnr", "ruby", "php"}
HEAVY = set() if "WASNAP_SEEDS" in os.environ else _HEAVY
"""They are compiled for half a minute and more, twice: in campaigns only."""


def ours(
    module: Path, args: tuple[str, ...], dirs: dict[str, Path], to: Path
) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of a run on our host, with empty input."""
    to.mkdir()
    with (
        open(os.devnull, "rb") as nothing,
        open(to / "stdout", "wb") as stdout,
        open(to / "stderr", "wb") as stderr,
    ):
        process = wasnap.Process(
            module,
            args,
            dirs=dirs,
            stdin=nothing.fileno(),
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
        )
        code = process.run()
    return code, (to / "stdout").read_bytes(), (to / "stderr").read_bytes()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(programs.PROGRAMS.keys() - WASI_UNSTABLE - UNKNOWN_IMPORTS - HEAVY)
)
def test_program(name: str, tmp_path: Path) -> None:
    """The same output, exit code and files, and the last line that the table promises."""
    mine = programs.set_up(name, tmp_path / "ours")
    code, stdout, stderr = ours(mine.module, mine.args, mine.dirs, tmp_path / "streams")
    other = programs.set_up(name, tmp_path / "plain")
    expected = plain.run(other.module, other.args, other.dirs)
    assert (code, stdout, stderr) == (expected.returncode, expected.stdout, expected.stderr)
    for written, wanted in zip(mine.outputs, other.outputs, strict=True):
        assert written.read_bytes() == wanted.read_bytes()
    assert (stdout.decode().splitlines() or [""])[-1] == mine.last_line


@pytest.mark.slow
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_kernel(name: str, tmp_path: Path) -> None:
    """The instrumented kernel prints what the plain one prints."""
    module, args = kernels.build(name), kernels.KERNELS[name].small
    code, stdout, _ = ours(module, args, {}, tmp_path / "streams")
    expected = plain.run(module, args, {})
    assert (code, stdout) == (expected.returncode, expected.stdout)
    assert stdout
