"""What a linear memory looked like: extents merged from a snapshot back to the first full one.

Merging goes from the newest record to the oldest and keeps a list of holes, page ranges nobody
has named yet. An extent fills the holes it overlaps; when none are left the rest of the chain
does not matter. What remains is zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import NamedTuple, TypeAlias, overload

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
    ZERO_PAGE,
    Encoding,
    MemoryHead,
    RecordHeader,
    StoredExtent,
)
from wasnap.journal.storage import Storage

CHUNK = 1 << 20
SHORT_PAGES = 16
"""Runs of fewer pages are read, rather than mapped, when an image is put into place."""


class Extent(NamedTuple):
    """A run of pages. ``offset``: where they stand in the journal file, as they are; None: they are
    zero, or ``packed``: then ``MemoryImage.unpack`` has them.
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


Run: TypeAlias = tuple[int, int, int | None, bool]
"""Extents that follow each other in memory and in the file, as one: the first page, the first one
behind them, and where they stand. None: they are zero, or, if the last one is true, packed.
"""


class Layers(NamedTuple):
    """What an image is made of. ``extents``: sorted, without overlaps; what they do not name is zero.

    ``pages``: single ones that lie over them, by number: where they stand in the file; at 0: they
    are zero.
    """

    extents: list[Extent]
    pages: dict[int, int]


class Extents(Sequence[StoredExtent]):
    """Of a MEMORY record, each made when it is looked at. ``runs``: what they amount to; a GiB that
    was written at once has nine times as many extents.
    """

    def __init__(self, data: bytes, runs: list[Run]) -> None:
        """``data``: their table, which follows the format."""
        self._data = data
        self.runs = runs
        self.packed = any(run[3] for run in runs)
        """Whether any is."""

    def __len__(self) -> int:
        return len(self._data) // EXTENT.size

    def __iter__(self) -> Iterator[StoredExtent]:
        return map(StoredExtent._make, EXTENT.iter_unpack(self._data))

    @overload
    def __getitem__(self, at: int, /) -> StoredExtent: ...
    @overload
    def __getitem__(self, at: slice, /) -> list[StoredExtent]: ...
    def __getitem__(self, at: int | slice, /) -> StoredExtent | list[StoredExtent]:
        return list(self)[at]


class MemoryTable(NamedTuple):
    """A MEMORY record, decoded."""

    head: MemoryHead
    extents: Extents


class MemoryImage(msgspec.Struct, frozen=True, dict=True):
    """One memory of one snapshot. ``tables``: newest first."""

    index: int
    pages_total: int
    is64: bool
    shared: bool
    tables: list[MemoryTable]
    storage: Storage

    @cached_property
    def parts(self) -> list[StoredExtent]:
        """What of the stored extents is seen, sorted; pages that none of them names are zero."""
        holes = Holes(self.pages_total)
        parts: list[StoredExtent] = []
        for table in self.tables:
            for extent in table.extents:
                parts += holes.fill(extent)
            if not holes:
                break
        return sorted(part for part in parts if part.position)

    @cached_property
    def extents(self) -> list[Extent]:
        """For mapping: pages 0 to ``pages_total`` (4 KiB each) without gaps or overlaps; neighbours
        in memory that are neighbours in the file are one.
        """
        holes = Holes(self.pages_total)
        seen: list[Run] = []
        for table in self.tables:
            seen += holes.fill_runs(table.extents.runs)
            if not holes:
                break
        seen.sort()
        extents: list[Extent] = []
        free = 0
        follows = -1
        for first, end, offset, packed in seen:
            if offset is None and not packed:
                continue
            if first > free:
                extents.append(Extent(free, first - free, None))
            elif offset == follows or (offset is None and extents and extents[-1].packed):
                last = extents[-1]
                first = last.first_page
                offset = last.offset
                del extents[-1]
            extents.append(Extent(first, end - first, offset, packed))
            free = end
            follows = -1 if offset is None else offset + (end - first) * PAGE_SIZE
        if free < self.pages_total:
            extents.append(Extent(free, self.pages_total - free, None))
        return extents

    def layers(self) -> Layers:
        """For mapping, quickly: short runs lie over the extents instead of cutting them to pieces."""
        pages: dict[int, int] = {}
        for table in reversed(self.tables):
            for first, end, offset, packed in table.extents.runs:
                if end - first == 1 and not packed:
                    pages[first] = offset or 0
                elif end - first < SHORT_PAGES and not packed:
                    for page in range(first, end):
                        pages[page] = (offset and offset + (page - first) * PAGE_SIZE) or 0
                elif pages:
                    _leave_out(pages, first, end)
        holes = Holes(self.pages_total)
        seen: list[Run] = []
        for table in self.tables:
            runs = table.extents.runs
            long = [run for run in runs if run[1] - run[0] >= SHORT_PAGES or run[3]]
            seen += holes.fill_runs(long)
            if not holes:
                break
        seen.sort()
        extents = [
            Extent(first, end - first, offset, packed)
            for first, end, offset, packed in seen
            if packed or offset is not None
        ]
        return Layers(extents, pages)

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
        if not any(table.extents.packed for table in self.tables):
            return
        packed = [part for part in self.parts if part.encoding != Encoding.RAW]
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
    runs: list[Run] = []
    data = payload[MEMORY_HEAD.size :]
    raw = int(Encoding.RAW)
    limit = record.end
    free = goes_on = (
        0  # where the last extent ends: in memory; in the file, if it was raw and whole
    )
    begun, offset = 0, -1  # where the run began that it belongs to
    for first_page, position, pages, stored, _, skip, encoding in EXTENT.iter_unpack(data):
        whole = encoding == raw and not skip and stored == pages * PAGE_SIZE
        if whole and first_page == free and position == goes_on and position and pages:
            free += pages
            goes_on += stored
            continue
        if goes_on > limit or pages < 1 or first_page < free or position + stored > limit:
            raise _broken(record)
        if offset >= 0:
            runs.append((begun, free, offset, False))
            offset = -1
        goes_on = 0
        free = first_page + pages
        if encoding == raw:
            if stored % PAGE_SIZE or not position or (skip + pages) * PAGE_SIZE > stored:
                raise _broken(record)
            begun, offset = first_page, position + skip * PAGE_SIZE
            goes_on = position + stored if whole else 0
        elif encoding == Encoding.ZERO:
            if position or stored or skip:
                raise _broken(record)
            runs.append((first_page, free, None, False))
        elif encoding == Encoding.ZSTD:
            if not position or skip + pages > pack.BLOCK_PAGES_MAX:
                raise _broken(record)
            runs.append((first_page, free, None, True))
        else:
            raise JournalError(
                f"the MEMORY record at byte {record.position} is encoded in a way ({encoding})"
                " that this wasnap does not know"
            )
    if offset >= 0:
        runs.append((begun, free, offset, False))
    if goes_on > limit or free > head.pages_total:
        raise _broken(record)
    return MemoryTable(head, Extents(data, runs))


