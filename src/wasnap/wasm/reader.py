"""A cursor over a module: LEB128 integers, names, value types, slices, errors with offsets.

A reader has an end of its own (a section, a function body), and reading past it is an error, not
the next section's business. LEB128 is read as the specification demands (section 5.2.2): at most
ceil(bits / 7) bytes, and the unused bits of the last byte equal to the sign (0 if unsigned).
"""

from __future__ import annotations

from wasnap.errors import InvalidModule, UnsupportedModule
from wasnap.wasm.types import REFERENCES, VALUE_TYPE_NAMES

_REF_NULL = 0x63  # (ref null heaptype), the long form of a nullable reference type
_REF = 0x64

_GC = "garbage collection"
_FUNCTION_REFERENCES = "typed function references"
_STACK_SWITCHING = "stack switching"
_UNSUPPORTED_TYPES = {
    _REF: _FUNCTION_REFERENCES,
    **dict.fromkeys((0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x71, 0x72, 0x73, 0x74), _GC),
    **dict.fromkeys((0x68, 0x75), _STACK_SWITCHING),
}


class Reader:
    """Reads ``data`` from ``pos`` up to ``end`` (its length if None); ``pos`` is public.

    ``base``: where ``data`` begins in the file, for the offsets of errors.
    """

    __slots__ = ("base", "data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None, base: int = 0) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end
        self.base = base

    def error(self, message: str, pos: int | None = None) -> InvalidModule:
        """An InvalidModule that names byte ``pos`` (or the current one), to be raised."""
        return InvalidModule(message, offset=self.base + (self.pos if pos is None else pos))

    def unsupported(self, what: str, pos: int, hint: str = "") -> UnsupportedModule:
        """An UnsupportedModule for the proposal ``what``, used at byte ``pos``, to be raised."""
        at = self.base + pos
        return UnsupportedModule(f"{what}: not supported, used at byte {at} (0x{at:x})", hint)

    def at_end(self) -> bool:
        return self.pos >= self.end

    def byte(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise self.error("unexpected end")
        self.pos = pos + 1
        return self.data[pos]

    def peek(self) -> int:
        """The next byte, which stays the next; -1 at the end."""
        return -1 if self.at_end() else self.data[self.pos]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self.skip(size)
        return self.data[start : self.pos]

    def skip(self, size: int) -> int:
        """Passes over ``size`` bytes; returns where they begin."""
        start = self.pos
        if size > self.end - start:
            raise self.error(f"unexpected end: {size} bytes wanted, {self.end - start} left")
        self.pos = start + size
        return start

    def u32(self) -> int:
        pos = self.pos
        if pos < self.end and (byte := self.data[pos]) < 0x80:
            self.pos = pos + 1
            return byte
        return self.unsigned(32)

    def unsigned(self, bits: int) -> int:
        """An unsigned LEB128 integer of at most ``bits`` bits."""
        start = self.pos
        value, _ = self._leb128(bits)
        if value >> bits:
            raise self.error("integer too large", start)
        return value

    def signed(self, bits: int) -> int:
        """A signed LEB128 integer of at most ``bits`` bits."""
        start = self.pos
        value, shift = self._leb128(bits)
        if value >> shift - 1:
            value -= 1 << shift
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise self.error("integer too large", start)
        return value

    def _leb128(self, bits: int) -> tuple[int, int]:
        """The bits in the bytes of a LEB128 integer, and how many they are."""
        data, pos, end = self.data, self.pos, self.end
        value = shift = 0
        while pos < end:
            byte = data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                self.pos = pos
                return value, shift
            if shift >= bits:
                raise self.error("integer representation too long")
        raise self.error("unexpected end", end)

    def name(self) -> str:
        """A name: its size in bytes, then UTF-8 without surrogates."""
        start = self.pos
        raw = self.take(self.u32())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("malformed UTF-8 encoding of a name", start) from None

    def value_type(self) -> int:
        """A value type (section 5.3.4), as its one byte."""
        start = self.pos
        byte = self.byte()
        if byte in VALUE_TYPE_NAMES:
            return byte
        if byte == _REF_NULL:
            return self.heap_type()
        if byte in _UNSUPPORTED_TYPES:
            raise self.unsupported(_UNSUPPORTED_TYPES[byte], start)
        raise self.error(f"malformed value type 0x{byte:02x}", start)

    def reference_type(self) -> int:
        """A value type that is a reference."""
        start = self.pos
        value = self.value_type()
        if value not in REFERENCES:
            raise self.error("malformed reference type", start)
        return value

    def heap_type(self) -> int:
        """A heap type, as the value type of the nullable references to it."""
        start = self.pos
        heap = self.signed(33)
        if heap >= 0:
            raise self.unsupported(_FUNCTION_REFERENCES, start)
        if heap + 0x80 in REFERENCES:
            return heap + 0x80
        if heap + 0x80 in _UNSUPPORTED_TYPES and heap + 0x80 != _REF:
            raise self.unsupported(_UNSUPPORTED_TYPES[heap + 0x80], start)
        raise self.error("malformed heap type", start)


def unsigned(value: int) -> bytes:
    """The shortest unsigned LEB128 of a value that is not negative."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """The shortest signed LEB128 of a value."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)
