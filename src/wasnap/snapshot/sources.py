"""Where a snapshot's pages come from: the guest's memories, and whatever else lies in pages.

A source knows which of its pages are *owed* to the journal: written to since the last snapshot that
was committed. A snapshot takes them; if it fails they are owed again, together with all that was
written to meanwhile. So a snapshot that failed never makes a later one miss a page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Protocol

from wasnap import engine
from wasnap.engine import MemoryImage, Run, Watched
from wasnap.engine.runs import count, joined
from wasnap.host import Host
from wasnap.journal import HOST_MEMORY, PAGE_SIZE


class Window(Protocol):
    """All pages of a source. A slice of whole pages is what they hold now."""

    def __len__(self) -> int: ...
    def __getitem__(self, where: slice, /) -> memoryview: ...


class PageSource(ABC):
    """Pages that are ``index`` among a snapshot's memories. For one thread at a time.

    ``window``: all of them, as of the last look.
    """

    is64 = False
    shared = False
    window: Window

    def __init__(self, index: int) -> None:
        self.index = index
        self.window = memoryview(b"")
        self._owed: deque[Run] = deque()
        self._taken: list[Run] = []

    @property
    def pages_total(self) -> int:
        """Its size at the last look."""
        return len(self.window) // PAGE_SIZE

    def look(self, *, running: bool) -> int:
        """See what was written to since the last look; how many pages are owed now.

        ``running``: the guest runs.
        """
        written = self._written(running=running)
        self._owed = deque(joined([*self._owed, *written]) if self._owed else written)
        return self.owed

    @property
    def owed(self) -> int:
        """How many pages are."""
        return count(self._owed)

    @abstractmethod
    def _written(self, *, running: bool) -> list[Run]:
        """Sorted runs of what was written to since the last time."""

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

    def close(self) -> None:
        """Its pages are not to be looked at any more."""
        self.window = memoryview(b"")


class Slot:
    """A place among a snapshot's memories, taken by one after the other. ``written``: pages that may
    hold something there; ``pages``: how many there are. ``forever``: it is not taken again, and
    needs to know nothing of that."""

    def __init__(self, index: int, is64: bool, shared: bool, *, forever: bool = False) -> None:
        self.index = index
        self.is64 = is64
        self.shared = shared
        self.forever = forever
        self.pages = 0
        self.written: list[Run] = []

    def fits(self, pages: int, is64: bool, shared: bool) -> bool:
        """Whether a memory like this can have it."""
        return pages >= self.pages and (is64, shared) == (self.is64, self.shared)

    def note(self, runs: list[Run]) -> None:
        """These pages may hold something from now on."""
        if not self.forever:
            self.written = joined([*self.written, *runs]) if self.written else list(runs)


class MemorySource(PageSource):
    """One memory of a guest; it takes a slot, with all that may be in there."""

    def __init__(self, slot: Slot, memory: Watched) -> None:
        super().__init__(slot.index)
        self.slot = slot
        self.is64 = slot.is64
        self.shared = slot.shared
        self._memory = memory
        self._tracker = engine.tracker(memory)
        self._owed = deque(slot.written)

    def _written(self, *, running: bool) -> list[Run]:
        size = self._memory.least_size() if running else self._memory.size
        size = max(size, len(self.window))
        written = self._tracker.written(size)
        self.window = self._tracker.content(size)
        self.slot.pages = max(self.slot.pages, self.pages_total)
        self.slot.note(written)
        return written

    def restored(self, image: MemoryImage) -> None:
        """It was just made equal to what the journal holds."""
        self._tracker.restored(image)
        self.slot.pages = image.size // PAGE_SIZE
        self.slot.note(
            [
                (extent.address // PAGE_SIZE, -(-(extent.address + extent.length) // PAGE_SIZE))
                for extent in sorted(image.extents, key=lambda extent: extent.address)
            ]
        )

    def close(self) -> None:
        super().close()
        self._tracker.close()


class ProgramSource(PageSource):
    """A program that was executed: its ``size`` bytes, and zeros up to a whole page. ``module``:
    None if the journal has it already."""

    def __init__(self, index: int, size: int, module: bytes | None) -> None:
        super().__init__(index)
        self.size = size
        if module is not None:
            self.window = memoryview(module.ljust(self.pages_total * PAGE_SIZE, b"\0"))
            self._owed = deque([(0, self.pages_total)])

    @property
    def pages_total(self) -> int:
        return -(-self.size // PAGE_SIZE)

    def _written(self, *, running: bool) -> list[Run]:
        return []


class ArenaSource(PageSource):
    """What lies in directories in memory. The host itself knows what it has written to; nobody
    looks while the guest runs, which may be writing files at that moment.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(HOST_MEMORY)
        self._host = host

    def _written(self, *, running: bool) -> list[Run]:
        if running:
            return []
        self.window = self._host.arena
        return self._host.arena.written()
