"""A cursor over the bytes of a module: LEB128 integers, names, slices, errors with their offset.

A reader has an end of its own (a section, a function body), and reading past it is an error, not
the next section's business. LEB128 is read as the specification demands (section 5.2.2): at most
ceil(bits / 7) bytes, and the unused bits of the last byte equal to the sign (0 if unsigned).
"""

from __future__ import annotations

from wasnap.errors import InvalidModule


class Reader:
    """Reads ``data`` from ``pos`` up to ``end`` (its length if None); ``pos`` is public."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    def error(self, message: str, pos: int | None = None) -> InvalidModule:
        """An InvalidModule that names byte ``pos`` (or the current one), to be raised."""
        return InvalidModule(message, offset=self.pos if pos is None else pos)

    def at_end(self) -> bool:
        return self.pos >= self.end

    def byte(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise self.error("unexpected end")
        self.pos = pos + 1
        return self.data[pos]

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
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise self.error("integer representation too long", start)
        if value >> bits:
            raise self.error("integer too large", start)
        return value

    def signed(self, bits: int) -> int:
        """A signed LEB128 integer of at most ``bits`` bits."""
        start = self.pos
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise self.error("integer representation too long", start)
        if byte & 0x40:
            value -= 1 << shift
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise self.error("integer too large", start)
        return value

    def name(self) -> str:
        """A name: its size in bytes, then UTF-8 without surrogates."""
        start = self.pos
        raw = self.take(self.u32())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("malformed UTF-8 encoding of a name", start) from None


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
