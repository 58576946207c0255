"""The pages of one memory on their way from one journal to another, each of them once.

A snapshot's pages are taken from its image in the old file. What is at the same place as in its
parent's image is as there. Of the rest, what was written for another snapshot before is named where
it stands now (``Moved``); what is as in the parent after all, seen byte by byte, is left out; and
all that remains is joined to runs in the order of memory, however scattered it was: so a whole
image becomes few long pieces, which a resume can map.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wasnap.journal.batches import CHUNK_PAGES, Pages
from wasnap.journal.image import Block, MemoryImage, block_of
from wasnap.journal.layout import PAGE_SIZE, StoredExtent
from wasnap.journal.tools.diff import unlike


class Run(NamedTuple):
    """Pages ``first`` to ``end`` (not included). ``held``: where the new file has them; else they
    are ``zero``, or have to be stored."""

    first: int
    end: int
    held: StoredExtent | None = None
    zero: bool = False


class Moved:
    """Where pages of the old file's blocks stand in the new one."""

    def __init__(self) -> None:
        self._blocks: dict[Block, list[tuple[int, StoredExtent]]] = {}

    def add(self, image: MemoryImage, written: Iterable[StoredExtent]) -> None:
        """``written``: extents of the new file, sorted, that hold pages of the old ``image``."""
        for new in written:
            for old in _parts(image.parts, new.first_page, new.end):
                place = new.part(old.first_page, old.end)
                insort(self._blocks.setdefault(block_of(old), []), (old.skip, place))

    def find(self, old: StoredExtent) -> Iterator[Run]:
        """The pages ``old``, in order."""
        shift = old.first_page - old.skip  # from a page of the block to one of the memory
        at, end = old.skip, old.skip + old.pages
        for first, place in self._blocks.get(block_of(old), ()):
            start, stop = max(first, at), min(first + place.pages, end)
            if start >= stop:
                continue
            if at < start:
                yield Run(at + shift, start + shift)
            skip = place.skip + start - first
            held = place._replace(first_page=start + shift, pages=stop - start, skip=skip)
            yield Run(held.first_page, held.end, held)
            at = stop
        if at < end:
            yield Run(at + shift, end + shift)


def pages(image: MemoryImage, before: MemoryImage | None, moved: Moved) -> Iterator[Pages]:
    """What ``SnapshotWriter.memory`` has to be given for ``image``, if its parent has ``before``."""
    for run in _joined(_runs(image, before, moved)):
        if run.held is not None:
            yield run.first, run.held
        elif run.zero:
            yield run.first, run.end - run.first
        else:
            first = run.first
            while first < run.end:
                count = min(CHUNK_PAGES - first % CHUNK_PAGES, run.end - first)
                yield from _content(image, before, first, count)
                first += count


def _runs(image: MemoryImage, before: MemoryImage | None, moved: Moved) -> Iterator[Run]:
    """Pages that stand elsewhere than in ``before``."""
    for first, end in unlike([] if before is None else before.parts, image.parts):
        for part in _parts(image.parts, first, end):
            if first < part.first_page:
                yield Run(first, part.first_page, zero=True)
            yield from moved.find(part)
            first = part.end
        if first < end:
            yield Run(first, end, zero=True)


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    """Those that have to be stored, as long as they can be."""
    last: Run | None = None
    for run in runs:
        plain = run.held is None and not run.zero
        if last is not None and plain and last.end == run.first:
            last = Run(last.first, run.end)
            continue
        if last is not None:
            yield last
        last = run if plain else None
        if not plain:
            yield run
    if last is not None:
        yield last


def _content(
    image: MemoryImage, before: MemoryImage | None, first: int, count: int
) -> Iterator[Pages]:
    """The pages, without those that are as before."""
    now = memoryview(image.read(first, count))
    old = b"" if before is None else before.read(first, count)
    if not old:
        yield first, now
        return
    old = old.ljust(len(now), b"\0")
    start = 0
    for at in range(count + 1):
        here = slice(at * PAGE_SIZE, (at + 1) * PAGE_SIZE)
        if at == count or now[here] == old[here]:
            if start < at:
                yield first + start, now[start * PAGE_SIZE : at * PAGE_SIZE]
            start = at + 1


def _parts(parts: list[StoredExtent], first: int, end: int) -> Iterator[StoredExtent]:
    """What of sorted ``parts`` is among the pages ``first`` to ``end``."""
    at = max(bisect_right(parts, first, key=lambda part: part.first_page) - 1, 0)
    for part in parts[at:]:
        if part.first_page >= end:
            break
        if part.end > first:
            yield part.part(max(part.first_page, first), min(part.end, end))
