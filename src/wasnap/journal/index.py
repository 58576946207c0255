"""From records to snapshots: which exist, which are damaged, where the part ends that must be kept.

The rules are those of "When a snapshot exists" in docs/journal-format.md, in that order.
Everything starts from the COMMIT records: what a COMMIT does not prove does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wasnap.errors import JournalError, NoSuchSnapshot
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
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
from wasnap.journal.scan import FIRST_RECORD, Scan, checked_or_none, read_checked
from wasnap.journal.storage import Storage


class SnapshotInfo(NamedTuple):
    """``size``: bytes in the file, headers and padding included; ``pages``: 4 KiB pages stored
    with it.
    """

    id: int
    parent: int | None
    time_ns: int
    trigger: str
    size: int
    label: str
    full: bool = False
    pages: int = 0


class Damaged(NamedTuple):
    """A snapshot that was begun or committed, and why it does not count."""

    id: int
    position: int
    reason: str


class Entry(NamedTuple):
    """A snapshot's records, BEGIN first, COMMIT not among them.

    ``problem``: why it cannot be loaded ("" if it can). ``image_problem``: why its memory cannot be
    used, by itself or its descendants ("" if it can).
    """

    info: SnapshotInfo
    records: list[RecordHeader]
    problem: str
    image_problem: str


@dataclass
class Index:
    """``kept``: where the next record goes. ``last_commit``: position of the last COMMIT, or 0."""

    start: RecordHeader | None = None
    module: RecordHeader | None = None
    entries: dict[int, Entry] = field(default_factory=dict)
    damaged: list[Damaged] = field(default_factory=list)
    kept: int = FIRST_RECORD
    last_commit: int = 0
    next_id: int = 1

    def snapshots(self) -> list[SnapshotInfo]:
        """Those that exist, in the order of commit."""
        return [entry.info for entry in self.entries.values() if not entry.problem]

    def entry(self, snapshot: int) -> Entry:
        """NoSuchSnapshot says which there are; JournalError why a damaged one cannot be used."""
        entry = self.entries.get(snapshot)
        problem = next((each.reason for each in self.damaged if each.id == snapshot), "")
        if problem:
            raise JournalError(f"snapshot {snapshot} is damaged: {problem}", self._offer())
        if entry is None:
            raise NoSuchSnapshot(f"there is no snapshot {snapshot} in the journal", self._offer())
        return entry

    def add(self, entry: Entry, commit_position: int) -> None:
        """Takes in a snapshot that has just been committed."""
        self.entries[entry.info.id] = entry
        self.last_commit = commit_position
        self.kept = commit_position + RECORD_HEADER.size + COMMIT.size
        self.next_id = entry.info.id + 1

    def mark_damaged(self, snapshot: int, reason: str) -> None:
        """Takes out a snapshot whose page data turned out to be damaged. Descendants may not need
        that data.
        """
        entry = self.entries[snapshot]
        self.entries[snapshot] = entry._replace(problem=reason)
        self.damaged.append(Damaged(snapshot, entry.records[0].position, reason))

    def chain(self, snapshot: int) -> Iterator[Entry]:
        """The snapshot and the ancestors its memory rests on, newest first."""
        entry = self.entry(snapshot)
        yield entry
        while not entry.info.full:
            assert entry.info.parent is not None
            entry = self.entries[entry.info.parent]
            yield entry

    def _offer(self) -> str:
        there = [info.id for info in self.snapshots()]
        if not there:
            return "no snapshot in it can be used"
        if len(there) == there[-1] - there[0] + 1:
            return (
                f"there are {there[0]} to {there[-1]}" if len(there) > 1 else f"there is {there[0]}"
            )
        return "there are " + ", ".join(map(str, there))


def build(storage: Storage, found: Scan) -> Index:
    """The index of what ``found`` lists; reads all small payloads, and of MEMORY records the
    extent tables.
    """
    index = Index()
    claimed: set[int] = set()
    for at, header in enumerate(found.records):
        if header.kind == Kind.START and index.start is None:
            index.start = header
        elif header.kind == Kind.MODULE and index.module is None:
            index.module = header
            index.kept = header.next
        elif header.kind == Kind.COMMIT:
            payload = checked_or_none(storage, header)
            if payload is None or len(payload) != COMMIT.size:
                continue  # reported below, by its BEGIN
            commit = Commit._make(COMMIT.unpack(payload))
            group = found.records[max(at - commit.records, 0) : at]
            claimed.update(record.position for record in group if record.kind == Kind.BEGIN)
            _add(index, storage, header, commit, group)
            index.kept = header.next
            index.last_commit = header.position
            index.next_id = max(index.next_id, commit.id + 1)
    _unclaimed(index, storage, found, claimed)
    return index


def headers_crc(headers: Iterable[RecordHeader]) -> int:
    """What a COMMIT says about the records before it: the crc of bytes 0 to 59 of their headers.

    The last 4 bytes are left out because they are the crc of the rest: the crc of bytes followed by
    their own crc is the same for all bytes, and would prove nothing.
    """
    crc = 0
    for header in headers:
        crc = crc32(RECORD_HEADER.pack(*header)[:60], crc)
    return crc


def _add(
    index: Index, storage: Storage, header: RecordHeader, commit: Commit, group: list[RecordHeader]
) -> None:
    """Rules 2 to 5 for one COMMIT."""
    try:
        if commit.id in index.entries or any(commit.id == other.id for other in index.damaged):
            raise JournalError("its number is used twice")
        begin = _proved(storage, commit, group)
    except JournalError as error:
        index.damaged.append(Damaged(commit.id, header.position, error.message))
        return
    problem, image_problem, pages = _state(storage, group[1:])
    if not begin.full and not image_problem:
        parent = index.entries.get(commit.parent)
        if parent is None:
            image_problem = f"the snapshot it rests on, {commit.parent}, is damaged"
        elif parent.image_problem:
            image_problem = f"the memory of snapshot {commit.parent} is damaged"
    problem = problem or image_problem
    info = SnapshotInfo(
        id=begin.id,
        parent=begin.parent,
        time_ns=begin.time_ns,
        trigger=begin.trigger,
        size=header.next - commit.begin,
        label=begin.label,
        full=begin.full,
        pages=pages,
    )
    index.entries[commit.id] = Entry(info, group, problem, image_problem)
    if problem:
        index.damaged.append(Damaged(commit.id, header.position, problem))


def _proved(storage: Storage, commit: Commit, group: list[RecordHeader]) -> BeginRecord:
    """The BEGIN record of a snapshot whose headers are those that were committed."""
    crc = headers_crc(group)
    if (
        len(group) != commit.records
        or not group
        or group[0].kind != Kind.BEGIN
        or group[0].position != commit.begin
        or crc != commit.headers_crc
    ):
        raise JournalError("one of its record headers is damaged")
    begin = decode(read_checked(storage, group[0]), BeginRecord)
    if (begin.id, begin.parent or 0) != (commit.id, commit.parent):
        raise JournalError("its first and last record belong to different snapshots")
    if commit.parent >= commit.id or not (begin.full or commit.parent):
        raise JournalError("it rests on no earlier snapshot")
    return begin


def _state(storage: Storage, records: list[RecordHeader]) -> tuple[str, str, int]:
    """Problem, image problem and number of stored pages of a snapshot's state records."""
    problem = image_problem = ""
    pages = 0
    for record in records:
        known = record.kind in Kind._value2member_map_
        if not known and record.flags & RECORD_IGNORABLE:
            continue
        if not known:
            image_problem = image_problem or (
                f"it holds a record of {record.name}, which this wasnap does not know"
            )
            continue
        try:
            payload = read_checked(storage, record)
        except JournalError as error:
            problem = problem or error.message
            if record.kind == Kind.MEMORY:
                image_problem = image_problem or error.message
            continue
        if record.kind == Kind.MEMORY and len(payload) >= MEMORY_HEAD.size:
            pages += MemoryHead._make(MEMORY_HEAD.unpack_from(payload)).data_pages
    return problem or image_problem, image_problem, pages


def _unclaimed(index: Index, storage: Storage, found: Scan, claimed: set[int]) -> None:
    """Reports each BEGIN before the tail that no COMMIT claims. (A later COMMIT, with a higher
    number, stands before the tail too, so that theirs is not given again.)"""
    reported = {damaged.id for damaged in index.damaged} | set(index.entries)
    for record in found.records:
        if record.kind != Kind.BEGIN or record.position in claimed or record.position >= index.kept:
            continue
        try:
            begin = decode(read_checked(storage, record), BeginRecord)
        except JournalError:
            continue  # nothing of it is left but the gap; a COMMIT that names it has reported it
        if begin.id not in reported:
            reason = "its COMMIT record is damaged"
            index.damaged.append(Damaged(begin.id, record.position, reason))
    index.damaged.sort(key=lambda damaged: damaged.position)
