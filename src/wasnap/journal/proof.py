"""One snapshot's records, proved: rules 1 to 4 of "When a snapshot exists" in the format document.

Everything starts from a COMMIT record: what a COMMIT does not prove does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wasnap.errors import JournalError
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
    ALIGNMENT,
    COMMIT,
    MEMORY_HEAD,
    RECORD_HEADER,
    RECORD_IGNORABLE,
    Commit,
    Kind,
    MemoryHead,
    RecordHeader,
)
from wasnap.journal.records import BeginRecord, decode
from wasnap.journal.scan import Source, read_checked, record_header
from wasnap.journal.storage import Window


class SnapshotInfo(NamedTuple):
    """``size``: bytes in the file, headers and padding included; ``pages``: 4 KiB pages stored
    with it; ``base``: the snapshot whose pages it takes where it has none; ``depth``: ancestors;
    ``after``: its parent once, which was left out when the journal was made smaller.
    """

    id: int
    parent: int | None
    time_ns: int
    trigger: str
    size: int
    label: str
    base: int | None = None
    depth: int = 0
    pages: int = 0
    after: int | None = None


class Entry(NamedTuple):
    """A snapshot whose COMMIT, at ``commit``, proves ``records``: BEGIN first, COMMIT not among
    them. ``base_commit``: position of its base's COMMIT, 0 if it has none.
    """

    info: SnapshotInfo
    records: list[RecordHeader]
    commit: int
    base_commit: int


def headers_crc(headers: Iterable[RecordHeader]) -> int:
    """What a COMMIT says about the records before it: the crc of bytes 0 to 59 of their headers.

    The last 4 bytes are left out because they are the crc of the rest: the crc of bytes followed by
    their own crc is the same for all bytes, and would prove nothing.
    """
    crc = 0
    for header in headers:
        crc = crc32(RECORD_HEADER.pack(*header)[:60], crc)
    return crc


def read_commit(source: Source, header: RecordHeader) -> Commit:
    """A COMMIT record's payload. JournalError if it is damaged."""
    payload = read_checked(source, header)
    if header.kind != Kind.COMMIT or len(payload) != COMMIT.size:
        raise JournalError(f"there is no COMMIT record at byte {header.position}")
    return Commit._make(COMMIT.unpack(payload))


def prove(
    source: Source, header: RecordHeader, commit: Commit, group: list[RecordHeader], pages: int
) -> Entry:
    """The snapshot that ``commit`` commits, if ``group`` is what was committed. JournalError if not.

    ``pages``: for people.
    """
    if (
        len(group) != commit.records
        or not group
        or group[0].kind != Kind.BEGIN
        or group[0].position != commit.begin
        or headers_crc(group) != commit.headers_crc
    ):
        raise JournalError("one of its record headers is damaged")
    begin = decode(read_checked(source, group[0]), BeginRecord)
    if (begin.id, begin.parent or 0) != (commit.id, commit.parent):
        raise JournalError("its first and last record belong to different snapshots")
    if commit.parent >= commit.id or (begin.base or 0) > commit.parent:
        raise JournalError("it rests on no earlier snapshot")
    info = SnapshotInfo(
        id=begin.id,
        parent=begin.parent,
        time_ns=begin.time_ns,
        trigger=begin.trigger,
        size=header.next - commit.begin,
        label=begin.label,
        base=begin.base,
        depth=begin.depth,
        pages=pages,
        after=begin.after,
    )
    return Entry(info, group, header.position, begin.base_commit if begin.base else 0)


def read_entry(window: Window, journal: bytes, position: int) -> Entry:
    """The snapshot whose COMMIT stands at ``position``, its other records not looked at.

    JournalError if it is not proved, or holds what this version does not know.
    """
    header = record_header(window.read(position, ALIGNMENT), journal, position, 0)
    if header is None:
        raise JournalError(f"there is no intact record at byte {position}")
    commit = read_commit(window, header)
    group: list[RecordHeader] = []
    pages = 0
    at = commit.begin
    while at < position and len(group) < commit.records:
        sequence = group[-1].sequence if group else 0
        record = record_header(window.read(at, ALIGNMENT), journal, at, sequence)
        if record is None:
            raise JournalError("one of its record headers is damaged")
        group.append(record)
        pages += data_pages(window, record)
        at = record.next
    if at != position:
        raise JournalError("one of its record headers is damaged")
    entry = prove(window, header, commit, group, pages)
    for record in group:
        if unknown := _unknown(record):
            raise JournalError(unknown)
    return entry


def check(source: Source, records: Iterable[RecordHeader]) -> tuple[str, str]:
    """What is wrong with a snapshot's state records: why it cannot be loaded, and why its memory
    cannot be used, by itself or by those that rest on it. Empty where nothing is.
    """
    problem = image_problem = ""
    for record in records:
        if unknown := _unknown(record):
            image_problem = image_problem or unknown
            continue
        try:
            read_checked(source, record)
        except JournalError as error:
            problem = problem or error.message
            if record.kind == Kind.MEMORY:
                image_problem = image_problem or error.message
    return problem or image_problem, image_problem


def _unknown(record: RecordHeader) -> str:
    if record.kind in Kind._value2member_map_ or record.flags & RECORD_IGNORABLE:
        return ""
    return f"it holds a record of {record.name}, which this wasnap does not know"


def data_pages(source: Source, record: RecordHeader) -> int:
    """How many pages are stored with a record, for people: not checked."""
    if record.kind != Kind.MEMORY:
        return 0
    head = source.read(record.payload, min(record.checked, MEMORY_HEAD.size))
    if len(head) != MEMORY_HEAD.size:
        return 0
    return MemoryHead._make(MEMORY_HEAD.unpack(head)).data_pages
