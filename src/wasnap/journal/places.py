"""Where each page of a memory stands in the journal file: a table of two levels.

The writer keeps one of the snapshot that the process was in last, so that it need not store again
what the journal holds; and one of the snapshot that is being written. Blocks that nobody touched
have no entry, so both cost as much as there is to know: 8 bytes a page.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final

from wasnap.journal.layout import FILE_HEADER, PAGE_SIZE

BLOCK: Final = 256
"""Pages in a block: 1 MiB, aligned in memory."""

ABSENT: Final = 0
"""Nothing is known of the page: in a whole image it is zero."""

ZERO: Final = 1
"""The page is zero, and that has to be said."""

ELSEWHERE: Final = 2
"""The page's content is in the file, but not as it is (compressed)."""

PLAIN_MIN: Final = FILE_HEADER.size
"""Anything from here on is a position in the file."""


class Places:
    """Page number -> a position, or one of the words above."""

    def __init__(self) -> None:
        self._blocks: dict[int, array[int]] = {}

    def block(self, number: int) -> array[int] | None:
        """The places of pages 256 * number and so on; None if all are ABSENT."""
        return self._blocks.get(number)

    def make_block(self, number: int) -> array[int]:
        """The same, to be written to."""
        found = self._blocks.get(number)
        if found is None:
            found = self._blocks[number] = array("Q", bytes(8 * BLOCK))
        return found

    def blocks(self) -> list[int]:
        """The numbers of all blocks that are not empty, in order."""
        return sorted(self._blocks)

    def put(self, first_page: int, n_pages: int, position: int) -> None:
        """Pages stand one after the other from ``position`` on; or all are ``position``, a word."""
        step = PAGE_SIZE if position >= PLAIN_MIN else 0
        while n_pages:
            number, start = divmod(first_page, BLOCK)
            count = min(n_pages, BLOCK - start)
            where = range(position, position + count * step, step) if step else [position] * count
            self.make_block(number)[start : start + count] = array("Q", where)
            first_page += count
            n_pages -= count
            position += count * step

    def update(self, newer: Places) -> None:
        """Take over all that ``newer`` knows; what it calls zero is ABSENT here."""
        for number, block in newer._blocks.items():
            own = self.make_block(number)
            for at, place in enumerate(block):
                if place != ABSENT:
                    own[at] = ABSENT if place == ZERO else place

    def __contains__(self, number: int) -> bool:
        return number in self._blocks


class Known:
    """The places of all memories in the snapshot that the process is in.

    ``snapshot``: its id; 0: none, and all pages are zero; None: nothing is known.
    """

    def __init__(self, snapshot: int | None = 0) -> None:
        self.snapshot = snapshot
        self._places: dict[int, Places] = {}

    def places(self, memory: int) -> Places:
        """Of one memory; to be written to."""
        return self._places.setdefault(memory, Places())

    def update(self, snapshot: int, newer: Mapping[int, Places], *, full: bool) -> None:
        """From now on the process is in this snapshot, which has these places of its own."""
        self.snapshot = None  # should this be interrupted
        if full:
            self._places.clear()
        for memory, places in newer.items():
            self.places(memory).update(places)
        self.snapshot = snapshot
