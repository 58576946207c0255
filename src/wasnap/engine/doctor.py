"""What this machine has of what wasnap can use, and what follows where something is missing.

Nothing that is missing makes a snapshot wrong; it makes something slower, or refused by name.
"""

from __future__ import annotations

import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from wasnap.engine import dirty, tracking
from wasnap.engine.cache import Cache
from wasnap.host import beneath
from wasnap.version import VERSION


class Finding(NamedTuple):
    """``what`` was looked for, what was ``found``, and what follows (``so``; empty: all is well)."""

    what: str
    found: str
    so: str


def examine() -> list[Finding]:
    """Look at everything; takes some milliseconds."""
    return [
        Finding("wasnap", f"{VERSION}, Python {platform.python_version()}", ""),
        Finding("engine", f"wasmtime {version('wasmtime')}", ""),
        Finding("machine", f"{_processor()}, {os.cpu_count()} cores", ""),
        Finding("kernel", f"{platform.system()} {platform.release()}", ""),
        _tracking(),
        _openat2(),
        _attributes(),
        _cache(),
    ]


def _tracking() -> Finding:
    what = "userfaultfd, PAGEMAP_SCAN"
    so = "snapshots look at all of memory and keep a second copy of it, and the guest waits"
    if missing := dirty.missing():
        return Finding(what, f"missing: {missing}", so)
    if os.environ.get(tracking.COMPARE):
        return Finding(what, f"there, and not used: {tracking.COMPARE} is set", so)
    return Finding(what, "there: snapshots cost what has changed", "")


def _openat2() -> Finding:
    if beneath.open_beneath is not beneath.walk:
        return Finding("openat2", "there", "")
    return Finding("openat2", "missing", "paths of the guest are resolved step by step: slower")


def _attributes() -> Finding:
    """Of the file system here, where journals are likely to be."""
    what = "extended attributes, here"
    try:
        with tempfile.TemporaryFile(dir=".") as file:
            os.setxattr(file.fileno(), "user.wasnap.doctor", b"")
    except OSError as error:
        so = "a resume reads all saved pages, to check them, before the program goes on"
        return Finding(what, f"missing: {error.strerror}", so)
    return Finding(what, "there: a resume need not check what was checked", "")


def _cache() -> Finding:
    cache = Cache.default()
    directory = cache.directory
    if directory is None or not cache.usable:
        return Finding("code cache", "none", "programs are compiled at each start")
    files = [file for file in Path(directory).rglob("*") if file.is_file()]
    size_mib = sum(file.stat().st_size for file in files) / (1 << 20)
    return Finding("code cache", f"{directory}: {len(files)} files, {size_mib:.1f} MiB", "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()
