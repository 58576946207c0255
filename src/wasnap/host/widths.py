"""How wide pointers and sizes are in what a guest and we tell each other.

WASI is specified for memories of 32-bit addresses. ``wasix_64v1`` is the same for memories of 64-bit
addresses, and the calls of ``wasix_32v1`` are also its calls: only what stands here differs, and the
layouts of structures with pointers in them (``wasip1/wide.py``, ``wasix/wide.py``).

Two public definitions of it disagree about ``size``, which is no length of anything in memory
(the number of arguments, of bytes read, of events):

| | pointers, lengths of what they point to | ``size`` | its functions of preview1 |
|---|---|---|---|
| wasix-libc (``build64.sh``, witx) | 8 bytes, i64 | 4 bytes, i32 | are ``wasi_snapshot_preview1``'s |
| the reference runtime | 8 bytes, i64 | 8 bytes, i64 | are ``wasix_64v1``'s |

So functions of ``wasi_snapshot_preview1`` that are imported with 64-bit pointers are wasix-libc's, and
those of ``wasix_64v1`` are in a program that imports such functions, else the reference runtime's.

Sources: https://github.com/wasix-org/wasix-witx; https://github.com/wasix-org/wasix-libc, build64.sh,
tools/wasix-headers, expected/wasm64-wasi; https://github.com/wasmerio/wasmer, lib/wasix (``Memory64``)
"""

from __future__ import annotations

from typing import Final, NamedTuple

_TYPES: Final = {4: b"\x7f", 8: b"\x7e"}


class Widths(NamedTuple):
    """In bytes."""

    pointer: int
    size: int

    def value_types(self) -> dict[str, bytes]:
        """The wasm types of parameters, by what they are (``wasip1/abi.py``)."""
        pointer, size = _TYPES[self.pointer], _TYPES[self.size]
        return {
            "I32": _TYPES[4],
            "I64": _TYPES[8],
            "Size": size,
            "Ptr": pointer,
            "SizeAt": pointer,
            "LengthAt": pointer,
        }

    def written(self) -> dict[str, int]:
        """How much of the number at a parameter is written."""
        return {"SizeAt": self.size, "LengthAt": self.pointer}


NARROW: Final = Widths(4, 4)
LIBC: Final = Widths(8, 4)
"""wasix-libc's."""
WIDE: Final = Widths(8, 8)
"""The reference runtime's."""
