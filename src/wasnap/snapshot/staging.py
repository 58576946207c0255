"""Where changed pages wait for the disk: copied aside while the guest stands still.

A bounded number of blocks goes round between two threads: one fills them, the other empties them.
As long as what a snapshot takes fits, the one that fills never waits, and the guest goes on as soon
as the copy is made. If it does not fit, filling goes at the disk's pace, and the guest waits for it:
that is what bounds the memory.
"""

from __future__ import annotations

import mmap
import queue
from collections.abc import Iterable, Iterator
from typing import Final

from wasnap.journal import PAGE_SIZE
from wasnap.snapshot.sources import PageSource

BYTES: Final = 64 << 20
BLOCK_PAGES: Final = 1024
_KEPT: Final = 4
"""Blocks that stay when a snapshot is written: memory that the next one need not get again."""


class Block:
    """Pages of one source, copied: ``runs`` of them, one after the other in ``buffer``."""

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
        self.buffer = memoryview(mmap.mmap(-1, BLOCK_PAGES * PAGE_SIZE, flags=flags))
        self.source: PageSource | None = None
        self.runs: list[tuple[int, int]] = []

    def fill(self, source: PageSource) -> bool:
        """Copy what is owed, as much as there is room for; False if there was nothing."""
        self.source = source
        self.runs = source.take(BLOCK_PAGES)
        buffer, memory, at = self.buffer, source.window, 0
        for first, end in self.runs:
            start, stop = first * PAGE_SIZE, end * PAGE_SIZE
            length = stop - start
            buffer[at : at + length] = memory[start:stop]
            at += length
        return bool(self.runs)

    def pages(self) -> Iterator[tuple[int, memoryview]]:
        """The runs: first page and content."""
        at = 0
        for first, end in self.runs:
            length = (end - first) * PAGE_SIZE
            yield first, self.buffer[at : at + length]
            at += length


class Staging:
    """``capacity``: bytes, the most that is ever copied and not yet written."""

    def __init__(self, capacity: int = BYTES) -> None:
        self._left = max(1, capacity // (BLOCK_PAGES * PAGE_SIZE))
        self.pages_max = (self._left - 1) * BLOCK_PAGES
        """So many fit, however they are spread over the sources (of which there are few)."""
        self._free: queue.SimpleQueue[Block] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[Block | None] = queue.SimpleQueue()

    def prepare(self, n_pages: int) -> None:
        """Get memory for so many pages now, so that copying them need not."""
        while self._left and self._free.qsize() * BLOCK_PAGES < n_pages:
            self._left -= 1
            self._free.put(Block())

    def copy(self, sources: Iterable[PageSource]) -> None:
        """Copy all that is owed; waits for blocks if there are too few."""
        for source in sources:
            block = self._block()
            while block.fill(source):
                self._full.put(block)
                block = self._block()
            self._free.put(block)

    def finish(self) -> None:
        """All of a snapshot is copied."""
        self._full.put(None)

    def copied(self) -> Iterator[Block]:
        """On the other thread: the blocks of one snapshot, as they come; each is free after it."""
        while (block := self._full.get()) is not None:
            try:
                yield block
            finally:
                self._free.put(block)
        self._trim()

    def _block(self) -> Block:
        if self._left and self._free.empty():
            self._left -= 1
            return Block()
        return self._free.get()

    def _trim(self) -> None:
        while self._free.qsize() > _KEPT:
            self._free.get()
            self._left += 1