def merge(index: int, tables: list[MemoryTable], storage: Storage) -> MemoryImage:
    """``tables``: of memory ``index``, newest snapshot first, ending with a full one; at least
    one.
    """
    newest = tables[0].head
    return MemoryImage(
        index,
        newest.pages_total,
        bool(newest.flags & MEMORY_IS64),
        bool(newest.flags & MEMORY_SHARED),
        tables,
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

    def fill_runs(self, runs: Sequence[Run]) -> list[Run]:
        """As ``fill``, for many at once: sorted, and none overlaps another."""
        if not runs or not self:
            return []
        starts, ends = self._starts, self._ends
        low = at = bisect_right(ends, runs[0][0])
        left_starts: list[int] = []
        left_ends: list[int] = []
        found: list[Run] = []
        count = len(starts)
        start = starts[at] if at < count else 0  # of what is left of the hole
        for run in runs:
            first, end, offset, packed = run
            while at < count and ends[at] <= first:
                left_starts.append(start)
                left_ends.append(ends[at])
                at += 1
                start = starts[at] if at < count else 0
            while at < count and start < end:
                hole_end = ends[at]
                seen, stop = max(start, first), min(hole_end, end)
                if seen == first and stop == end:
                    found.append(run)
                else:
                    moved = None if offset is None else offset + (seen - first) * PAGE_SIZE
                    found.append((seen, stop, moved, packed))
                if start < seen:
                    left_starts.append(start)
                    left_ends.append(seen)
                start = stop
                if stop < hole_end:
                    break
                at += 1
                start = starts[at] if at < count else 0
        if at < count:
            left_starts.append(start)
            left_ends.append(ends[at])
            at += 1
        starts[low:at] = left_starts
        ends[low:at] = left_ends
        return found


def _leave_out(pages: dict[int, int], first: int, end: int) -> None:
    """Take a range out of single pages."""
    for page in range(first, end) if end - first < len(pages) else list(pages):
        if first <= page < end:
            pages.pop(page, None)


def _cut(content: memoryview, part: StoredExtent) -> memoryview:
    """The pages of an unpacked block that ``part`` names. JournalError if it has fewer."""
    start, size = part.skip * PAGE_SIZE, part.pages * PAGE_SIZE
    if start + size > len(content):
        raise JournalError(f"the block at byte {part.position} holds too few pages")
    return content[start : start + size]


def _broken(record: RecordHeader) -> JournalError:
    return JournalError(f"the MEMORY record at byte {record.position} does not follow the format")
