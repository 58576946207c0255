"""A guest on plain wasmtime, with wasmtime's own WASI: what a program does when nobody is watching.

This is the second opinion on our host: it shares nothing with it. It runs in a process of its own
because the engine writes straight to the process's standard streams::

    python tests/plain.py MODULE NAME=VALUE... --dir GUEST=HOST... -- ARG...

It knows only wasi_snapshot_preview1; the calls that QuickJS's package adds to it, and the two that
MicroPython's has of its own, answer ENOSYS.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_uint64, c_void_p, cast
from importlib.metadata import version
from pathlib import Path

import wasmtime

STACK_BYTES = 256 << 20
ENOSYS = 52


def run(
    module: Path,
    args: Sequence[str],
    dirs: Mapping[str, Path],
    *,
    stdin: bytes = b"",
    timeout_seconds: float = 600,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command module to its end; compiled code is kept beside the fetched guests."""
    command = [sys.executable, __file__, str(module)]
    for guest, host in dirs.items():
        command += ["--dir", f"{guest}={host}"]
    return subprocess.run(
        [*command, "--", *args], input=stdin, capture_output=True, timeout=timeout_seconds
    )


def configuration() -> wasmtime.Config:
    """Exceptions on and room for deep recursion; the async stack size must go first (see docs)."""
    config = wasmtime.Config()
    config.wasm_exceptions = True
    set_async = wasmtime._ffi.dll.wasmtime_config_async_stack_size_set
    set_async.argtypes, set_async.restype = [c_void_p, c_uint64], None
    set_async(cast(config.ptr(), c_void_p), 2 * STACK_BYTES)
    config.max_wasm_stack = STACK_BYTES
    return config


def compiled(engine: wasmtime.Engine, module: Path) -> wasmtime.Module:
    """The module's machine code, from the cache of guests if it is there."""
    key = hashlib.sha256(module.read_bytes() + version("wasmtime").encode()).hexdigest()
    directory = Path(os.environ.get("WASNAP_GUESTS") or Path(__file__).parent.parent / ".guests")
    kept = directory / "plain" / f"{key[:24]}.cwasm"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        code = wasmtime.Module.from_file(engine, str(module)).serialize()
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, kept)
    return wasmtime.Module.deserialize_file(engine, str(kept))


def _stub(name: str) -> Callable[..., int]:
    def call(*args: int) -> int:
        print(f"plain: {name}{args} is not there", file=sys.stderr)
        return ENOSYS

    return call


def _main(module: Path, dirs: Mapping[str, str], args: Sequence[str]) -> int:
    engine = wasmtime.Engine(configuration())
    program = compiled(engine, module)
    store = wasmtime.Store(engine)
    wasi = wasmtime.WasiConfig()
    wasi.argv = [module.name, *args]
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for guest, host in dirs.items():
        wasi.preopen_dir(host, guest)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.allow_shadowing = True
    linker.define_wasi()
    for extra in program.imports:
        known = extra.module == "wasi_snapshot_preview1" and not extra.name.startswith("sock_")  # type: ignore[union-attr]
        if not known and isinstance(extra.type, wasmtime.FuncType):
            linker.define_func(extra.module, str(extra.name), extra.type, _stub(str(extra.name)))
    start = linker.instantiate(store, program).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except wasmtime.ExitTrap as exit_:
        return exit_.code
    return 0


if __name__ == "__main__":
    cut = sys.argv.index("--")
    mapped = dict(option.split("=", 1) for option in sys.argv[3:cut:2])
    codes: list[int] = []
    threading.stack_size(2 * STACK_BYTES + (64 << 20))
    runner = threading.Thread(
        target=lambda: codes.append(_main(Path(sys.argv[1]), mapped, sys.argv[cut + 1 :]))
    )
    runner.start()
    runner.join()
    sys.exit(codes[0] if codes else 70)
