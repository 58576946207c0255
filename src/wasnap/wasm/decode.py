"""bytes -> ``Module``: the header, the walk over the sections, and what holds between them.

Strict about everything the binary format says (core specification 3.0, chapter 5), silent about
what only validation can know (types, index bounds, constant expressions): the engine validates.
Function bodies stay undecoded, so decoding costs little more than one look at each section;
``check_code`` looks at every instruction as well.
"""

from __future__ import annotations

from wasnap.errors import InvalidModule
from wasnap.wasm.code import instructions
from wasnap.wasm.module import Body, Custom, Module
from wasnap.wasm.opcodes import BY_NAME
from wasnap.wasm.reader import Reader
from wasnap.wasm.sections import CUSTOM, SECTIONS

MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"
_LAYER_COMPONENT = 1

_ORDER = {section: place for place, section in enumerate(SECTIONS)}

_IF = BY_NAME["if"]
_ELSE = BY_NAME["else"]
_END = BY_NAME["end"]
_OPENERS = frozenset(BY_NAME[name] for name in ("block", "loop", "if", "try_table"))
_NEED_DATA_COUNT = frozenset(BY_NAME[name] for name in ("memory.init", "data.drop"))


def decode(data: bytes, *, code: bool = False) -> Module:
    """The module in ``data``; with ``code``, every instruction is checked as well.

    Raises InvalidModule with the byte offset of what is malformed, UnsupportedModule with the
    name of the proposal for what is not supported.
    """
    reader = Reader(bytes(data))
    _header(reader)
    module = Module()
    last = CUSTOM
    while not reader.at_end():
        start = reader.pos
        section = reader.byte()
        size = reader.u32()
        begin = reader.skip(size)
        contents = Reader(reader.data, begin, reader.pos)
        if section == CUSTOM:
            name = contents.name()
            payload = contents.take(contents.end - contents.pos)
            module.customs.append(Custom(name, payload, last))
            continue
        if section not in SECTIONS:
            raise reader.error(f"malformed section id {section}", start)
        what, decoder = SECTIONS[section]
        if last != CUSTOM and _ORDER[section] <= _ORDER[last]:
            raise reader.error(f"unexpected {what} section: twice or out of order", start)
        decoder(contents, module)
        if not contents.at_end():
            raise contents.error(f"section size mismatch: the {what} section is not used up")
        last = section
    _check_counts(module, reader.pos)
    if code:
        check_code(module)
    return module


def check_code(module: Module) -> None:
    """Decodes every instruction of every body; errors as of ``decode``."""
    for body in module.code:
        _check_body(body, module.data_count)


def _header(reader: Reader) -> None:
    if reader.data[:4] != MAGIC:
        message = "not a WebAssembly module: it does not begin with \\0asm"
        raise InvalidModule(message, offset=0)
    version = reader.data[4:8]
    if version[2:] == _LAYER_COMPONENT.to_bytes(2, "little"):
        raise InvalidModule(
            "this is a component, wasnap needs a core module",
            "build for wasm32-wasip1, or take the core module out of the component",
            offset=4,
        )
    if len(version) < 4:
        raise reader.error("unexpected end: no version", len(reader.data))
    if version != VERSION:
        number = int.from_bytes(version, "little")
        raise reader.error(f"unknown binary version {number}", 4)
    reader.skip(8)


def _check_counts(module: Module, end: int) -> None:
    if len(module.functions) != len(module.code):
        raise InvalidModule(
            f"{len(module.functions)} functions are declared, {len(module.code)} bodies given",
            offset=end,
        )
    if module.data_count is not None and module.data_count != len(module.data):
        raise InvalidModule(
            f"{module.data_count} data segments are announced, {len(module.data)} given",
            offset=end,
        )


def _check_body(body: Body, data_count: int | None) -> None:
    open_blocks = [_END]  # what may still have an `else` is an _IF
    for pos, end, op, _ in instructions(body.code, base=body.offset):
        if op in _OPENERS:
            open_blocks.append(op)
        elif op is _END:
            open_blocks.pop()
            if not open_blocks:
                if end != len(body.code):
                    message = "a function body goes on after its `end`"
                    raise InvalidModule(message, offset=body.offset + end)
                return
        elif op is _ELSE:
            if open_blocks[-1] is not _IF:
                raise InvalidModule("`else` without `if`", offset=body.offset + pos)
            open_blocks[-1] = _ELSE
        elif op in _NEED_DATA_COUNT and data_count is None:
            raise InvalidModule("data count section required", offset=body.offset + pos)
    raise InvalidModule("a function body ends inside a block", offset=body.offset + len(body.code))
