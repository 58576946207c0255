"""A program in C with wasix-libc: its sockets, epoll and eventfd, undisturbed and with snapshots in
place at every so-manieth safepoint.

The libc is a Debian package, which no registry of ours has: ``WASNAP_WASIX_LIBC`` names the directory
it was unpacked to (with ``usr/`` in it); without that this is skipped.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wasnap.process import Process

pytestmark = [pytest.mark.real, pytest.mark.slow]
SOURCE = Path(__file__).with_name("sockets.c")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = os.environ.get("WASNAP_WASIX_LIBC")
    if not unpacked:
        pytest.skip("WASNAP_WASIX_LIBC is not set")
    ziglang = pytest.importorskip("ziglang")
    usr = Path(unpacked) / "usr"
    directory = tmp_path_factory.mktemp("libc")
    zig = [sys.executable, "-m", "ziglang"]
    target = ["--target=wasm32-wasip1", "-O1", "-matomics", "-mbulk-memory", "-pthread"]
    headers = [usr / "include/wasm32-wasi", Path(ziglang.__file__).parent / "lib/include"]
    includes = ["-nostdinc", *(f"-isystem{each}" for each in headers)]
    built, linked = directory / "sockets.o", directory / "sockets.wasm"
    compiling = [*zig, "clang", *target, *includes, "-c", str(SOURCE), "-o", str(built)]
    subprocess.run(compiling, check=True)
    lib = usr / "lib/wasm32-wasi"
    memory = ["--shared-memory", "--import-memory", "--max-memory=67108864"]
    parts = [str(lib / "crt1-command.o"), str(built), f"-L{lib}", "-lc"]
    parts.append(str(lib / "libcommon-tag-stubs.a"))
    linking = [*zig, "wasm-ld", *memory, "--allow-undefined", *parts, "-o", str(linked)]
    subprocess.run(linking, check=True)  # long double, which it does not use, is nowhere
    return linked


@pytest.mark.parametrize("every", [0, 97, 7])
def test_sockets(program: Path, tmp_path: Path, every: int) -> None:
    """The exit code is the line that is not as it should be."""
    taken: list[int] = []
    options: dict[str, Any] = {
        "journal": tmp_path / "j",
        "counted": itertools.repeat(every),
        "snapshot_on": ["explicit"],
        "durability": "process",
        "on_snapshot": taken.append,
    }
    process = Process(
        program, net=True, unknown_imports="trap", stdin=None, **(options if every else {})
    )
    assert process.run() == 0
    assert bool(taken) == bool(every)
