"""The arena: pages of this process's memory that hold what in-memory directories contain.

A snapshot saves it like one more memory of the guest: the pages that were written since the last
snapshot, and no others. Nothing is compared to find them, because every write to the arena is ours:
``touch`` says so.

Pages have numbers. One that is given back is zero at once, and is taken again before the arena
grows; the arena never shrinks. Which pages are in use is not saved: whoever has pages says so when
it is restored (``claim``), and the others are free (``settle``).

Invariant: a free page is zero.
"""

from __future__ import annotations

import mmap
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from ...errors import CannotResume

PAGE: Final = 4096
_CHUNK: Final = 1 << 14
"""Pages in one mapping (64 MiB): the kernel gives memory only where it is written."""
_DISCARD_MIN: Final = 64
"""From so many pages on they are given to the kernel, which makes them zero."""
_DISCARD: Final = sys.platform.startswith("linux") and mmap.PAGESIZE == PAGE

Run: TypeAlias = tuple[int, int]
"""First page, number of pages."""

Span: TypeAlias = tuple[int, int]
"""First page, the first one behind it."""


class Arena:
    """Pages, by number from 0 to ``total``."""

    def __init__(self) -> None:
        self.total = 0
        self._chunks: list[mmap.mmap] = []
        self._views: list[memoryview] = []
        self._free = _Runs()
        self._claimed = _Runs()
        self._dirty: set[int] = set()

    # -- pages in use -----------------------------------------------------------------------

    def take(self, count: int, near: int = -1) -> Iterator[Run]:
        """``count`` pages, all zero, in runs; from page ``near`` on if that is free."""
        while count:
            first, n = self._free.take(count, near) or self._grow(count)
            yield first, n
            count -= n
            near = first + n

    def give(self, first: int, count: int) -> None:
        """Give pages back."""
        for chunk, at, n in _pieces(first, count):
            if n >= _DISCARD_MIN and _DISCARD:
                self._chunks[chunk].madvise(mmap.MADV_DONTNEED, at * PAGE, n * PAGE)
            else:
                self._views[chunk][at * PAGE : (at + n) * PAGE] = bytes(n * PAGE)
        self._dirty.update(range(first, first + count))
        self._free.add(first, count)

    def views(self, first: int, count: int) -> Iterator[memoryview]:
        """The pages' bytes, writable, one piece for each mapping they lie in. ``touch`` them!"""
        for chunk, at, n in _pieces(first, count):
            yield self._views[chunk][at * PAGE : (at + n) * PAGE]

    def touch(self, first: int, count: int) -> None:
        """These pages are being written."""
        self._dirty.update(range(first, first + count))

    def _grow(self, count: int) -> Run:
        first = self.total
        self._reserve(first + count)
        self.total = first + count
        return first, count

    def _reserve(self, total: int) -> None:
        while len(self._chunks) * _CHUNK < total:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
            chunk = mmap.mmap(-1, _CHUNK * PAGE, flags=flags)
            self._chunks.append(chunk)
            self._views.append(memoryview(chunk))

    # -- snapshots --------------------------------------------------------------------------

    def written(self) -> list[Span]:
        """Sorted runs of pages that were written to, or given back, since this was last asked."""
        spans: list[Span] = []
        for page in sorted(self._dirty):
            if spans and spans[-1][1] == page:
                spans[-1] = (spans[-1][0], page + 1)
            else:
                spans.append((page, page + 1))
        self._dirty = set()
        return spans

    def __len__(self) -> int:
        """In bytes."""
        return self.total * PAGE

    def __getitem__(self, where: slice, /) -> memoryview:
        """Whole pages, by their bytes: in place, or a copy if they lie in several mappings."""
        first, end = where.start // PAGE, where.stop // PAGE
        views = list(self.views(first, end - first))
        return views[0] if len(views) == 1 else memoryview(b"".join(views))

    @classmethod
    def load(cls, total: int, saved: Iterable[tuple[int, bytes | memoryview]]) -> Arena:
        """The arena of a snapshot, from its size and runs of its pages (the first one's number,
        content); the others are zero. Then each owner must ``claim`` its pages, and ``settle``
        comes last.
        """
        arena = cls()
        arena._reserve(total)
        arena.total = total
        for first, content in saved:
            left = memoryview(content)
            for view in arena.views(first, len(left) // PAGE):
                view[:] = left[: len(view)]
                left = left[len(view) :]
        return arena

    def claim(self, first: int, count: int) -> None:
        """After ``load``: these pages are in use. Raises CannotResume if they are by another."""
        if first < 0 or count < 1 or first + count > self.total:
            raise _inconsistent()
        if any(taken for _, _, taken in self._claimed.split(first, count)):
            raise _inconsistent()
        self._claimed.add(first, count)

    def settle(self) -> None:
        """After all claims: the other pages are free."""
        for first, count, claimed in list(self._claimed.split(0, self.total)):
            if not claimed:
                self._free.add(first, count)
        self._claimed = _Runs()

    def close(self) -> None:
        """Free the memory. Windows of it must be gone."""
        for view in self._views:
            view.release()
        for chunk in self._chunks:
            chunk.close()
        self._views, self._chunks = [], []


class _Runs:
    """A set of pages as sorted runs that neither overlap nor touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, first: int, count: int) -> None:
        """Pages that are not in it yet."""
        end = first + count
        at = bisect_left(self._starts, first)
        joins_left = at > 0 and self._ends[at - 1] == first
        joins_right = at < len(self._starts) and self._starts[at] == end
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_left:
            self._ends[at - 1] = end
        elif joins_right:
            self._starts[at] = first
        else:
            self._starts.insert(at, first)
            self._ends.insert(at, end)

    def take(self, count: int, near: int) -> Run | None:
        """At most ``count`` pages in one run, from ``near`` if that is in it; None if empty."""
        if not self._starts:
            return None
        at = bisect_right(self._starts, near) - 1
        if at < 0 or near >= self._ends[at]:
            at, near = -1, self._starts[-1]
        start, end = self._starts[at], self._ends[at]
        stop = min(end, near + count)
        pieces = [(a, b) for a, b in ((start, near), (stop, end)) if a < b]
        at %= len(self._starts)
        self._starts[at : at + 1] = [a for a, _ in pieces]
        self._ends[at : at + 1] = [b for _, b in pieces]
        return near, stop - near

    def split(self, first: int, count: int) -> Iterator[tuple[int, int, bool]]:
        """The runs of pages in this range that are all in it, or all not: first, count, which."""
        end = first + count
        at = bisect_right(self._ends, first)
        while first < end:
            start = self._starts[at] if at < len(self._starts) else end
            if first < start:
                stop = min(start, end)
                yield first, stop - first, False
            else:
                stop = min(self._ends[at], end)
                yield first, stop - first, True
                at += 1
            first = stop


def _pieces(first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Which chunks they lie in: its number, the first page there, how many."""
    while count:
        chunk, at = divmod(first, _CHUNK)
        n = min(count, _CHUNK - at)
        yield chunk, at, n
        first += n
        count -= n


def _inconsistent() -> CannotResume:
    return CannotResume(
        "the content of an in-memory directory is inconsistent", "wasnap journal verify tells more"
    )
