"""Which snapshots need page data that is damaged: each block read once, however many need it.

To make the image of every snapshot, and look which of its blocks are bad, would take as long as
all images are large. Instead the damaged pages of each snapshot are found from those of its base:
an extent takes pages out of that set, and puts them in if its own block is bad.
"""

from __future__ import annotations

from wasnap.errors import JournalError
from wasnap.journal import image
from wasnap.journal.carry import tables
from wasnap.journal.image import Block, MemoryTable, block_of
from wasnap.journal.index import Index
from wasnap.journal.layout import StoredExtent
from wasnap.journal.proof import SnapshotInfo
from wasnap.journal.storage import Storage
from wasnap.journal.survey import Progress

BadPages = dict[tuple[int, int], int]
"""Memory and page -> position of the bad block."""


def check_pages(storage: Storage, index: Index, progress: Progress | None = None) -> int:
    """Marks the snapshots of a complete index that need a damaged block; how many bytes were read."""
    return _Check(storage, index, progress).run()


class _Check:
    def __init__(self, storage: Storage, index: Index, progress: Progress | None) -> None:
        self._storage = storage
        self._index = index
        self._progress = progress
        self._crcs: dict[int, int] = {}
        self._bad: set[Block] = set()
        self._pages: dict[int, BadPages] = {}
        self._read = 0

    def run(self) -> int:
        index = self._index
        for info in index.infos.values():
            if info.base in index.image_problems and info.id not in index.problems:
                problem = f"the memory of snapshot {info.base} is damaged"
                index.image_problems[info.id] = problem
                index.mark_damaged(info.id, problem)
            if info.id in index.image_problems:
                continue
            try:
                self._snapshot(info, tables(self._storage, index.proved(info.id)))
            except JournalError as error:
                index.image_problems[info.id] = error.message
                index.mark_damaged(info.id, error.message)
        return self._read

    def _snapshot(self, info: SnapshotInfo, found: dict[int, list[MemoryTable]]) -> None:
        bad: BadPages = dict(self._pages.get(info.base or 0, {}))
        for memory, own in found.items():
            for table in own:
                for extent in table.extents:
                    if self._damaged(extent):
                        pages = range(extent.first_page, extent.end)
                        bad.update(((memory, page), extent.position) for page in pages)
                    elif bad:
                        _take_out(bad, memory, extent)
        if bad:
            self._pages[info.id] = bad
            if info.id not in self._index.problems:
                self._index.mark_damaged(info.id, _reason(bad))

    def _damaged(self, extent: StoredExtent) -> bool:
        """Whether the block that the extent names pages of is damaged."""
        if not extent.position or self._crcs.get(extent.position) == extent.crc:
            return False
        block = block_of(extent)
        if block not in self._bad:
            if image.stored_crc(self._storage, block) == block.crc:
                self._crcs[block.position] = block.crc
            else:
                self._bad.add(block)
            self._read += block.stored
            if self._progress is not None:
                self._progress(self._read, max(self._index.identity.size, self._read))
        return block in self._bad


def _take_out(bad: BadPages, memory: int, extent: StoredExtent) -> None:
    """The extent's pages are good."""
    if extent.pages < len(bad):
        for page in range(extent.first_page, extent.end):
            bad.pop((memory, page), None)
    else:
        for each in [key for key in bad if key[0] == memory]:
            if extent.first_page <= each[1] < extent.end:
                del bad[each]


def _reason(bad: BadPages) -> str:
    """Of the first damaged page, and those after it in the same block."""
    memory, first = min(bad)
    last = first
    while bad.get((memory, last + 1)) == bad[memory, first]:
        last += 1
    position = bad[memory, first]
    return f"memory {memory}, pages {first} to {last}, is damaged at byte {position}"
