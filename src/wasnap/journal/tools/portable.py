"""A journal as text, and back: the same file, byte for byte, whatever state it is in.

The text is JSON, an object a line, in the order of the file::

    {"journal": "1.0", "id": "5d01...", "flags": 0}                     the file header
    {"record": "START", "at": 64, "sequence": 1, "content": {...}}      what is a msgpack map
    {"record": "MODULE", "at": 576, "sequence": 2, "length": 104857}    what is not ...
    {"data": "AGFzbQEAAAA..."}                                          ... in pieces, base64
    {"record": "MEMORY", "at": ..., "content": {"head": {...}, "extents": [[...], ...]}, ...}
    {"zeros": 2944}
    {"data": "..."}
    {"gap": "no intact record", "at": ..., "length": 300}               what is damaged, as it is
    {"data": "..."}
    {"end": 1058816, "sha256": "..."}                                   of the journal file

A field of a record's header is there only if it does not follow from the others: ``version`` if it
is not the file's, ``flags`` if any is set, ``kind`` where ``record`` is no name, ``crc`` if it is
not that of the payload (so a record that says ``crc`` is damaged), ``padding`` if the bytes behind
the record are not zeros. The file header has ``flags`` if it is intact. ``content`` has msgpack's
types: bytes are ``{"base64": ...}``, maps whose keys are not all text ``{"map": [[key, value],
...]}``, and floats that JSON has not ``{"float": "nan"}``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from wasnap.errors import JournalError
from wasnap.journal import place
from wasnap.journal.checksum import crc32
from wasnap.journal.image import decode_memory
from wasnap.journal.layout import (
    COMMIT,
    EXTENT,
    FILE_HEADER,
    LABEL,
    MEMORY_HEAD,
    Commit,
    FileHeader,
    Kind,
    Label,
    MemoryHead,
    RecordHeader,
    sealed,
)
from wasnap.journal.scan import Identity, identify, walk
from wasnap.journal.storage import Storage, Window
from wasnap.journal.survey import Progress

PIECE = 1 << 20
CONTENT_MAX = 1 << 26
"""Bytes of a payload that is shown as content; a larger one is data."""

TUPLES: dict[Kind, tuple[struct.Struct, Any]] = {
    Kind.COMMIT: (COMMIT, Commit),
    Kind.LABEL: (LABEL, Label),
}
MAPS = (Kind.START, Kind.BEGIN, Kind.STACK, Kind.TABLES, Kind.HOST, Kind.PROCESS)
ZEROS = bytes(PIECE)


def export(path: Path, progress: Progress | None = None) -> Iterator[str]:
    """The lines of the text of the journal at ``path``, without their ends.

    MissingFile; JournalError if it is none.
    """
    storage = Storage(place.open_file(path, writable=False))
    try:
        identity = identify(storage, str(path))
    except BaseException:
        storage.close()
        raise
    return _closing(storage, _lines(storage, identity, progress))


def _closing(storage: Storage, lines: Iterator[str]) -> Iterator[str]:
    try:
        yield from lines
    finally:
        storage.close()


def _lines(storage: Storage, identity: Identity, progress: Progress | None) -> Iterator[str]:
    lines = _Export(storage, identity)
    yield from lines.file_header()
    for each in walk(Window(storage), identity):
        if isinstance(each, RecordHeader):
            yield from lines.record(each)
        elif each.position:
            yield from lines.gap(each.position, each.size, each.what)
        if progress is not None:
            progress(each.position, identity.size)
    yield _line({"end": identity.size, "sha256": lines.digest.hexdigest()})


class _Export:
    def __init__(self, storage: Storage, identity: Identity) -> None:
        self._storage = storage
        self._identity = identity
        self.digest = hashlib.sha256()

    def file_header(self) -> Iterator[str]:
        identity = self._identity
        line: dict[str, Any] = {
            "journal": f"{identity.major}.{identity.minor}",
            "id": identity.journal.hex(),
        }
        data = self._storage.read(0, FILE_HEADER.size)
        header = FileHeader._make(FILE_HEADER.unpack(data.ljust(FILE_HEADER.size, b"\0")))
        if sealed(data) and not any(header.reserved):
            self.digest.update(data)
            yield _line(line | {"flags": header.flags})
        else:
            yield _line(line)
            yield from self.gap(0, len(data), "the file header is damaged (and not needed)")

    def gap(self, position: int, size: int, what: str) -> Iterator[str]:
        yield _line({"gap": what, "at": position, "length": size})
        yield from self._pieces(position, position + size, [])

    def record(self, header: RecordHeader) -> Iterator[str]:
        self._read(header.position, header.payload - header.position)
        line: dict[str, Any] = {"record": header.name, "at": header.position}
        if header.kind not in Kind._value2member_map_:
            line["kind"] = header.kind
        if (header.major, header.minor) != (self._identity.major, self._identity.minor):
            line["version"] = f"{header.major}.{header.minor}"
        if header.flags:
            line["flags"] = header.flags
        line["sequence"] = header.sequence
        checked = self._storage.read(header.payload, header.checked)
        crc = crc32(checked)
        if crc != header.payload_crc:
            line["crc"] = header.payload_crc
        content, cuts = _content(header, checked) if crc == header.payload_crc else (None, [])
        start = header.payload
        if content is not None:
            line["content"] = content
            start += header.checked
            self.digest.update(checked)
        if content is None or header.checked != header.length:
            line["length"] = header.length
            if content is None and header.checked != header.length:
                line["checked"] = header.checked
        padding = self._storage.read(header.end, header.next - header.end)
        if any(padding) or len(padding) < header.next - header.end:
            line["padding"] = padding.hex()
        yield _line(line)
        yield from self._pieces(start, header.end, cuts)
        self.digest.update(padding)

    def _pieces(self, start: int, end: int, cuts: list[int]) -> Iterator[str]:
        """The bytes from ``start`` to ``end``; pieces end at ``cuts``, which are sorted."""
        edges = [*(cut for cut in cuts if start < cut < end), end]
        for edge in edges:
            while start < edge:
                data = self._read(start, min(PIECE, edge - start))
                yield _data(data)
                start += len(data)

    def _read(self, position: int, size: int) -> bytes:
        data = self._storage.read(position, size)
        if not data and size:
            raise JournalError("the journal has become shorter while it was read")
        self.digest.update(data)
        return data


def _content(header: RecordHeader, payload: bytes) -> tuple[Any, list[int]]:
    """The payload as plain data, if it can be made from that again, and where its blocks begin."""
    if header.kind == Kind.MEMORY:
        try:
            head, extents = decode_memory(payload, header)
        except JournalError:
            return None, []
        cuts = sorted({extent.position for extent in extents})
        return {"head": head._asdict(), "extents": [list(extent) for extent in extents]}, cuts
    if header.checked != header.length or header.length > CONTENT_MAX:
        return None, []
    try:
        content = _fields(header.kind, payload)
        if content is not None and payload_of(header.kind, content) == payload:
            return content, []
    except (msgspec.MsgspecError, struct.error, TypeError, ValueError, RecursionError):
        pass
    return None, []


def _fields(kind: int, payload: bytes) -> Any:
    if kind in TUPLES:
        form, fields = TUPLES[Kind(kind)]
        values = fields._make(form.unpack(payload))._asdict()
        texts = {key: _text(each) for key, each in values.items()}
        return {key: each for key, each in texts.items() if key != "reserved" or each}
    return _plain(msgspec.msgpack.decode(payload)) if kind in MAPS else None


def _text(value: Any) -> Any:
    """Bytes in a fixed layout as text, without the zeros that fill them up."""
    return value.rstrip(b"\0").decode() if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    """What msgpack holds as what JSON holds. TypeError for what neither has."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        raise TypeError(type(value))
    if all(isinstance(key, str) for key in value) and set(value) not in _TAGS:
        return {key: _plain(each) for key, each in value.items()}
    return {"map": [[_plain(key), _plain(each)] for key, each in value.items()]}


