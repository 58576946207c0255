"""Instructions of a function body: bytes -> ``Instr`` and back.

Decoding byte by byte costs microseconds an instruction in Python, and real modules have millions.
So ``instructions`` lets one regular expression (``cutter.py``) cut the code into the bytes of
whole instructions, and decodes each distinct string of bytes once: most instructions of a program
are repetitions (``local.get 3``). ``decode_instr`` alone says what is right: it gets everything
that was not seen before, and everything the cutter does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wasnap.wasm.cutter import cutter
from wasnap.wasm.opcodes import (
    CATCH,
    CATCH_ALL_REF,
    CATCH_REF,
    OPS,
    PREFIXES,
    UNSUPPORTED,
    Op,
)
from wasnap.wasm.reader import Reader, signed, unsigned
from wasnap.wasm.types import EMPTY_BLOCK

_I32_CONST = 0x41
_END = 0x0B
_EXPLICIT_MEMORY = 0x40  # flag in a memarg: a memory index follows

_HINTS = {
    "legacy exceptions": "compile with -mllvm -wasm-use-legacy-eh=false, or run "
    "wasm-opt --translate-to-exnref",
}

# What the bytes of an instruction mean. Bounded: constants and calls have many spellings.
_known: dict[bytes, tuple[Op, tuple[Any, ...]]] = {}
_KNOWN_MAX = 1 << 16
_KNOWN_SIZE_MAX = 32  # bytes; longer ones hardly repeat


class Instr(NamedTuple):
    """One instruction at ``code[pos:end]``; ``args`` as said in ``opcodes.py``."""

    pos: int
    end: int
    op: Op
    args: tuple[Any, ...]


def instructions(code: bytes, start: int = 0, base: int = 0) -> Iterator[Instr]:
    """The instructions of ``code`` from ``start`` to its end, in order.

    ``base`` is where ``code`` begins in the file (``Body.offset``), for the offsets of errors.
    Raises InvalidModule or UnsupportedModule when it comes to the bad instruction.
    """
    make = tuple.__new__
    known = _known
    cut = cutter().findall
    pos = start
    size = len(code)
    while pos < size:
        for raw in cut(code, pos):
            meaning = known.get(raw)
            if meaning is None:
                instr = decode_instr(code, pos, base)
                yield instr
                pos = instr.end
                if pos - instr.pos != len(raw):
                    break  # the cutter gave up here and returned the rest
                if len(raw) <= _KNOWN_SIZE_MAX and len(known) < _KNOWN_MAX:
                    known[raw] = instr.op, instr.args
            else:
                end = pos + len(raw)
                yield make(Instr, (pos, end, *meaning))
                pos = end


def decode_instr(code: bytes, pos: int, base: int = 0) -> Instr:
    """The one instruction at ``pos``."""
    reader = Reader(code, pos, base=base)
    op, args = read_instr(reader)
    return Instr(pos, reader.pos, op, args)


def read_instr(reader: Reader) -> tuple[Op, tuple[Any, ...]]:
    """Reads one instruction; the reader then stands after it."""
    start = reader.pos
    opcode = reader.byte()
    if opcode in PREFIXES:
        opcode = opcode << 16 | reader.u32()
    op = OPS.get(opcode)
    if op is None:
        if opcode in UNSUPPORTED:
            what = UNSUPPORTED[opcode]
            raise reader.unsupported(what, start, _HINTS.get(what, ""))
        raise reader.error(f"unknown instruction {_spell(opcode)}", start)
    if op.immediates == "m":
        return op, _read_memarg(reader)
    if op.immediates == "mL":
        return op, (*_read_memarg(reader), reader.byte())
    return op, tuple([_READ[letter](reader) for letter in op.immediates])


def constant_expression(reader: Reader) -> bytes:
    """The bytes of an expression up to and including the ``end`` that closes it."""
    start = reader.pos
    if reader.peek() == _I32_CONST:  # by far most are this and an `end`, and there may be 20,000
        reader.pos = start + 1
        reader.signed(32)
        if reader.peek() == _END:
            reader.pos += 1
            return reader.data[start : reader.pos]
        reader.pos = start
    depth = 1
    while depth:
        op, _ = read_instr(reader)
        if op.code == _END:
            depth -= 1
        elif "b" in op.immediates:
            depth += 1
    return reader.data[start : reader.pos]


def encode_instr(op: Op, *args: Any) -> bytes:
    """The bytes of an instruction; ``args`` as in ``Instr.args``."""
    prefix, opcode = op.code >> 16, op.code & 0xFFFF
    out = bytes((prefix,)) + unsigned(opcode) if prefix else bytes((opcode,))
    if op.immediates.startswith("m"):
        out += encode_memarg(*args[:3])
        return out + bytes(args[3:])
    for letter, arg in zip(op.immediates, args, strict=True):
        out += _WRITE[letter](arg)
    return out


def encode_memarg(align: int, offset: int, memory: int = 0) -> bytes:
    """A memarg; ``align`` is the logarithm."""
    if memory:
        return unsigned(align | _EXPLICIT_MEMORY) + unsigned(memory) + unsigned(offset)
    return unsigned(align) + unsigned(offset)


def _spell(opcode: int) -> str:
    prefix = opcode >> 16
    return f"0x{prefix:02x} 0x{opcode & 0xFFFF:02x}" if prefix else f"0x{opcode:02x}"


# --- immediates, one letter each (see opcodes.py) ---


def _read_memarg(reader: Reader) -> tuple[int, int, int]:
    start = reader.pos
    flags = reader.u32()
    if flags >= 2 * _EXPLICIT_MEMORY:
        raise reader.error("malformed memop flags", start)
    memory = 0
    if flags & _EXPLICIT_MEMORY:
        memory = reader.u32()
    return flags & (_EXPLICIT_MEMORY - 1), reader.unsigned(64), memory


def _read_block_type(reader: Reader) -> int:
    start = reader.pos
    block = reader.signed(33)
    if block < 0 and block != EMPTY_BLOCK:
        if block < EMPTY_BLOCK:
            raise reader.error("malformed block type", start)
        reader.pos = start
        return reader.value_type() - 0x80
    return block


def _read_labels(reader: Reader) -> tuple[int, ...]:
    count = reader.u32()
    return tuple([reader.u32() for _ in range(count + 1)])


def _read_value_types(reader: Reader) -> bytes:
    count = reader.u32()
    return bytes([reader.value_type() for _ in range(count)])


def _read_catches(reader: Reader) -> tuple[tuple[int, int, int], ...]:
    catches = []
    for _ in range(reader.u32()):
        kind = reader.byte()
        if kind > CATCH_ALL_REF:
            raise reader.error("malformed catch clause", reader.pos - 1)
        tag = reader.u32() if kind in (CATCH, CATCH_REF) else -1
        catches.append((kind, tag, reader.u32()))
    return tuple(catches)


def _read_zero(reader: Reader) -> int:
    if reader.byte() != 0:
        raise reader.error("zero byte expected", reader.pos - 1)
    return 0


_READ: dict[str, Callable[[Reader], Any]] = {
    **dict.fromkeys("FYTMGKXEDJ", Reader.u32),
    "b": _read_block_type,
    "s": lambda reader: reader.signed(32),
    "S": lambda reader: reader.signed(64),
    "f": lambda reader: reader.take(4),
    "d": lambda reader: reader.take(8),
    "v": lambda reader: reader.take(16),
    "l": lambda reader: reader.take(16),
    "L": Reader.byte,
    "j": _read_labels,
    "t": _read_value_types,
    "c": _read_catches,
    "h": Reader.heap_type,
    "z": _read_zero,
}


def _write_catches(catches: tuple[tuple[int, int, int], ...]) -> bytes:
    out = unsigned(len(catches))
    for kind, tag, label in catches:
        out += bytes((kind,)) + (b"" if tag < 0 else unsigned(tag)) + unsigned(label)
    return out


_WRITE: dict[str, Callable[[Any], bytes]] = {
    **dict.fromkeys("FYTMGKXEDJ", unsigned),
    **dict.fromkeys("bsS", signed),
    **dict.fromkeys("fdvl", bytes),
    **dict.fromkeys("Lhz", lambda value: bytes((value,))),
    "j": lambda labels: unsigned(len(labels) - 1) + b"".join(map(unsigned, labels)),
    "t": lambda types: unsigned(len(types)) + types,
    "c": _write_catches,
}
