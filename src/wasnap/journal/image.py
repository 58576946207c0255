"""What a linear memory looked like: extents merged from a snapshot back to the first full one.

Merging goes from the newest record to the oldest and keeps a list of holes, page ranges nobody
has named yet. An extent fills the holes it overlaps; when none are left the rest of the chain
does not matter. What remains is zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from itertools import groupby
from typing import NamedTuple

import msgspec

from wasnap.errors import JournalError
from wasnap.journal import pack
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import (
    EXTENT,
    MEMORY_HEAD,
    MEMORY_IS64,
    MEMORY_SHARED,
    PAGE_SIZE,
    Encoding,
    MemoryHead,
    RecordHeader,
    StoredExtent,
)
from wasnap.journal.storage import Storage

CHUNK = 1 << 20
ZERO_PAGE = bytes(PAGE_SIZE)


class Extent(NamedTuple):
    """A run of pages. ``offset``: where they stand in the journal file, as they are, at a multiple
    of 4096; None: they are zero, or ``packed``: then ``MemoryImage.unpack`` has them.
    """

    first_page: int
    n_pages: int
    offset: int | None
    packed: bool = False


class Block(NamedTuple):
    """What is checked as a whole; see the format document."""

    position: int
    stored: int
    crc: int
    encoding: int


class MemoryTable(NamedTuple):
    """A MEMORY record, decoded."""

    head: MemoryHead
    extents: list[StoredExtent]


class MemoryImage(msgspec.Struct, frozen=True, dict=True):
    """One memory of one snapshot.

    ``parts``: what of the stored extents is seen, sorted; pages that none of them names are zero.
    """

    index: int
    pages_total: int
    is64: bool
    shared: bool
    parts: list[StoredExtent]
    storage: Storage

    @cached_property
    def extents(self) -> list[Extent]:
        """For mapping: pages 0 to ``pages_total`` (4 KiB each) without gaps or overlaps; neighbours
        in memory that are neighbours in the file are one.
        """
        extents: list[Extent] = []
        free = 0
        for part in self.parts:
            if part.first_page > free:
                extents.append(Extent(free, part.first_page - free, None))
            if part.encoding == Encoding.RAW:
                extents.append(
                    Extent(part.first_page, part.pages, part.position + part.skip * PAGE_SIZE)
                )
            else:
                extents.append(Extent(part.first_page, part.pages, None, packed=True))
            free = part.end
        if free < self.pages_total:
            extents.append(Extent(free, self.pages_total - free, None))
        return _joined(extents)

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks that the image needs."""
        return list(dict.fromkeys(map(block_of, self.parts)))

    def read(self, first_page: int, n_pages: int) -> bytes:
        """The pages' content. JournalError if the file is shorter than when it was opened, or a
        compressed block is damaged.
        """
        content: list[bytes | memoryview] = []
        end = min(first_page + n_pages, self.pages_total)
        at = max(bisect_right(self.parts, first_page, key=lambda part: part.first_page) - 1, 0)
        for part in self.parts[at:]:
            if part.first_page >= end:
                break
            if part.end <= first_page:
                continue
            content.append(ZERO_PAGE * (part.first_page - first_page))
            seen = part.part(max(part.first_page, first_page), min(part.end, end))
            content.append(self._content(seen))
            first_page = seen.end
        content.append(ZERO_PAGE * (end - first_page))
        return b"".join(content)

    def content(self) -> Iterator[tuple[int, bytes | memoryview]]:
        """First page and content of all runs of pages that are stored, in no order; the others are
        zero. JournalError as for ``read``.
        """
        step = CHUNK // PAGE_SIZE
        for extent in self.extents:
            if extent.offset is not None:
                end = extent.first_page + extent.n_pages
                for first in range(extent.first_page, end, step):
                    yield first, self.read(first, min(step, end - first))
        yield from self.unpack()

    def unpack(self) -> Iterator[tuple[int, memoryview]]:
        """First page and content of all runs of pages that are stored compressed, in no order.

        They are unpacked on all cores, a few at a time. JournalError if a block is damaged.
        """
        packed = [part for part in self.parts if part.encoding != Encoding.RAW]
        if not packed:
            return
        packed.sort(key=lambda part: part.position)
        groups = [(block, list(parts)) for block, parts in groupby(packed, block_of)]

        def work(group: tuple[Block, list[StoredExtent]]) -> list[tuple[int, memoryview]]:
            block, parts = group
            content = memoryview(unpacked(self.storage, block))
            return [(part.first_page, _cut(content, part)) for part in parts]

        for runs in pack.in_parallel(work, groups):
            yield from runs

    def verify(self, verified: set[Block], tell: Callable[[int], object] | None = None) -> None:
        """Checks the crc of all blocks the image needs. JournalError names the first page that is
        damaged.

        ``verified``: blocks known to be right, which are skipped; those found right are added, and
        their sizes in bytes told.
        """
        unchecked = [block for block in self.blocks if block not in verified]
        crc = partial(stored_crc, self.storage)
        crcs = pack.in_parallel(crc, unchecked) if len(unchecked) > 1 else map(crc, unchecked)
        for block, found in zip(unchecked, crcs, strict=True):
            if found != block.crc:
                part = next(part for part in self.parts if block_of(part) == block)
                raise JournalError(
                    f"memory {self.index}, pages {part.first_page} to {part.end - 1}, is damaged"
                    f" at byte {block.position}"
                )
            verified.add(block)
            if tell is not None:
                tell(block.stored)

    def _content(self, part: StoredExtent) -> bytes | memoryview:
        if part.encoding != Encoding.RAW:
            return _cut(memoryview(unpacked(self.storage, block_of(part))), part)
        size = part.pages * PAGE_SIZE
        data = self.storage.read(part.position + part.skip * PAGE_SIZE, size)
        if len(data) != size:
            raise JournalError(f"memory {self.index}: the journal has become shorter")
        return data


