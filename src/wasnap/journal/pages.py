"""The pages of one memory in one snapshot, on their way into MEMORY records.

Pages come in runs, in order, and may come again in a later call: their content is then written over
the first one, in place. Nothing of a snapshot counts before its COMMIT, so that is allowed, and it
keeps a snapshot small and in one piece whose pages were mostly written while the guest still ran.
What it changes (crcs, and the size of a memory that grew) ``finish`` puts into the records' tables.

An extent is at most 1 MiB, the unit of checking. Data is written straight from the caller's buffers,
at most 8 MiB at a time, so neither all extents nor all data need to be known in advance. Where more
comes after that, the next record has room in its table for extents that are not known yet, and grows
with them: a GiB is then in a few pieces, which can be read about and mapped as quickly as 16 MiB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

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
from wasnap.journal.places import ABSENT, BLOCK, ELSEWHERE, ZERO, Places
from wasnap.journal.sift import CLEAR, REPLACE, STORE, sift
from wasnap.journal.storage import Buffer, Storage, write_all

RECORD_PAGES: Final = 2048
RECORD_EXTENTS: Final = 4096
ROOM_EXTENTS: Final = 1024
"""For so many more, at most, there is room in the table of a record that grows: 32 KiB. It is four
times what there has been, and 0.4 % of its data, so little is wasted on what does not come.
"""
DENSE_EXTENTS: Final = 64
"""At most so many in 8 MiB, or the room would soon be full."""

_UNKNOWN = array("Q", [ELSEWHERE]) * BLOCK
_ZEROS = memoryview(bytes(BLOCK * PAGE_SIZE))

Changed: TypeAlias = tuple[int, Buffer | int]
"""First page and content: a buffer of whole pages, or the number of pages that are zero now."""


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


class _Piece(NamedTuple):
    """A future extent."""

    first_page: int
    data: memoryview


class _Record(msgspec.Struct):
    """A MEMORY record in the file: its number, checked part, and extents that were replaced.

    ``payload``, ``end``: where its payload begins and ends; ``room``: for so many more extents;
    ``grown``: it has not been said yet how far.
    """

    number: int
    checked: bytearray
    pages_total: int
    payload: int
    end: int
    room: int = 0
    grown: bool = False
    stale: set[int] = msgspec.field(default_factory=set)

    def __len__(self) -> int:
        return (len(self.checked) - MEMORY_HEAD.size) // EXTENT.size

    def extent(self, at: int) -> StoredExtent:
        return StoredExtent._make(EXTENT.unpack_from(self.checked, _offset(at)))

    def at(self, position: int) -> int:
        """Which extent the data at that place in the file belongs to."""
        return bisect_right(range(len(self)), position, key=lambda i: self.extent(i).position) - 1


class MemoryPages:
    """One memory in a snapshot that is being written.

    ``known``: the places of its pages in the parent's image, to leave out what is there; None: they
    are not known, and everything is stored. ``full``: there is no parent to think of. Methods raise
    OSError from ``storage`` or ``records``, and ValueError for pages that break the rules.
    """

    def __init__(
        self,
        index: int,
        flags: int,
        storage: Storage,
        records: Records,
        known: Places | None,
        *,
        full: bool,
    ) -> None:
        self._index = index
        self._flags = flags
        self._storage = storage
        self._log = records
        self._known = Places() if full else known
        self._records: list[_Record] = []
        self._data_at: list[int] = []  # where the data of each record begins
        self._batch: list[_Piece] = []
        self._batch_pages = 0
        self._pages_total = 0
        self._extents = 0  # with data
        self.data_pages = 0
        """Pages of data in the file so far."""
        self.placed = Places()
        """Where this snapshot's own pages stand."""

    def write(self, pages: Iterable[Changed], pages_total: int) -> None:
        """``pages``: runs, sorted, disjoint, within ``pages_total``, which never becomes less."""
        if pages_total < self._pages_total:
            raise ValueError(f"{pages_total} pages: it had {self._pages_total} before")
        self._pages_total = pages_total
        for first, content in _checked(pages, pages_total):
            for page, chunk in self._chunks(first, content):
                self._take(page, chunk)
        self._flush()

    def finish(self) -> None:
        """Say what is left to say: which pages are zero now, and what changed in the tables."""
        zeros: list[StoredExtent] = []
        for run in self._zero_runs():
            zeros.append(run)
            if len(zeros) == RECORD_EXTENTS:
                self._append(zeros, [])
                zeros = []
        if zeros or not self._records:
            self._append(zeros, [])
        for record in self._records:
            if record.stale or record.grown or record.pages_total != self._pages_total:
                self._freshen(record)

    def named(self) -> list[StoredExtent]:
        """The extents of all its records."""
        return [record.extent(at) for record in self._records for at in range(len(record))]

    @property
    def size(self) -> int:
        """Of the memory, in pages."""
        return self._pages_total

    def _chunks(self, first: int, content: memoryview | int) -> Iterator[tuple[int, memoryview]]:
        """The run, cut where blocks of places end; zeros only where they might matter."""
        n_pages = content if isinstance(content, int) else len(content) // PAGE_SIZE
        done = 0
        while done < n_pages:
            number, start = divmod(first + done, BLOCK)
            count = min(BLOCK - start, n_pages - done)
            if not isinstance(content, int):
                yield first + done, content[done * PAGE_SIZE : (done + count) * PAGE_SIZE]
            elif self._known is None or number in self._known or number in self.placed:
                yield first + done, _ZEROS[: count * PAGE_SIZE]
            done += count

    def _take(self, first: int, chunk: memoryview) -> None:
        number, start = divmod(first, BLOCK)
        end = start + len(chunk) // PAGE_SIZE
        known = _UNKNOWN if self._known is None else self._known.block(number)
        placed = self.placed.block(number)
        runs = sift(
            chunk,
            None if known is None else known[start:end],
            None if placed is None else placed[start:end],
            self._storage.read,
        )
        for verdict, at, to in runs:
            data = chunk[at * PAGE_SIZE : to * PAGE_SIZE]
            if verdict == STORE:
                self._batch.append(_Piece(first + at, data))
                self._batch_pages += to - at
            elif verdict == REPLACE:
                assert placed is not None
                self._replace(placed[start + at : start + to], data)
            elif verdict == CLEAR:
                self.placed.put(first + at, to - at, ZERO)
            elif placed is not None:
                self.placed.put(first + at, to - at, ABSENT)
        if self._batch_pages >= RECORD_PAGES or len(self._batch) > RECORD_EXTENTS - BLOCK:
            self._flush()

    def _replace(self, places: array[int], data: memoryview) -> None:
        """Write pages over what this snapshot had put there."""
        start = 0
        while start < len(places):
            end = start + 1
            while end < len(places) and places[end] == places[end - 1] + PAGE_SIZE:
                end += 1
            write_all(self._storage, places[start], [data[start * PAGE_SIZE : end * PAGE_SIZE]])
            for position in places[start:end]:
                record = self._records[bisect_right(self._data_at, position) - 1]
                record.stale.add(record.at(position))
            start = end

    def _flush(self) -> None:
        if not self._batch:
            return
        batch, self._batch, self._batch_pages = self._batch, [], 0
        last = self._records[-1] if self._records else None
        grows = last is not None and self._fits(last, batch)
        room = 0
        if last is not None and len(batch) <= DENSE_EXTENTS:
            room = min(ROOM_EXTENTS, 4 * (self._extents + len(batch)), self.data_pages // 2)
        if grows:
            position = self._log.position
        else:
            position = self._data_position(len(batch) + room)
            self._data_at.append(position)
        extents = []
        for first_page, data in batch:
            n_pages = len(data) // PAGE_SIZE
            extents.append(
                StoredExtent(first_page, position, n_pages, len(data), crc32(data), 0, Encoding.RAW)
            )
            position += len(data)
        contents = [piece.data for piece in batch]
        if last is not None and grows:
            self._extend(last, extents, contents)
        else:
            self._append(extents, contents, room)
        self._extents += len(extents)
        for extent in extents:
            self.placed.put(extent.first_page, extent.pages, extent.position)

    def _data_position(self, n_extents: int) -> int:
        """Where the data of a record stands that is written next."""
        table = MEMORY_HEAD.size + n_extents * EXTENT.size
        return align(self._log.position + RECORD_HEADER.size + table, PAGE_SIZE)

    def _fits(self, record: _Record, batch: list[_Piece]) -> bool:
        """Whether these can be added to a record: there is room, and they come after what it has."""
        return (
            record.room >= len(batch)
            and record.end == self._log.position
            and record.extent(len(record) - 1).end <= batch[0].first_page
        )

    def _extend(self, record: _Record, extents: list[StoredExtent], data: list[memoryview]) -> None:
        self._log.extend(data)
        for extent in extents:
            record.checked += EXTENT.pack(*extent)
        record.room -= len(extents)
        record.end = self._log.position
        record.grown = True
        self.data_pages += sum(map(len, data)) // PAGE_SIZE

    def _append(self, extents: list[StoredExtent], data: list[memoryview], room: int = 0) -> None:
        data_pages = sum(map(len, data)) // PAGE_SIZE
        checked = bytearray(self._head(len(extents), data_pages))
        for extent in extents:
            checked += EXTENT.pack(*extent)
        rest: list[Buffer] = []
        payload = self._log.position + RECORD_HEADER.size
        length_max = 0
        if data:
            table_end = payload + len(checked)
            begins = align(table_end + room * EXTENT.size, PAGE_SIZE)
            rest = [bytes(begins - table_end), *data]
            if room:
                length_max = begins - payload + (len(extents) + room) * BLOCK * PAGE_SIZE
        else:
            self._data_at.append(self._log.position)
        number = self._log.append(bytes(checked), rest, length_max)
        end = self._log.position if data else payload + len(checked)
        self._records.append(
            _Record(number, checked, self._pages_total, payload, end, room, grown=room > 0)
        )
        self.data_pages += data_pages

    def _head(self, n_extents: int, data_pages: int) -> bytes:
        return MEMORY_HEAD.pack(
            self._index, PAGE_SIZE, self._pages_total, self._flags, n_extents, data_pages
        )

    def _freshen(self, record: _Record) -> None:
        """Make the record's table right again. What was replaced is read back to be summed up."""
        for at in record.stale:
            extent = record.extent(at)
            crc = crc32(self._storage.read(extent.position, extent.stored))
            EXTENT.pack_into(record.checked, _offset(at), *extent._replace(crc=crc))
        data_pages = sum(record.extent(at).stored for at in range(len(record))) // PAGE_SIZE
        record.checked[: MEMORY_HEAD.size] = self._head(len(record), data_pages)
        record.grown = False
        self._log.rewrite(record.number, bytes(record.checked), record.end - record.payload)

    def _zero_runs(self) -> Iterator[StoredExtent]:
        """Extents of the pages that are zero and were not in the parent."""
        first = end = 0
        for number in self.placed.blocks():
            block = self.placed.block(number)
            assert block is not None
            if ZERO not in block:
                continue
            for at, place in enumerate(block, number * BLOCK):
                if place != ZERO:
                    continue
                if at != end:
                    if end:
                        yield _zero(first, end)
                    first = at
                end = at + 1
        if end:
            yield _zero(first, end)


def _zero(first_page: int, end: int) -> StoredExtent:
    return StoredExtent(first_page, 0, end - first_page, 0, 0, 0, Encoding.ZERO)


def _offset(at: int) -> int:
    return MEMORY_HEAD.size + at * EXTENT.size


def _checked(pages: Iterable[Changed], pages_total: int) -> Iterator[tuple[int, memoryview | int]]:
    free = 0
    for first, content in pages:
        whole: memoryview | int
        if isinstance(content, int):
            whole, n_pages, rest = content, content, 0
        else:
            whole = memoryview(content).cast("B")
            n_pages, rest = divmod(len(whole), PAGE_SIZE)
        if rest or n_pages < 1 or first < free or first + n_pages > pages_total:
            raise ValueError(
                f"pages {first} to {first + n_pages - 1} (and {rest} bytes):"
                f" not whole pages, not in order from {free} on, or not within {pages_total}"
            )
        free = first + n_pages
        yield first, whole
