"""The MEMORY records of one memory in one snapshot, while they are written.

Data comes a batch at a time, at most about 8 MiB, so that neither all extents nor all data need to be
known in advance. Where more comes after the first batch, the next record has room in its table for
extents that are not known yet, and grows with them: a GiB is then in a few pieces, which can be read
about and mapped as quickly as 16 MiB.

What cannot be known when a record is written (how far it grew, the crcs of pages that were replaced,
the size of a memory that grew) ``finish`` puts into the tables. Nothing of a snapshot counts before
its COMMIT, so that is allowed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from wasnap.journal.batches import CHUNK_PAGES, Piece, placed
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
    EXTENT,
    MEMORY_HEAD,
    PAGE_SIZE,
    RECORD_HEADER,
    Encoding,
    StoredExtent,
    align,
)
from wasnap.journal.storage import Buffer, Storage

ROOM_EXTENTS: Final = 1024
"""For so many more, at most, there is room in the table of a record that grows: 32 KiB. It is four
times what there has been, and 0.4 % of its data, so little is wasted on what does not come.
"""
BLOCK_BYTES: Final = CHUNK_PAGES * PAGE_SIZE
"""The most that a raw block has."""

MAPPABLE_PAGES: Final = 128
"""The blocks of a record that holds fewer are not aligned: what that takes, 2 KiB in the mean, would
be more than all the rest that a small snapshot needs beside its pages, and reading so few is as quick
as mapping them.
"""

DENSE_EXTENTS: Final = 64
"""At most so many in 8 MiB, or the room would soon be full."""


class Records(Protocol):
    """Where records go: the snapshot's writer."""

    @property
    def position(self) -> int:
        """Of the next record."""
        ...

    def append(self, checked: bytes, rest: Sequence[Buffer], length_max: int) -> int:
        """Write a MEMORY record, whose payload is both; its number in the snapshot.

        ``length_max``: if it is to grow, of its payload; else 0.
        """
        ...

    def extend(self, rest: Sequence[Buffer]) -> None:
        """Add whole pages to the last record."""
        ...

    def rewrite(self, number: int, checked: bytes, length: int) -> None:
        """Put another checked part into a record that is written, and say how long it is."""
        ...


class _Record(msgspec.Struct):
    """A MEMORY record in the file: its number, checked part, and extents that were replaced.

    ``data_pages``: that it holds itself; ``payload``, ``end``: where its payload begins and ends;
    ``room``: for so many more extents; ``grown``: it has not been said yet how far.
    """

    number: int
    checked: bytearray
    pages_total: int
    data_pages: int
    payload: int
    end: int
    room: int
    grown: bool = False
    stale: set[int] = msgspec.field(default_factory=set)

    def __len__(self) -> int:
        return (len(self.checked) - MEMORY_HEAD.size) // EXTENT.size

    def extent(self, at: int) -> StoredExtent:
        return StoredExtent._make(EXTENT.unpack_from(self.checked, _offset(at)))

    def at(self, position: int) -> int:
        """Which extent the data at that place in the file belongs to, all of them being raw."""
        return bisect_right(range(len(self)), position, key=lambda i: self.extent(i).position) - 1


