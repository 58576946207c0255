"""Finds the records in a file, whatever has happened to it.

``walk`` goes from header to header. Where a header is not intact it looks for the next one that
is, so damage costs the records it hits and no others. It reads headers only, and JournalError is
raised only where the file is no journal at all, or one of a newer major version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wasnap.errors import JournalError
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
    ALIGNMENT,
    FILE_HEADER,
    FILE_MAGIC,
    MAJOR,
    RECORD_HEADER,
    RECORD_MAGIC,
    FileHeader,
    RecordHeader,
    sealed,
)
from wasnap.journal.storage import Storage, Window

CHUNK = 1 << 20
FIRST_RECORD = FILE_HEADER.size

Source = Storage | Window


class Gap(NamedTuple):
    """``size`` bytes at ``position`` that belong to no intact record."""

    position: int
    size: int
    what: str


class Identity(NamedTuple):
    """What makes a file a journal: creation id and version; and its size. ``gap``: a damaged file
    header.
    """

    journal: bytes
    major: int
    minor: int
    size: int
    gap: Gap | None = None


def identify(storage: Storage, name: str) -> Identity:
    """``name``: of the file, for messages. JournalError if it is no journal that can be read."""
    size = storage.size()
    data = storage.read(0, FILE_HEADER.size)
    gap = None
    if data[: len(FILE_MAGIC)] == FILE_MAGIC and sealed(data):
        file_header = FileHeader._make(FILE_HEADER.unpack(data))
        journal, major, minor = file_header.journal, file_header.major, file_header.minor
    else:
        first = record_header(storage.read(FIRST_RECORD, ALIGNMENT), None, FIRST_RECORD, 0)
        if first is None:
            raise _not_a_journal(data, name, size)
        journal, major, minor = first.journal, first.major, first.minor
        gap = Gap(0, FILE_HEADER.size, "the file header is damaged (and not needed)")
    if major > MAJOR:
        raise JournalError(
            f"{name} is a journal of version {major}, this wasnap reads up to {MAJOR}",
            "use the wasnap that wrote it, or a newer one",
        )
    return Identity(journal, major, minor, size, gap)


def walk(
    window: Window, identity: Identity, position: int = FIRST_RECORD, sequence: int = 0
) -> Iterator[RecordHeader | Gap]:
    """All intact record headers from ``position`` on, in file order, and what lies between them.

    ``sequence``: of the record before.
    """
    journal, size = identity.journal, identity.size
    while position < size:
        header = record_header(window.read(position, ALIGNMENT), journal, position, sequence)
        if header is None:
            header = _resynchronise(window.storage, position + ALIGNMENT, size, journal, sequence)
            if header is None:
                yield Gap(position, size - position, "no intact record")
                return
            yield Gap(position, header.position - position, "no intact record")
        if header.end > size:
            what = f"the {header.name} record is cut off"
            yield Gap(header.position, size - header.position, what)
            return
        yield header
        sequence = header.sequence
        position = header.next


def record_header(
    data: bytes, journal: bytes | None, position: int, sequence: int
) -> RecordHeader | None:
    """The intact record header in ``data`` (64 bytes read at ``position``), or None.

    ``journal`` is the creation id it must carry (None: any), ``sequence`` what its own must exceed.
    """
    if data[:4] != RECORD_MAGIC or not sealed(data):
        return None
    header = RecordHeader._make(RECORD_HEADER.unpack(data))
    intact = (
        header.position == position
        and header.sequence > sequence
        and header.checked <= header.length
        and journal in (None, header.journal)
    )
    return header if intact else None


def read_checked(source: Source, header: RecordHeader) -> bytes:
    """The checked part of a record's payload. JournalError if it is damaged."""
    payload = source.read(header.payload, header.checked)
    if len(payload) != header.checked or crc32(payload) != header.payload_crc:
        raise JournalError(f"the {header.name} record at byte {header.position} is damaged")
    return payload


def checked_or_none(source: Source, header: RecordHeader) -> bytes | None:
    """The checked part of a record's payload, None if it is damaged."""
    try:
        return read_checked(source, header)
    except JournalError:
        return None


def _not_a_journal(data: bytes, name: str, size: int) -> JournalError:
    if size == 0:
        return JournalError(
            f"{name} is empty: no journal in it yet", "make one: wasnap run --journal"
        )
    if data.startswith(b"\0asm"):
        return JournalError(f"{name} is a wasm module, not a journal", "start it: wasnap run")
    if data.startswith(FILE_MAGIC):
        return JournalError(
            f"the header of {name} is damaged or cut off, and so is its first record",
            "nothing in it can be used: restore it from a copy",
        )
    return JournalError(f"{name} is not a wasnap journal", "check the file name")


def _resynchronise(
    storage: Storage, position: int, size: int, journal: bytes, sequence: int
) -> RecordHeader | None:
    """The first intact record header at or after ``position`` (a multiple of 64), or None."""
    while position + ALIGNMENT <= size:
        data = storage.read(position, CHUNK)
        at = data.find(RECORD_MAGIC)
        while at >= 0:
            if at % ALIGNMENT == 0:
                candidate = data[at : at + ALIGNMENT]
                header = record_header(candidate, journal, position + at, sequence)
                if header is not None:
                    return header
            at = data.find(RECORD_MAGIC, at + 1)
        if len(data) < CHUNK:
            break
        position += CHUNK
    return None
