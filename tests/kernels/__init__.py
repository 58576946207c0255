"""Small guests of our own, one behaviour each; every one prints its result at the end.

A kernel takes its size in ``argv[1]``: ``small`` reaches few enough safepoints to stop at each
one, ``big`` computes for a second or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import guests
import wasmtime

HERE = Path(__file__).resolve().parent
_LONGJMP = (
    "-mcpu=generic+exception_handling",
    *("-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false"),
    str(HERE / "longjmp_tag.s"),
)


@dataclass(frozen=True)
class Kernel:
    """Arguments for the two sizes, and flags for the compiler."""

    small: tuple[str, ...]
    big: tuple[str, ...]
    flags: tuple[str, ...] = ()
    source: str = ""


def _sizes(small: str, big: str, *flags: str, source: str = "") -> Kernel:
    return Kernel(tuple(small.split()), tuple(big.split()), flags, source)


KERNELS: Mapping[str, Kernel] = {
    "recursion": _sizes("9", "40"),
    "matrix": _sizes("6", "800"),
    "sieve": _sizes("200", "80000000"),
    "interpreter": _sizes("4", "300000"),
    "sort": _sizes("12", "1500000"),
    "trees": _sizes("4", "20"),
    "digest": _sizes("1", "2000000"),
    "strings": _sizes("3", "80000"),
    "nbody": _sizes("3", "12000000"),
    "jumps": _sizes("6", "1200000", *_LONGJMP),
    "exceptions": _sizes("12", "2500000", source="exceptions.wat"),
    "simd": _sizes("4", "9000", "-msimd128"),
    "deep": _sizes("40 2", "100000 1500"),
    "pointers": _sizes("60", "25000000"),
    "memory": _sizes("3", "100000"),
    "tail": _sizes("80", "25000000", "-mcpu=generic+tail_call"),
    "integers": _sizes("1", "100000"),
    "scatter": _sizes("4 2 20", "6144 16 400000"),
}

FILES = _sizes("25", "3000", source="files.c")
"""Not a kernel that only computes: it needs an empty directory, mapped as /work."""

REPLACE = _sizes("60", "6000", source="replace.c")
"""Likewise."""


def build(name: str) -> Path:
    """The compiled module of one kernel of KERNELS, or ``files``, or ``replace``."""
    kernel = {"files": FILES, "replace": REPLACE, **KERNELS}[name]
    source = HERE / (kernel.source or f"{name}.c")
    if source.suffix == ".wat":
        return _assembled(source)
    return guests.zig(source, *kernel.flags)


def _assembled(source: Path) -> Path:
    text = source.read_text(encoding="ascii")

    def assemble(into: Path) -> None:
        (into / "out.wasm").write_bytes(wasmtime.wat2wasm(text))

    return guests.once(guests.built("wat", source), assemble) / "out.wasm"