class MemoryRecords:
    """Of one memory in one snapshot. Methods raise OSError from ``storage`` or ``log``."""

    def __init__(self, index: int, flags: int, storage: Storage, log: Records) -> None:
        self._index = index
        self._flags = flags
        self._storage = storage
        self._log = log
        self._records: list[_Record] = []
        self._begins: list[int] = []
        self._blocks = 0
        self.data_pages = 0
        """Pages of data in the file so far."""

    def __len__(self) -> int:
        return len(self._records)

    def add(self, batch: list[Piece], pages_total: int) -> list[StoredExtent]:
        """Write pieces, sorted by page; their extents. ``pages_total``: of the memory, now."""
        blocks = [piece for piece in batch if piece.data is not None]
        data_pages = sum(piece.n_pages for piece in blocks)
        plain = all(piece.encoding == Encoding.RAW for piece in blocks)
        last = self._records[-1] if self._records else None
        if last is not None and plain and self._fits(last, batch):
            extents = self._extend(last, batch, data_pages)
        else:
            room = 0
            if last is not None and blocks and plain and len(batch) <= DENSE_EXTENTS:
                room = min(ROOM_EXTENTS, 4 * (self._blocks + len(batch)), self.data_pages // 2)
            extents = self._append(batch, data_pages, pages_total, room)
        self._blocks += len(blocks)
        self.data_pages += data_pages
        return extents

    def replaced(self, position: int) -> None:
        """The page that stands there in the file, raw like all that was added, is another one now."""
        record = self._records[bisect_right(self._begins, position) - 1]
        record.stale.add(record.at(position))

    def finish(self, pages_total: int) -> None:
        """Put into the tables what was not known when they were written."""
        for record in self._records:
            if record.stale or record.grown or record.pages_total != pages_total:
                self._freshen(record, pages_total)

    def named(self) -> list[StoredExtent]:
        """The extents of all records."""
        return [record.extent(at) for record in self._records for at in range(len(record))]

    def _fits(self, record: _Record, batch: list[Piece]) -> bool:
        """Whether these can be added to it: there is room, and they come after what it has."""
        return (
            record.room >= len(batch) > 0
            and record.end == self._log.position
            and record.extent(len(record) - 1).end <= batch[0].first_page
        )

    def _extend(self, record: _Record, batch: list[Piece], data_pages: int) -> list[StoredExtent]:
        extents, data = placed(batch, record.end)
        self._log.extend(data)
        record.checked += _table(extents)
        record.data_pages += data_pages
        record.room -= len(extents)
        record.end = self._log.position
        record.grown = True
        return extents

    def _append(
        self, batch: list[Piece], data_pages: int, pages_total: int, room: int
    ) -> list[StoredExtent]:
        begins = self._log.position
        payload = begins + RECORD_HEADER.size
        table_end = payload + MEMORY_HEAD.size + len(batch) * EXTENT.size
        data_at = table_end + room * EXTENT.size
        unit = 1 if not room and data_pages < MAPPABLE_PAGES else PAGE_SIZE
        extents, data = placed(batch, data_at, unit)
        checked = self._head(len(batch), data_pages, pages_total) + _table(extents)
        length_max = 0
        if room:
            length_max = align(data_at, PAGE_SIZE) - payload + (len(batch) + room) * BLOCK_BYTES
            data = [bytes(data_at - table_end), *data]
        number = self._log.append(checked, data, length_max)
        end = table_end + sum(map(len, data))
        self._begins.append(begins)
        self._records.append(
            _Record(
                number, bytearray(checked), pages_total, data_pages, payload, end, room, room > 0
            )
        )
        return extents

    def _head(self, n_extents: int, data_pages: int, pages_total: int) -> bytes:
        return MEMORY_HEAD.pack(
            self._index, PAGE_SIZE, pages_total, self._flags, n_extents, data_pages
        )

    def _freshen(self, record: _Record, pages_total: int) -> None:
        """Make the record's table right again. What was replaced is read back to be summed up."""
        for at in record.stale:
            extent = record.extent(at)
            crc = crc32(self._storage.read(extent.position, extent.stored))
            EXTENT.pack_into(record.checked, _offset(at), *extent._replace(crc=crc))
        head = self._head(len(record), record.data_pages, pages_total)
        record.checked[: MEMORY_HEAD.size] = head
        self._log.rewrite(record.number, bytes(record.checked), record.end - record.payload)
        record.stale.clear()
        record.grown = False
        record.pages_total = pages_total


def _table(extents: list[StoredExtent]) -> bytes:
    return b"".join(EXTENT.pack(*extent) for extent in extents)


def _offset(at: int) -> int:
    return MEMORY_HEAD.size + at * EXTENT.size
