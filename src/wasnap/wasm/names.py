"""The name section: a custom section that gives names to functions, globals (and more, not read here)."""

from __future__ import annotations

from wasnap.errors import InvalidModule
from wasnap.wasm.reader import Reader

FUNCTIONS = 1
GLOBALS = 7
"""Ids of subsections."""


def names_in(payload: bytes, wanted: int = FUNCTIONS) -> dict[int, str]:
    """Names by index, from a subsection of the payload of the section ``name``.

    The specification forbids that a bad custom section makes a module invalid, so a section that
    ends early or is otherwise malformed gives the names up to that place.
    Source: core specification 3.0, appendix "Custom sections", name section.
    """
    names: dict[int, str] = {}
    reader = Reader(payload)
    try:
        while not reader.at_end():
            subsection = reader.byte()
            size = reader.u32()
            if subsection != wanted:
                reader.take(size)
                continue
            for _ in range(reader.u32()):
                index = reader.u32()
                names[index] = reader.name()
            break
    except InvalidModule:
        pass  # not an error by the specification: see above
    return names


def encode_function_names(names: dict[int, str]) -> bytes:
    """The payload of a name section that holds just these function names."""
    entries = [_uleb(len(names))]
    for index in sorted(names):
        raw = names[index].encode()
        entries += [_uleb(index), _uleb(len(raw)), raw]
    body = b"".join(entries)
    return b"\x01" + _uleb(len(body)) + body


def _uleb(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)
