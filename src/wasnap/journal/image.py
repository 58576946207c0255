"""What a linear memory looked like: extents merged from a snapshot back to the first full one.

Merging goes from the newest record to the oldest and keeps a list of holes, page ranges nobody
has named yet. An extent fills the holes it overlaps; when none are left the rest of the chain
does not matter. What remains is zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from wasnap.errors import JournalError
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
    EXTENT,
    MEMORY_HEAD,
    MEMORY_IS64,
    MEMORY_SHARED,
    PAGE_SIZE,
    MemoryHead,
    RecordHeader,
    StoredExtent,
)
from wasnap.journal.storage import Storage

CHUNK = 1 << 20
ZERO_PAGE = bytes(PAGE_SIZE)


class Extent(NamedTuple):
    """A run of pages; ``offset`` is where they stand in the journal file, None where they are
    zero.
    """

    first_page: int
    n_pages: int
    offset: int | None


class MemoryTable(NamedTuple):
    """A MEMORY record, decoded."""

    head: MemoryHead
    extents: list[StoredExtent]


@dataclass(frozen=True)
class MemoryImage:
    """One memory of one snapshot.

    ``extents`` are sorted and cover pages 0 to ``pages_total`` (4 KiB each) without gaps or
    overlaps; ``sources`` are the stored extents their data comes from.
    """

    index: int
    pages_total: int
    is64: bool
    shared: bool
    extents: list[Extent]
    sources: list[StoredExtent]
    storage: Storage

    def read(self, first_page: int, n_pages: int) -> bytes:
        """The pages' content. JournalError if the file is shorter than when it was opened."""
        parts = []
        end = min(first_page + n_pages, self.pages_total)
        at = bisect_right(self.extents, first_page, key=lambda extent: extent.first_page) - 1
        while first_page < end:
            extent = self.extents[at]
            count = min(end, extent.first_page + extent.n_pages) - first_page
            if extent.offset is None:
                parts.append(ZERO_PAGE * count)
            else:
                offset = extent.offset + (first_page - extent.first_page) * PAGE_SIZE
                data = self.storage.read(offset, count * PAGE_SIZE)
                if len(data) != count * PAGE_SIZE:
                    raise JournalError(f"memory {self.index}: the journal has become shorter")
                parts.append(data)
            first_page += count
            at += 1
        return b"".join(parts)

    def verify(self, verified: set[StoredExtent]) -> None:
        """Checks the crc of all data the image uses. JournalError names the first page that is
        damaged.

        ``verified``: extents known to be right, which are skipped; those found right are added.
        """
        for source in self.sources:
            if source in verified:
                continue
            if _data_crc(self.storage, source) != source.data_crc:
                last = source.first_page + source.pages - 1
                raise JournalError(
                    f"memory {self.index}, pages {source.first_page} to {last}, is damaged"
                    f" at byte {source.position}"
                )
            verified.add(source)


def decode_memory(payload: bytes, record: RecordHeader) -> MemoryTable:
    """``payload``: the checked part of a MEMORY record. JournalError if it breaks a rule of the
    format.
    """
    head = MemoryHead._make(MEMORY_HEAD.unpack_from(payload.ljust(MEMORY_HEAD.size, b"\0")))
    wanted = MEMORY_HEAD.size + head.extents * EXTENT.size
    if head.page_size != PAGE_SIZE or len(payload) != wanted:
        raise _broken(record)
    extents = [StoredExtent._make(e) for e in EXTENT.iter_unpack(payload[MEMORY_HEAD.size :])]
    free = 0
    for extent in extents:
        if extent.pages < 1 or extent.first_page < free or extent.position % PAGE_SIZE:
            raise _broken(record)
        if extent.position and extent.position + extent.pages * PAGE_SIZE > record.end:
            raise _broken(record)
        free = extent.first_page + extent.pages
    if free > head.pages_total:
        raise _broken(record)
    return MemoryTable(head, extents)


def merge(index: int, tables: Iterable[MemoryTable], storage: Storage) -> MemoryImage:
    """``tables``: of memory ``index``, newest snapshot first, ending with a full one; at least
    one.
    """
    starts: list[int] = []
    ends: list[int] = []
    newest: MemoryHead | None = None
    pieces: list[Extent] = []
    sources: list[StoredExtent] = []
    for head, extents in tables:
        if newest is None:
            newest = head
            if head.pages_total:
                starts, ends = [0], [head.pages_total]
        for stored in extents:
            found = _fill(starts, ends, stored)
            if found and stored.position:
                sources.append(stored)
            pieces += found
        if not starts:
            break
    assert newest is not None
    pieces += [Extent(start, end - start, None) for start, end in zip(starts, ends, strict=True)]
    return MemoryImage(
        index,
        newest.pages_total,
        bool(newest.flags & MEMORY_IS64),
        bool(newest.flags & MEMORY_SHARED),
        _join(sorted(pieces)),
        sources,
        storage,
    )


def _fill(starts: list[int], ends: list[int], stored: StoredExtent) -> list[Extent]:
    """Takes ``stored`` out of the holes [starts[i], ends[i]) and returns the parts it fills."""
    first, end = stored.first_page, stored.first_page + stored.pages
    at = low = bisect_right(ends, first)
    left_starts: list[int] = []
    left_ends: list[int] = []
    found = []
    while at < len(starts) and starts[at] < end:
        start, stop = max(starts[at], first), min(ends[at], end)
        offset = stored.position + (start - first) * PAGE_SIZE if stored.position else None
        found.append(Extent(start, stop - start, offset))
        if starts[at] < start:
            left_starts.append(starts[at])
            left_ends.append(start)
        if stop < ends[at]:
            left_starts.append(stop)
            left_ends.append(ends[at])
        at += 1
    if found:
        starts[low:at] = left_starts
        ends[low:at] = left_ends
    return found


def _join(pieces: list[Extent]) -> list[Extent]:
    """Sorted pieces, with those made one that follow each other in memory and in the file."""
    joined: list[Extent] = []
    for piece in pieces:
        if joined:
            first, n_pages, offset = joined[-1]
            follows = None if offset is None else offset + n_pages * PAGE_SIZE
            if follows == piece.offset:
                joined[-1] = Extent(first, n_pages + piece.n_pages, offset)
                continue
        joined.append(piece)
    return joined


def _data_crc(storage: Storage, source: StoredExtent) -> int:
    """The crc of an extent's data as it stands in the file; -1 if it is not all there."""
    crc = 0
    position, end = source.position, source.position + source.pages * PAGE_SIZE
    while position < end:
        data = storage.read(position, min(CHUNK, end - position))
        if not data:
            return -1
        crc = crc32(data, crc)
        position += len(data)
    return crc


def _broken(record: RecordHeader) -> JournalError:
    return JournalError(f"the MEMORY record at byte {record.position} does not follow the format")
