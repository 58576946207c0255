"""Programs in C with wasix-libc, undisturbed and saved and resumed: what a Unix program does
(unix.c), and sockets, epoll and eventfd (sockets.c).

The libc is a Debian package, which no registry of ours has: ``WASNAP_WASIX_LIBC`` names the directory
it was unpacked to (with ``usr/`` in it); without that this is skipped.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import guests
import pytest

from wasnap.harness import Job, differential, undisturbed
from wasnap.process import Process

SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))

pytestmark = [pytest.mark.real, pytest.mark.slow]
HERE = Path(__file__).parent
EXPORTS = ("__wasm_signal", "__stack_pointer", "__heap_base", "__data_end")
"""The reference runtime wants the last three, and a signal handler the first."""

PARTS: dict[str, tuple[int, str]] = {
    "threads": (0, "consumed 260c93e9\nshared 15, destroyed 10, once 1\n"),
    "processes": (
        0,
        "child 0: ccf5d72b, its child ended with 20\n  and 10; grandchild ccf5d77e; mine 7\n"
        "child 1: e15b72ad, its child ended with 21\n  and 11; grandchild e15b72f8; mine 7\n"
        "child 2: a05dfc18, its child ended with 22\n  and 12; grandchild a05dfc4d; mine 7\n"
        "at the end 0\n",
    ),
    "signals": (0, "raised: 1\nin a handler: 2 1\nignored: 1\n"),
    "broken": (0, "broken: 3\n"),
    "alarms": (0, "alarms came\n"),
    "events": (0, "read abcdefghijklmnopqrst, counted 3\n"),
    "programs": (
        33,
        "told: one, spawned; variable to the child\nspawned one ended with 31\n"
        "told: two, forked; variable to the child\nforked one ended with 32\n"
        "told: three, replaced; variable to the child\n",
    ),
    "jumps": (0, "jumped 6 times: 947595047\n"),
}
"""Of unix.c: exit code and output; wasmer-sdk 0.5.0's, but for two of them (see there)."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all programs."""
    unpacked = os.environ.get("WASNAP_WASIX_LIBC")
    if not unpacked:
        pytest.skip("WASNAP_WASIX_LIBC is not set")
    directory = tmp_path_factory.mktemp("libc")
    runtime(directory)
    for name in ("sockets", "unix"):
        build(HERE / f"{name}.c", Path(unpacked) / "usr", directory)
    asyncify(directory / "unix.wasm", directory / "asyncified.wasm")
    return directory


def runtime(directory: Path) -> None:
    """The compiler's own, ``librt.a``: arithmetic of 128 bits."""
    ziglang = pytest.importorskip("ziglang")
    source = Path(ziglang.__file__).parent / "lib" / "compiler_rt.zig"
    options = ["-target", "wasm32-wasi", "-mcpu", "generic+atomics+bulk_memory", "--name", "rt"]
    command = [sys.executable, "-m", "ziglang", "build-lib", str(source), *options]
    subprocess.run([*command, "-O", "ReleaseSmall"], check=True, cwd=directory)


def build(source: Path, usr: Path, directory: Path) -> None:
    ziglang = pytest.importorskip("ziglang")
    zig = [sys.executable, "-m", "ziglang"]
    target = ["--target=wasm32-wasip1", "-O1", "-matomics", "-mbulk-memory", "-pthread"]
    headers = [usr / "include/wasm32-wasi", Path(ziglang.__file__).parent / "lib/include"]
    includes = ["-nostdinc", *(f"-isystem{each}" for each in headers)]
    compiled, linked = directory / f"{source.stem}.o", directory / f"{source.stem}.wasm"
    compiling = [*zig, "clang", *target, *includes, "-c", str(source), "-o", str(compiled)]
    subprocess.run(compiling, check=True)
    lib = usr / "lib/wasm32-wasi"
    memory = ["--shared-memory", "--import-memory", "--max-memory=67108864"]
    exports = [f"--export-if-defined={name}" for name in EXPORTS]
    parts = [str(lib / "crt1-command.o"), str(compiled), f"-L{lib}", "-lc"]
    parts += [str(lib / "libcommon-tag-stubs.a"), str(directory / "librt.a")]
    linking = [*zig, "wasm-ld", *memory, *exports, "--allow-undefined", *parts, "-o", str(linked)]
    subprocess.run(linking, check=True)


def asyncify(plain: Path, target: Path) -> None:
    """As the reference runtime needs it for forks and jumps."""
    tool = guests.package("binaryen") / "package" / "bin" / "wasm-opt"
    features = ("threads", "bulk-memory", "mutable-globals", "sign-ext", "nontrapping-float-to-int")
    enabled = [f"--enable-{feature}" for feature in features]
    command = [guests.node(), str(tool), "--asyncify", "-O1", *enabled]
    subprocess.run([*command, str(plain), "-o", str(target)], check=True)


@pytest.mark.parametrize("program", ["unix", "asyncified"])
@pytest.mark.parametrize("part", PARTS)
def test_unix(built: Path, tmp_path: Path, part: str, program: str) -> None:
    """What each part prints, and what it prints when it is saved anywhere and resumed in a fresh
    process."""

    def make(directory: Path) -> Job:
        bin = directory / "bin"
        bin.mkdir()
        module = bin / "unix.wasm"
        shutil.copyfile(built / f"{program}.wasm", module)
        return Job(module, (part, "/bin/unix.wasm"), {"/bin": bin})

    code, text = PARTS[part]
    assert undisturbed(make, tmp_path / "u").outcome[:2] == (code, text.encode())
    for seed in range(SEEDS):
        differential(make, tmp_path / f"d{seed}", seed=seed, snapshots=3)


@pytest.mark.parametrize("every", [0, 97, 7])
def test_sockets(built: Path, tmp_path: Path, every: int) -> None:
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
        built / "sockets.wasm",
        net=True,
        stdin=None,
        **(options if every else {}),
    )
    assert process.run() == 0
    assert bool(taken) == bool(every)
