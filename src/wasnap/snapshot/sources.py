"""Where a snapshot's pages come from: the guest's memories, and whatever else lies in pages.

A source knows which of its pages are *owed* to the journal: written to since the last snapshot that
was committed. A snapshot takes them; if it fails they are owed again, together with all that was
written to meanwhile. So a snapshot that failed never makes a later one miss a page.
"""

from __future__ import annotations

import ctypes
from collections import deque

from wasnap import engine
from wasnap.engine import MemoryImage, Run, Watched
from wasnap.engine.runs import count, joined
from wasnap.journal import PAGE_SIZE


class PageSource:
    """Pages that are ``index`` among a snapshot's memories. For one thread at a time.

    ``window``: all of them, in place, as of the last look.
    """

    def __init__(self, index: int, memory: Watched, *, is64: bool, shared: bool) -> None:
        self.index = index
        self.is64 = is64
        self.shared = shared
        self.window = memoryview(b"")
        self._memory = memory
        self._tracker = engine.tracker(memory)
        self._owed: deque[Run] = deque()
        self._taken: list[Run] = []

    @property
    def pages_total(self) -> int:
        """Its size at the last look."""
        return len(self.window) // PAGE_SIZE

    @property
    def live(self) -> bool:
        """Whether it can be looked at while the guest runs."""
        return self._tracker.live

    def look(self, *, running: bool) -> int:
        """See what was written to since the last look; how many pages are owed now.

        ``running``: the guest runs; only if the source is ``live``.
        """
        size = self._memory.least_size() if running else self._memory.size
        if size > len(self.window):
            content = (ctypes.c_char * size).from_address(self._memory.address)
            self.window = memoryview(content).cast("B")
        written = self._tracker.written(len(self.window))
        self._owed = deque(joined([*self._owed, *written]) if self._owed else written)
        return count(self._owed)

    def take(self, most: int) -> list[Run]:
        """Owed pages, in order, at most so many; they are the snapshot's now."""
        runs: list[Run] = []
        owed = self._owed
        while owed and most:
            first, end = owed.popleft()
            if end - first > most:
                owed.appendleft((first + most, end))
                end = first + most
            runs.append((first, end))
            most -= end - first
        self._taken += runs
        return runs

    def saved(self) -> None:
        """What was taken is committed."""
        self._taken = []

    def not_saved(self) -> None:
        """What was taken is owed again."""
        self._owed = deque(joined([*self._owed, *self._taken]))
        self._taken = []

    def restored(self, image: MemoryImage) -> None:
        """It was just made equal to what the journal holds."""
        self._tracker.restored(image)

    def close(self) -> None:
        """Its memory is not to be looked at any more."""
        self.window = memoryview(b"")
        self._tracker.close()