def block_of(part: StoredExtent) -> Block:
    """The block that ``part`` names pages of."""
    return Block(part.position, part.stored, part.crc, part.encoding)


def stored_crc(storage: Storage, block: Block) -> int:
    """The crc of a block as it stands in the file; -1 if it is not all there."""
    crc = 0
    position, end = block.position, block.position + block.stored
    while position < end:
        data = storage.read(position, min(CHUNK, end - position))
        if not data:
            return -1
        crc = crc32(data, crc)
        position += len(data)
    return crc


def unpacked(storage: Storage, block: Block) -> bytes:
    """The pages in a block. JournalError if it is damaged."""
    data = storage.read(block.position, block.stored)
    if len(data) != block.stored or crc32(data) != block.crc:
        raise JournalError(f"the block at byte {block.position} is damaged")
    return data if block.encoding == Encoding.RAW else pack.decompress(data)


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
        first_page, position, pages, stored, _, skip, encoding = extent
        if pages < 1 or first_page < free or position + stored > record.end:
            raise _broken(record)
        if encoding == Encoding.ZERO:
            right = not position and not stored and not skip
        elif encoding == Encoding.RAW:
            whole = not position % PAGE_SIZE and not stored % PAGE_SIZE
            right = whole and position > 0 and (skip + pages) * PAGE_SIZE <= stored
        elif encoding == Encoding.ZSTD:
            right = position > 0 and skip + pages <= pack.BLOCK_PAGES_MAX
        else:
            raise JournalError(
                f"the MEMORY record at byte {record.position} is encoded in a way ({encoding})"
                " that this wasnap does not know"
            )
        if not right:
            raise _broken(record)
        free = first_page + pages
    if free > head.pages_total:
        raise _broken(record)
    return MemoryTable(head, extents)


def merge(index: int, tables: Iterable[MemoryTable], storage: Storage) -> MemoryImage:
    """``tables``: of memory ``index``, newest snapshot first, ending with a full one; at least
    one.
    """
    newest: MemoryHead | None = None
    holes = Holes(0)
    parts: list[StoredExtent] = []
    for head, extents in tables:
        if newest is None:
            newest = head
            holes = Holes(head.pages_total)
        for stored in extents:
            parts += holes.fill(stored)
        if not holes:
            break
    assert newest is not None
    return MemoryImage(
        index,
        newest.pages_total,
        bool(newest.flags & MEMORY_IS64),
        bool(newest.flags & MEMORY_SHARED),
        sorted(part for part in parts if part.position),
        storage,
    )


class Holes:
    """Page ranges that no extent has named yet; at first all of ``pages_total``."""

    def __init__(self, pages_total: int) -> None:
        self._starts = [0] if pages_total else []
        self._ends = [pages_total] if pages_total else []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def fill(self, extent: StoredExtent) -> list[StoredExtent]:
        """Takes ``extent`` out of the holes and returns the parts of it that fill any."""
        starts, ends = self._starts, self._ends
        first, end = extent.first_page, extent.first_page + extent.pages
        at = low = bisect_right(ends, first)
        left_starts: list[int] = []
        left_ends: list[int] = []
        found = []
        while at < len(starts) and starts[at] < end:
            start, stop = max(starts[at], first), min(ends[at], end)
            found.append(extent.part(start, stop))
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


def _joined(extents: list[Extent]) -> list[Extent]:
    """Sorted extents, with those made one that follow each other in memory and in the file."""
    joined: list[Extent] = []
    for extent in extents:
        if joined:
            first, n_pages, offset, packed = joined[-1]
            follows = None if offset is None else offset + n_pages * PAGE_SIZE
            if (follows, packed) == (extent.offset, extent.packed):
                joined[-1] = Extent(first, n_pages + extent.n_pages, offset, packed)
                continue
        joined.append(extent)
    return joined


def _cut(content: memoryview, part: StoredExtent) -> memoryview:
    """The pages of an unpacked block that ``part`` names. JournalError if it has fewer."""
    start, size = part.skip * PAGE_SIZE, part.pages * PAGE_SIZE
    if start + size > len(content):
        raise JournalError(f"the block at byte {part.position} holds too few pages")
    return content[start : start + size]


def _broken(record: RecordHeader) -> JournalError:
    return JournalError(f"the MEMORY record at byte {record.position} does not follow the format")
