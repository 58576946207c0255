"""The journal that a text is of; see ``portable``."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from wasnap.errors import JournalError
from wasnap.journal import place
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
    ALIGNMENT,
    FILE_HEADER,
    FILE_MAGIC,
    MAJOR,
    RECORD_HEADER,
    RECORD_MAGIC,
    Kind,
    align,
    seal,
)
from wasnap.journal.storage import Storage, write_all
from wasnap.journal.tools.portable import payload_of

PIECE_MAX = 1 << 26


class _Wrong(Exception):
    """What is wrong with a line."""


_UNREADABLE = (
    *(_Wrong, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError),
    *(struct.error, msgspec.MsgspecError),
)
"""What a line that is not as it should be may raise."""


def make(path: Path, lines: Iterable[str | bytes], name: str) -> None:
    """Makes the new journal ``path`` from the text called ``name``: whole or not at all.

    JournalError, JournalLocked, JournalWriteFailed.
    """
    if path.exists() and path.stat().st_size:
        raise JournalError(f"{path} is there already", "give the name of a new file")
    place.create(
        path, lambda storage: write(storage, lines, name), Storage, overwrite=False
    ).close()


def write(storage: Storage, lines: Iterable[str | bytes], name: str) -> None:
    """Writes the journal that ``lines`` are of to an empty file.

    JournalError names the line that is wrong, OSError comes from the file.
    """
    number = 0

    def numbered() -> Iterator[dict[str, Any]]:
        nonlocal number
        for line in lines:
            number += 1
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise _Wrong("it is not a JSON object")
            yield value

    try:
        _Import(storage, numbered()).run()
    except _UNREADABLE as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise JournalError(
            f"line {number} of {name} is not as wasnap journal export writes it: {said}",
            "export the journal again",
        ) from None


class _Import:
    def __init__(self, storage: Storage, lines: Iterator[dict[str, Any]]) -> None:
        self._storage = storage
        self._lines = lines
        self._at = 0
        self._journal = b""
        self._version = (0, 0)
        self._digest = hashlib.sha256()

    def run(self) -> None:
        self._file_header(next(self._lines, {}))
        for line in self._lines:
            if "end" in line:
                break
            if "gap" in line:
                self._expect(line)
                for piece in self._pieces(line["length"]):
                    self._put(piece)
            else:
                self._record(line)
        else:
            raise _Wrong("the text ends here, without its last line")
        if line["end"] != self._at or line["sha256"] != self._digest.hexdigest():
            raise _Wrong("what stands before it is not what was exported")
        if next(self._lines, None) is not None:
            raise _Wrong("something follows the end")

    def _file_header(self, line: dict[str, Any]) -> None:
        self._version = _version(line["journal"])
        self._journal = bytes.fromhex(line["id"])
        if self._version[0] > MAJOR:
            raise _Wrong(f"version {line['journal']} is newer than this wasnap")
        if "flags" in line:
            values = (FILE_MAGIC, *self._version, line["flags"], self._journal, b"", 0)
            self._put(seal(FILE_HEADER.pack(*values)))

    def _record(self, line: dict[str, Any]) -> None:
        self._expect(line)
        kind = line["kind"] if "kind" in line else Kind[line["record"]].value
        content = payload_of(kind, line["content"]) if "content" in line else b""
        length = line.get("length", len(content))
        checked = line.get("checked", len(content) if "content" in line else length)
        pieces: Iterable[bytes] = self._pieces(length - len(content))
        crc = line.get("crc")
        if crc is None:
            if checked > len(content):
                pieces = list(pieces)
            crc = crc32(
                b"".join([content, *pieces] if checked > len(content) else [content])[:checked]
            )
        major, minor = _version(line["version"]) if "version" in line else self._version
        header = RECORD_HEADER.pack(
            RECORD_MAGIC,
            major,
            minor,
            kind,
            line.get("flags", 0),
            self._journal,
            self._at,
            line["sequence"],
            length,
            checked,
            crc,
            0,
        )
        self._put(seal(header))
        self._put(content)
        for piece in pieces:
            self._put(piece)
        padding = align(self._at, ALIGNMENT) - self._at
        self._put(bytes.fromhex(line["padding"]) if "padding" in line else bytes(padding))

    def _pieces(self, length: int) -> Iterator[bytes]:
        """The ``length`` bytes that the following lines hold."""
        while length > 0:
            line = next(self._lines, {})
            if "zeros" in line:
                piece = bytes(min(line["zeros"], PIECE_MAX))
            else:
                piece = base64.b64decode(line["data"], validate=True)
            length -= len(piece)
            if not piece or length < 0:
                raise _Wrong("there are too many bytes, or none")
            yield piece

    def _expect(self, line: dict[str, Any]) -> None:
        if line["at"] != self._at:
            raise _Wrong(f"this is byte {self._at}, not {line['at']}: something is missing")

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._at = write_all(self._storage, self._at, [data])


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)
