"""The pages of one memory in one snapshot, on their way into MEMORY records.

Pages come in runs, in order, and may come again in a later call: their content is then written over
the first one, in place. Nothing of a snapshot counts before its COMMIT, so that is allowed, and it
keeps a snapshot small and in one piece whose pages were mostly written while the guest still ran.
What it changes ``finish`` puts into the records' tables.

An extent is at most 1 MiB, the unit of checking. Data is written straight from the caller's buffers,
at most 8 MiB at a time (growing.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from wasnap.journal.batches import BATCH_EXTENTS, BATCH_PAGES, Piece, raw, zero
from wasnap.journal.growing import MemoryRecords, Records
from wasnap.journal.layout import PAGE_SIZE, StoredExtent
from wasnap.journal.places import ABSENT, BLOCK, ELSEWHERE, ZERO, Places
from wasnap.journal.sift import CLEAR, REPLACE, STORE, sift
from wasnap.journal.storage import Buffer, Storage, write_all

_UNKNOWN = array("Q", [ELSEWHERE]) * BLOCK
_ZEROS = memoryview(bytes(BLOCK * PAGE_SIZE))

Changed: TypeAlias = tuple[int, Buffer | int]
"""First page and content: a buffer of whole pages, or the number of pages that are zero now."""


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
        self._storage = storage
        self._records = MemoryRecords(index, flags, storage, records)
        self._known = Places() if full else known
        self._batch: list[Piece] = []
        self._batch_pages = 0
        self._pages_total = 0
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
        zeros: list[Piece] = []
        for run in self._zero_runs():
            zeros.append(run)
            if len(zeros) == BATCH_EXTENTS:
                self._records.add(zeros, self._pages_total)
                zeros = []
        if zeros or not self._records:
            self._records.add(zeros, self._pages_total)
        self._records.finish(self._pages_total)

    def named(self) -> list[StoredExtent]:
        """The extents of all its records."""
        return self._records.named()

    @property
    def data_pages(self) -> int:
        """Pages of data in the file so far."""
        return self._records.data_pages

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
                self._batch.append(raw(first + at, data))
                self._batch_pages += to - at
            elif verdict == REPLACE:
                assert placed is not None
                self._replace(placed[start + at : start + to], data)
            elif verdict == CLEAR:
                self.placed.put(first + at, to - at, ZERO)
            elif placed is not None:
                self.placed.put(first + at, to - at, ABSENT)
        if self._batch_pages >= BATCH_PAGES or len(self._batch) > BATCH_EXTENTS - BLOCK:
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
                self._records.replaced(position)
            start = end

    def _flush(self) -> None:
        if not self._batch:
            return
        batch, self._batch, self._batch_pages = self._batch, [], 0
        for extent in self._records.add(batch, self._pages_total):
            self.placed.put(extent.first_page, extent.pages, extent.position)

    def _zero_runs(self) -> Iterator[Piece]:
        """The pages that are zero and were not in the parent."""
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
                        yield zero(first, end - first)
                    first = at
                end = at + 1
        if end:
            yield zero(first, end - first)


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
