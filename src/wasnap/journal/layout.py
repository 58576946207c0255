"""The journal's byte layouts: one ``Struct`` and one named tuple for each table of the format
document.

What the fields mean stands in docs/journal-format.md and nowhere else;
``tests/journal/test_journal_format.py`` compares the two. Nothing here touches a file.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from wasnap.journal.checksum import crc32

MAJOR = 1
MINOR = 0

FILE_MAGIC = b"\x89WASNAP\n"
RECORD_MAGIC = b"WREC"
ALIGNMENT = 64
PAGE_SIZE = 4096
ZERO_PAGE = bytes(PAGE_SIZE)
HOST_MEMORY = 0xFFFFFFFF
"""Index of the memory that is not the guest's: what directories in memory contain."""
PROGRAMS = 0x80000000
"""Indices from here on are those of programs: memories that hold their bytes."""

RECORD_IGNORABLE = 1
MEMORY_IS64 = 1
MEMORY_SHARED = 2
MEMORY_CARRIED = 4


class Kind(IntEnum):
    """Record kinds. Numbers are never used again for something else."""

    START = 1
    MODULE = 2
    BEGIN = 16
    COMMIT = 17
    LABEL = 18
    MEMORY = 32
    STACK = 33
    TABLES = 34
    HOST = 35
    PROCESS = 36


FILE_HEADER = Struct("<8sHHI8s36sI")


class FileHeader(NamedTuple):
    magic: bytes
    major: int
    minor: int
    flags: int
    journal: bytes
    reserved: bytes
    header_crc: int


RECORD_HEADER = Struct("<4sHHII8sQQQQII")


class RecordHeader(NamedTuple):
    magic: bytes
    major: int
    minor: int
    kind: int
    flags: int
    journal: bytes
    position: int
    sequence: int
    length: int
    checked: int
    payload_crc: int
    header_crc: int

    @property
    def payload(self) -> int:
        """Position of the payload."""
        return self.position + RECORD_HEADER.size

    @property
    def end(self) -> int:
        """Position of the first byte after the payload."""
        return self.payload + self.length

    @property
    def next(self) -> int:
        """Position at which the next record may start."""
        return align(self.end, ALIGNMENT)

    @property
    def name(self) -> str:
        """The kind's name, for people."""
        return kind_name(self.kind)


COMMIT = Struct("<QQQQII24s")


class Commit(NamedTuple):
    id: int
    parent: int
    begin: int
    previous: int
    records: int
    headers_crc: int
    reserved: bytes


LABEL = Struct("<QQ160s16s")


class Label(NamedTuple):
    id: int
    commit: int
    label: bytes
    reserved: bytes


MEMORY_HEAD = Struct("<IIQIIQ")


class MemoryHead(NamedTuple):
    memory: int
    page_size: int
    pages_total: int
    flags: int
    extents: int
    data_pages: int


class Encoding(IntEnum):
    """How a block of pages is stored."""

    ZERO = 0
    RAW = 1
    ZSTD = 2


EXTENT = Struct("<QQIIIHH")


class StoredExtent(NamedTuple):
    first_page: int
    position: int
    pages: int
    stored: int
    crc: int
    skip: int
    encoding: int

    @property
    def end(self) -> int:
        """The first page after it."""
        return self.first_page + self.pages

    def part(self, first_page: int, end: int) -> StoredExtent:
        """Its pages from ``first_page`` to ``end``, which are among them."""
        _, position, _, stored, crc, skip, encoding = self
        if position:
            skip += first_page - self.first_page
        return StoredExtent(first_page, position, end - first_page, stored, crc, skip, encoding)


def align(position: int, unit: int) -> int:
    """The first multiple of ``unit`` (a power of two) at or after ``position``."""
    return (position + unit - 1) & -unit


def kind_name(kind: int) -> str:
    """``MEMORY`` for 32, ``kind 77`` for what this version does not know."""
    return Kind(kind).name if kind in Kind._value2member_map_ else f"kind {kind}"


def pack_file_header(journal: bytes) -> bytes:
    """The 64 bytes that open a journal of this version."""
    body = FILE_HEADER.pack(FILE_MAGIC, MAJOR, MINOR, 0, journal, bytes(36), 0)
    return seal(body)


def pack_record_header(
    kind: int,
    flags: int,
    journal: bytes,
    position: int,
    sequence: int,
    length: int,
    checked: int,
    payload_crc: int,
) -> bytes:
    """The 64 bytes that open a record of this version."""
    body = RECORD_HEADER.pack(
        RECORD_MAGIC,
        MAJOR,
        MINOR,
        kind,
        flags,
        journal,
        position,
        sequence,
        length,
        checked,
        payload_crc,
        0,
    )
    return seal(body)


def seal(header: bytes) -> bytes:
    """``header`` (64 bytes) with the crc of its first 60 in the last 4."""
    return header[:60] + crc32(header[:60]).to_bytes(4, "little")


def sealed(header: bytes) -> bool:
    """Whether ``header`` is 64 bytes long and ends with the crc of its first 60."""
    return len(header) == 64 and crc32(header[:60]) == int.from_bytes(header[60:], "little")
