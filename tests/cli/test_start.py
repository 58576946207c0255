"""What the start of a process is made of: most of a short program's resume is imports."""

from __future__ import annotations

import re
import subprocess
import sys

import wasmtime

from cli.conftest import SECONDS_MAX, Command

NOT_NEEDED = {
    "concurrent.futures": "compiling several at a time, or unpacking",
    "dataclasses": "msgspec's Structs are made in a tenth of the time",
    "hashlib": "the journal has the module's sum, and the cache is believed by its own",
    "json": "messages as JSON",
    "pyte": "a terminal",
    "secrets": "a library of ciphers",
    "subprocess": "a command after each snapshot",
    "tempfile": "filling the cache",
    "tqdm": "showing progress",
    "wasnap.control.client": "asking others",
    "wasnap.host.directory": "a directory of the host",
    "wasnap.host.file": "a file in one",
    "wasnap.host.history.history": "one that may be written to",
    "wasnap.host.rewind": "one that was there at the snapshot",
    "wasnap.host.tree.tree": "a directory in memory",
    "wasnap.instrument.transform": "instrumenting",
    "wasnap.wasm.decode": "instrumenting",
    "wasnap.wasm.module": "instrumenting",
    "wasmtime": "anything: its library is called by what engine/ffi.py declares",
    "zlib_ng": "summing up megabytes",
    "zstandard": "compressed journals",
}
"""By name, for what else it would be."""

ASKS = """(module
  (import "wasnap" "snapshot" (func $snapshot (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $snapshot))))"""


def test_a_resume_imports_only_what_it_needs(wasnap: Command) -> None:
    """A small program with a warm cache; the names that Python itself lists."""
    module = wasnap.write("asks.wasm", bytes(wasmtime.wat2wasm(ASKS)))
    assert wasnap("run", "--journal", "j", module).returncode == 0
    assert wasnap("resume", "j").returncode == 0
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wasnap", "resume", "j"],
        stderr=subprocess.PIPE,
        cwd=wasnap.directory,
        env=wasnap._environment,
        timeout=SECONDS_MAX,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert {"wasnap.engine.ffi", "wasnap.process.process"} <= imported
    assert imported & NOT_NEEDED.keys() == set()
