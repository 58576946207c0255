"""Where a snapshot's pages come from: the guest's memories, and whatever else lies in pages.

A source knows which of its pages are *owed* to the journal: written to since the last snapshot that
was committed. A snapshot takes them; if it fails they are owed again, together with all that was
written to meanwhile. So a snapshot that failed never makes a later one miss a page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from wasnap import engine
from wasnap.engine import MemoryImage, Run, Watched
from wasnap.engine.runs import count, joined
from wasnap.journal import PAGE_SIZE

Pages = tuple[int, memoryview]
"""First page, and the content of it and those that follow, in place."""


class PageSource:
    """Pages that are ``index`` among a snapshot's memories. One thread at a time."""

    def __init__(self, index: int, memory: Watched, *, is64: bool, shared: bool) -> None:
        self.index = index
        self.is64 = is64
        self.shared = shared
        self._memory = memory
        self._tracker = engine.tracker(memory)
        self._owed: deque[Run] = deque()
        self._taken: list[Run] = []

    @property
    def live(self) -> bool:
        """Whether ``look`` and ``take`` may be called while the guest runs."""
        return self._tracker.live

    @property
    def pages_total(self) -> int:
        """Its size at present."""
        return self._memory.size // PAGE_SIZE

    def look(self) -> int:
        """See what was written to since the last look; how many pages are owed now."""
        written = self._tracker.written()
        self._owed = deque(joined([*self._owed, *written]) if self._owed else written)
        return count(self._owed)

    def take(self, most: int) -> Iterator[Pages]:
        """Owed pages, in order, ``most`` at a time; each is taken when it is handed out."""
        while self._owed:
            first, end = self._owed.popleft()
            to = min(end, first + most)
            if to < end:
                self._owed.appendleft((to, end))
            self._taken.append((first, to))
            yield first, self._memory.view(first * PAGE_SIZE, (to - first) * PAGE_SIZE)

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
        """Before the memory goes away."""
        self._tracker.close()