_TAGS: tuple[set[str], ...] = ({"base64"}, {"float"}, {"map"})


def _value(plain: Any) -> Any:
    """The inverse of ``_plain``."""
    if isinstance(plain, list):
        return [_value(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) not in _TAGS:
        return {key: _value(each) for key, each in plain.items()}
    ((tag, content),) = plain.items()
    if tag == "base64":
        return base64.b64decode(content, validate=True)
    if tag == "float":
        return float(content)
    return {_key(key): _value(each) for key, each in content}


def _key(plain: Any) -> Any:
    """A map's key; a list becomes one that can be a key."""
    value = _value(plain)
    return tuple(value) if isinstance(value, list) else value


def payload_of(kind: int, content: Any) -> bytes:
    """The inverse of ``_content``: the (checked) payload. May raise anything for what is none."""
    if kind == Kind.MEMORY:
        table = [EXTENT.pack(*extent) for extent in content["extents"]]
        return MEMORY_HEAD.pack(*MemoryHead(**content["head"])) + b"".join(table)
    if kind in TUPLES:
        form, fields = TUPLES[Kind(kind)]
        values = {"reserved": ""} | content
        bare = {k: each.encode() if isinstance(each, str) else each for k, each in values.items()}
        return form.pack(*fields(**bare))
    return msgspec.msgpack.encode(_value(content))


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _data(data: bytes) -> str:
    if data == ZEROS[: len(data)]:
        return f'{{"zeros":{len(data)}}}'
    return f'{{"data":"{base64.b64encode(data).decode()}"}}'
