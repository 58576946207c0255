"""Appends records and snapshots, in the order of "Writing" in docs/journal-format.md.

``Log`` knows where the next record goes and puts it there; ``SnapshotWriter`` is one snapshot
from BEGIN to COMMIT. A write that fails takes the whole snapshot back: the file ends again with
the last commit, as if nothing had been tried. Invariant: the file ends at ``Log.end`` unless
``Log.torn`` is set: while a snapshot is written, and after that if it could not be taken back
either. The next snapshot then starts by trying that again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType

from wasnap.errors import JournalWriteFailed
from wasnap.journal.batches import Pages, batches
from wasnap.journal.carry import carried
from wasnap.journal.checksum import crc32
from wasnap.journal.growing import MemoryRecords
from wasnap.journal.layout import (
    ALIGNMENT,
    COMMIT,
    MEMORY_CARRIED,
    MEMORY_IS64,
    MEMORY_SHARED,
    PAGE_SIZE,
    RECORD_HEADER,
    Kind,
    RecordHeader,
    StoredExtent,
    align,
    pack_record_header,
)
from wasnap.journal.pages import Changed, MemoryPages
from wasnap.journal.places import Known
from wasnap.journal.proof import Entry, SnapshotInfo, headers_crc
from wasnap.journal.records import BeginRecord, Record, encode
from wasnap.journal.storage import Buffer, Storage, write_all

HURRY_MIN = 1 << 20
"""Bytes. The device has something to do while the next ones are prepared; a commit waits for less."""


class Log:
    """The append side of a journal file. ``sync``: whether to wait for the device (durability
    `system`).
    """

    def __init__(
        self, storage: Storage, journal: bytes, end: int, sequence: int, *, sync: bool
    ) -> None:
        self.storage = storage
        self.journal = journal
        self.end = end
        self.position = end
        self.sequence = sequence
        self.torn = False
        self._sync = sync

    def append(
        self,
        kind: int,
        payload: Sequence[Buffer],
        *,
        checked: bytes | None = None,
        flags: int = 0,
        length_max: int = 0,
    ) -> RecordHeader:
        """Writes a record; ``checked``: the payload's first bytes, if its crc covers only those.

        ``length_max``: what the payload may grow to by ``extend``. Until ``rewrite`` says what it
        did grow to, the header says this, so that a reader takes the record for one cut off.
        """
        size = sum(map(len, payload))
        length = max(size, length_max)
        crc = 0
        for part in payload if checked is None else [checked]:
            crc = crc32(part, crc)
        self.sequence += 1
        header = pack_record_header(
            kind,
            flags,
            self.journal,
            self.position,
            self.sequence,
            length,
            length if checked is None else len(checked),
            crc,
        )
        end = self.position + RECORD_HEADER.size + size
        padding = bytes(align(end, ALIGNMENT) - end)
        self._write([header, *payload, padding])
        return RecordHeader._make(RECORD_HEADER.unpack(header))

    def extend(self, rest: Sequence[Buffer]) -> None:
        """Adds whole pages to the payload of the last record, which ended with a whole page."""
        self._write(rest)

    def _write(self, data: Sequence[Buffer]) -> None:
        begun = self.position
        self.position = write_all(self.storage, begun, data)
        if self._sync and self.position - begun >= HURRY_MIN:
            self.storage.hurry(begun, self.position - begun)

    def rewrite(self, old: RecordHeader, checked: bytes, length: int) -> RecordHeader:
        """Puts another checked part into a record since ``settle``, for which there must be room,
        and the true length of its payload.
        """
        assert old.position >= self.end and len(checked) <= length
        header = pack_record_header(
            old.kind,
            old.flags,
            old.journal,
            old.position,
            old.sequence,
            length,
            len(checked),
            crc32(checked),
        )
        write_all(self.storage, old.position, [header, checked])
        return RecordHeader._make(RECORD_HEADER.unpack(header))

    def sync(self) -> None:
        if self._sync:
            self.storage.sync()

    def settle(self) -> None:
        """All that has been appended is kept from now on."""
        self.end = self.position
        self.torn = False

    def take_back(self) -> None:
        """Removes what was appended since ``settle``; ``torn`` stays set if that fails."""
        self.position = self.end
        self.storage.truncate(self.end)
        self.torn = False


class SnapshotWriter:
    """One snapshot being written: records in any order, then ``commit``. Use it in a ``with``.

    Left without ``commit``, or by an exception, the snapshot is taken back. Every method may raise
    JournalWriteFailed; the journal is then as it was before, and good for the next snapshot.
    """

    def __init__(
        self,
        log: Log,
        begin: BeginRecord,
        previous: int,
        name: str,
        committed: Callable[[Entry], None],
        find_known: Callable[[], Known] | None = None,
        between: Sequence[Entry] = (),
    ) -> None:
        """``committed`` is told of the snapshot; ``name``: the file, for messages; ``find_known``:
        gives the parent's places, which become this snapshot's; ``between``: see carry.py.
        """
        self._log = log
        self._begin = begin
        self._previous = previous
        self._name = name
        self._committed = committed
        self._find_known = find_known
        self._known: Known | None = None
        self._between = between
        self._named: dict[int, list[StoredExtent]] = {}
        self._sizes: dict[int, int] = {}
        self._headers: list[RecordHeader] = []
        self._pages = 0
        self._changed: dict[int, MemoryPages] = {}
        self._open = True
        try:
            if log.torn:
                log.take_back()
            log.torn = True
            self._append(Kind.BEGIN, [encode(begin)])
        except OSError as error:
            raise self._failed(error) from error

    def record(self, record: Record) -> None:
        """Writes a record that has a schema. JournalError if it holds what cannot be stored."""
        assert self._open and record.kind not in (Kind.START, Kind.BEGIN)
        payload = encode(record)
        try:
            self._append(record.kind, [payload])
        except OSError as error:
            raise self._failed(error) from error

    def copy(self, kind: int, payload: bytes) -> None:
        """Writes a record that has a schema, encoded already."""
        assert self._open and kind not in (Kind.START, Kind.BEGIN, Kind.MEMORY)
        try:
            self._append(kind, [payload])
        except OSError as error:
            raise self._failed(error) from error

    def memory(
        self,
        index: int,
        pages_total: int,
        page_size: int,
        pages: Iterable[Pages],
        *,
        is64: bool = False,
        shared: bool = False,
        level: int | None = None,
    ) -> list[StoredExtent]:
        """Writes pages of memory ``index``, straight from the given buffers; the extents written.

        ``pages``: sorted, disjoint (first page and what ``Pages`` says), in units of ``page_size``,
        which must be 4096. What is not named is as in the parent; zero if there is no base. The
        buffers must not change until this returns. ``level``: of compression; None: none.
        ValueError if ``pages`` breaks the rules; the ``with`` then takes the snapshot back.
        """
        assert self._open and page_size == PAGE_SIZE
        flags = MEMORY_IS64 * is64 | MEMORY_SHARED * shared
        written: list[StoredExtent] = []
        skip_zeros = self._begin.base is None
        records = MemoryRecords(index, flags, self._log.storage, self)
        for batch in batches(pages, pages_total, skip_zeros=skip_zeros, level=level):
            try:
                written += records.add(batch, pages_total)
            except OSError as error:
                raise self._failed(error) from error
        try:
            records.finish(pages_total)
        except OSError as error:
            raise self._failed(error) from error
        self._pages += records.data_pages
        if self._between:
            self._named.setdefault(index, []).extend(written)
            self._sizes[index] = pages_total
        return written

    def changed(
        self,
        index: int,
        pages_total: int,
        pages: Iterable[Changed],
        *,
        is64: bool = False,
        shared: bool = False,
    ) -> None:
        """Writes what has changed since the parent among pages of memory ``index``.

        ``pages`` (4 KiB): sorted, disjoint (first page, buffer of whole pages or number of pages
        that are zero now). Those that are as in the parent cost no space; others are as there. May
        be called again, for a memory that may have grown: what was named before is replaced. A
        buffer may change meanwhile if its pages will be named again. ValueError as for ``memory``,
        which is not to be used for the same one.
        """
        assert self._open
        try:
            memory = self._changed.get(index)
            if memory is None:
                known = None
                if self._find_known is not None:
                    self._known = self._known or self._find_known()
                    known = self._known.places(index)
                flags = MEMORY_IS64 * is64 | MEMORY_SHARED * shared
                memory = self._changed[index] = MemoryPages(
                    index, flags, self._log.storage, self, known, full=self._begin.base is None
                )
            memory.write(pages, pages_total)
        except OSError as error:
            raise self._failed(error) from error

    def commit(self) -> int:
        """Makes the snapshot exist; returns its id."""
        assert self._open
        log, begin = self._log, self._begin
        try:
            for memory in self._changed.values():
                memory.finish()
            if self._between:
                self._carry()
            payload = COMMIT.pack(
                begin.id,
                begin.parent or 0,
                self._headers[0].position,
                self._previous,
                len(self._headers),
                headers_crc(self._headers),
                bytes(24),
            )
            log.sync()
            header = log.append(Kind.COMMIT, [payload])
            log.sync()
        except OSError as error:
            raise self._failed(error) from error
        log.settle()
        self._open = False
        info = SnapshotInfo(
            id=begin.id,
            parent=begin.parent,
            time_ns=begin.time_ns,
            trigger=begin.trigger,
            size=log.end - self._headers[0].position,
            label=begin.label,
            base=begin.base,
            depth=begin.depth,
            pages=self._pages + sum(memory.data_pages for memory in self._changed.values()),
            after=begin.after,
        )
        self._committed(Entry(info, self._headers, header.position, begin.base_commit))
        if self._known is not None:
            placed = {index: memory.placed for index, memory in self._changed.items()}
            self._known.update(begin.id, placed, full=begin.base is None)
        return begin.id

    def abort(self) -> None:
        """Takes the snapshot back if it is not committed. JournalWriteFailed if that fails."""
        if not self._open:
            return
        self._open = False
        try:
            self._log.take_back()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> SnapshotWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    # -- for MemoryRecords: their Records ------------------------------------------------------

    @property
    def position(self) -> int:
        """Where the next record goes."""
        return self._log.position

    def append(self, checked: bytes, rest: Sequence[Buffer], length_max: int) -> int:
        """Writes a MEMORY record; its number in the snapshot. OSError."""
        self._append(Kind.MEMORY, [checked, *rest], checked, length_max)
        return len(self._headers) - 1

    def extend(self, rest: Sequence[Buffer]) -> None:
        """Adds to the last record. OSError."""
        self._log.extend(rest)

    def rewrite(self, number: int, checked: bytes, length: int) -> None:
        """Writes a MEMORY record's checked part anew. OSError."""
        self._headers[number] = self._log.rewrite(self._headers[number], checked, length)

    def _append(
        self,
        kind: int,
        payload: Sequence[Buffer],
        checked: bytes | None = None,
        length_max: int = 0,
    ) -> None:
        header = self._log.append(kind, payload, checked=checked, length_max=length_max)
        self._headers.append(header)

    def _carry(self) -> None:
        """Names what changed between the base and the parent. OSError."""
        named = self._named | {index: memory.named() for index, memory in self._changed.items()}
        sizes = self._sizes | {index: memory.size for index, memory in self._changed.items()}
        for index, (head, extents) in carried(self._log.storage, self._between, named).items():
            pages_total = sizes.get(index, head.pages_total)
            pages = ((extent.first_page, extent) for extent in extents)
            flags = head.flags | MEMORY_CARRIED
            records = MemoryRecords(index, flags, self._log.storage, self)
            for batch in batches(pages, pages_total, skip_zeros=False):
                records.add(batch, pages_total)

    def _failed(self, error: OSError) -> JournalWriteFailed:
        """Takes the snapshot back and makes the error that says so."""
        if self._open:
            self._open = False
            with suppress(OSError):  # kept in log.torn: the next snapshot tries it again
                self._log.take_back()
        reason = os.strerror(error.errno) if error.errno else str(error)
        return JournalWriteFailed(
            f"snapshot {self._begin.id} could not be written to {self._name}: {reason}",
            "those before it are safe; make room or repair the disk",
        )
