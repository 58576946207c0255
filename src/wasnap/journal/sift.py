"""Which pages of a memory a snapshot has to store.

Whoever takes a snapshot hands over pages that *may* have changed. Some are as the journal holds
them (a page counts as written also when it got its old content back); some are zero. Neither costs
space. A page is compared with what stands in the file, byte by byte: a hash would have to be strong
to be relied upon, and computing a strong one takes longer than reading the page again, which the
kernel mostly still has in memory.

The pages may change while they are looked at (a guest that runs while most of its memory is
written). Whoever hands such pages over will hand them over again, so what is decided here need not
be right for them; it only must not fail.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import groupby
from typing import Final, NamedTuple

from wasnap.journal.layout import PAGE_SIZE, ZERO_PAGE
from wasnap.journal.places import ABSENT, PLAIN_MIN

STORE: Final = 0
"""The page needs a place."""
REPLACE: Final = 1
"""The page has a place in this snapshot already: its content goes there."""
CLEAR: Final = 2
"""The page is zero now and was not before."""
SKIP: Final = 3
"""The page is as in the parent."""


Read = Callable[[int, int], bytes]
"""(position, size) -> what stands in the file."""


class Run(NamedTuple):
    """Pages ``start`` to ``end`` (not included) of the chunk are all to be treated alike."""

    verdict: int
    start: int
    end: int


def sift(
    chunk: memoryview, known: array[int] | None, placed: array[int] | None, read: Read
) -> list[Run]:
    """Runs that cover the chunk.

    ``known``: the pages' places in the parent's image, None if all of them are zero there;
    ``placed``: their places in the snapshot being written, None if none has one.
    """
    n_pages = len(chunk) // PAGE_SIZE
    verdicts = bytearray(n_pages)
    if placed is not None:
        for at, place in enumerate(placed):
            if place >= PLAIN_MIN:
                verdicts[at] = REPLACE
    _find_zeros(chunk, known, verdicts)
    if known is not None:
        _find_known(chunk, known, verdicts, read)
    if not any(verdicts):
        return [Run(STORE, 0, n_pages)]
    runs = []
    for verdict, group in groupby(enumerate(verdicts), key=lambda pair: pair[1]):
        pages = list(group)
        runs.append(Run(verdict, pages[0][0], pages[-1][0] + 1))
    return runs


def _find_zeros(chunk: memoryview, known: array[int] | None, verdicts: bytearray) -> None:
    first_bytes = chunk[::PAGE_SIZE].tobytes()
    at = first_bytes.find(0)
    while at >= 0:
        if verdicts[at] == STORE and _page(chunk, at) == ZERO_PAGE:
            verdicts[at] = SKIP if known is None or known[at] == ABSENT else CLEAR
        at = first_bytes.find(0, at + 1)


def _find_known(chunk: memoryview, known: array[int], verdicts: bytearray, read: Read) -> None:
    """Compare with the file, run by run of pages that stand there one after the other."""
    start, n_pages = 0, len(verdicts)
    while start < n_pages:
        position = known[start]
        if verdicts[start] != STORE or position < PLAIN_MIN:
            start += 1
            continue
        end = start + 1
        while end < n_pages and verdicts[end] == STORE and known[end] == _after(known[end - 1]):
            end += 1
        size = (end - start) * PAGE_SIZE
        old = read(position, size)
        new = chunk[start * PAGE_SIZE : end * PAGE_SIZE].tobytes()
        if old == new:
            verdicts[start:end] = bytes([SKIP]) * (end - start)
        elif len(old) == size and end - start > 1:
            for at in range(start, end):
                offset = (at - start) * PAGE_SIZE
                if old[offset : offset + PAGE_SIZE] == new[offset : offset + PAGE_SIZE]:
                    verdicts[at] = SKIP
        start = end


def _after(position: int) -> int:
    return position + PAGE_SIZE


def _page(chunk: memoryview, at: int) -> bytes:
    return chunk[at * PAGE_SIZE : (at + 1) * PAGE_SIZE].tobytes()
