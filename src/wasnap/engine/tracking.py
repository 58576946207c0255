"""Which pages of a memory may have changed since it was last asked: two ways behind one interface.

*The kernel tells* (dirty.py): asking costs little and may be done while the guest runs; what a
program writes to costs it one page fault for each page and snapshot.

*Comparing* (changes.py), where the kernel cannot: all of the memory is looked at, and there is a
second copy of it.

Both may be asked while the guest runs, and tell of a page once: whoever asks remembers what was told
until it is saved. Both may tell of pages that are as they were; whoever saves them looks
(journal/sift.py). What is saved is their ``content``: a page that has changed again since it was told
of will be told of again, whichever of its contents was saved.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from wasnap.engine import dirty
from wasnap.engine.changes import Changes
from wasnap.engine.image import MemoryImage
from wasnap.engine.memory import Watched
from wasnap.engine.runs import Run

COMPARE: Final = "WASNAP_COMPARE_PAGES"
"""The environment variable that has pages compared although the kernel could tell."""


class Tracker(Protocol):
    """For one thread at a time; the guest may run meanwhile."""

    def written(self, size: int) -> list[Run]:
        """Pages that may have been written to since it was last asked, in order, not adjacent.

        ``size``: how many bytes of the memory to look at, never less than before. What is new
        counts from its beginning: at first all that is not zero; after ``restored``, all that was
        written to since then.
        """
        ...

    def content(self, size: int) -> memoryview:
        """The first ``size`` bytes of the memory, to be saved: as they are, or were when ``written``
        was asked for so many. Good until it is asked again.
        """
        ...

    def restored(self, image: MemoryImage) -> None:
        """The memory was just made equal to this image."""
        ...

    def close(self) -> None:
        """Free what it holds; the memory may be gone already."""
        ...


def tracker(memory: Watched) -> Tracker:
    """The better way that there is here."""
    if dirty.supported() and not os.environ.get(COMPARE):
        return dirty.Dirty(memory)
    return Changes(memory)
