"""Appends records and snapshots, in the order of "Writing" in docs/journal-format.md.

``Log`` knows where the next record goes and puts it there; ``SnapshotWriter`` is one snapshot
from BEGIN to COMMIT. A write that fails takes the whole snapshot back: the file ends again with
the last commit, as if nothing had been tried. Invariant: the file ends at ``Log.end`` unless
``Log.torn`` is set: while a snapshot is written, and after that if it could not be taken back
either. The next snapshot then starts by trying that again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType

from wasnap.errors import JournalWriteFailed
from wasnap.journal.batches import Pages, Piece, batches, placed
from wasnap.journal.carry import carried
from wasnap.journal.layout import (
    ALIGNMENT,
    COMMIT,
    EXTENT,
    MEMORY_CARRIED,
    MEMORY_HEAD,
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
from wasnap.journal.proof import Entry, SnapshotInfo, headers_crc
from wasnap.journal.records import BeginRecord, Record, encode
from wasnap.journal.storage import Buffer, Storage, write_all


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
        self, kind: int, payload: Sequence[Buffer], *, checked: bytes | None = None, flags: int = 0
    ) -> RecordHeader:
        """Writes a record; ``checked``: the payload's first bytes, if its crc covers only those."""
        length = sum(map(len, payload))
        crc = 0
        for part in payload if checked is None else [checked]:
            crc = zlib.crc32(part, crc)
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
        end = self.position + RECORD_HEADER.size + length
        padding = bytes(align(end, ALIGNMENT) - end)
        self.position = write_all(self.storage, self.position, [header, *payload, padding])
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
        between: Sequence[Entry] = (),
    ) -> None:
        """``committed`` is told of the snapshot; ``name``: the file, for messages. ``between``: see
        carry.py.
        """
        self._log = log
        self._begin = begin
        self._previous = previous
        self._name = name
        self._committed = committed
        self._between = between
        self._named: dict[int, list[StoredExtent]] = {}
        self._headers: list[RecordHeader] = []
        self._pages = 0
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
        for batch in batches(pages, pages_total, skip_zeros=skip_zeros, level=level):
            try:
                written += self._memory_record(index, pages_total, flags, batch)
            except OSError as error:
                raise self._failed(error) from error
        if self._between:
            self._named.setdefault(index, []).extend(written)
        return written

    def commit(self) -> int:
        """Makes the snapshot exist; returns its id."""
        assert self._open
        log, begin = self._log, self._begin
        self._carry()
        first = self._headers[0].position
        payload = COMMIT.pack(
            begin.id,
            begin.parent or 0,
            first,
            self._previous,
            len(self._headers),
            headers_crc(self._headers),
            bytes(24),
        )
        try:
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
            size=log.end - first,
            label=begin.label,
            base=begin.base,
            depth=begin.depth,
            pages=self._pages,
        )
        self._committed(Entry(info, self._headers, header.position, begin.base_commit))
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

    def _append(self, kind: int, payload: Sequence[Buffer], checked: bytes | None = None) -> None:
        self._headers.append(self._log.append(kind, payload, checked=checked))

    def _carry(self) -> None:
        """Names what changed between the base and the parent."""
        if not self._between:
            return
        for memory, (head, extents) in carried(
            self._log.storage, self._between, self._named
        ).items():
            flags = head.flags | MEMORY_CARRIED
            pages = ((extent.first_page, extent) for extent in extents)
            for batch in batches(pages, head.pages_total, skip_zeros=False):
                try:
                    self._memory_record(memory, head.pages_total, flags, batch)
                except OSError as error:
                    raise self._failed(error) from error

    def _memory_record(
        self, index: int, pages_total: int, flags: int, batch: list[Piece]
    ) -> list[StoredExtent]:
        data_pages = sum(piece.n_pages for piece in batch if piece.data is not None)
        head = MEMORY_HEAD.pack(index, PAGE_SIZE, pages_total, flags, len(batch), data_pages)
        table_end = self._log.position + RECORD_HEADER.size + len(head) + len(batch) * EXTENT.size
        extents, data = placed(batch, table_end)
        checked = head + b"".join(EXTENT.pack(*extent) for extent in extents)
        self._append(Kind.MEMORY, [checked, *data], checked)
        self._pages += data_pages
        return extents

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
