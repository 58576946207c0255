"""Cuts the pages of a memory into the extents of MEMORY records, while they are being written.

Nothing is copied but one chunk of at most 1 MiB at a time, to compare it with zeros. A batch is
what goes into one record: at most about 8 MiB of data, so neither all extents nor all data need
to be known in advance.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from wasnap.journal.layout import PAGE_SIZE
from wasnap.journal.storage import Buffer

CHUNK_PAGES = 256
BATCH_PAGES = 2048
BATCH_EXTENTS = 4096
ZERO_RUN_PAGES = 1 << 31

Pages: TypeAlias = tuple[int, Buffer | int]
"""First page and content: a buffer of whole pages, or the number of pages that are zero now."""


class Piece(NamedTuple):
    """A future extent: ``data`` is a view of the caller's buffer, None for zero pages."""

    first_page: int
    n_pages: int
    data: memoryview | None
    crc: int


def batches(pages: Iterable[Pages], pages_total: int, *, skip_zeros: bool) -> Iterator[list[Piece]]:
    """Lists of pieces, each for one record; at least one list, which may be empty.

    ``pages`` must be sorted, disjoint and within ``pages_total`` (4 KiB pages): ValueError
    otherwise. ``skip_zeros``: leave zero pages out (a full image) and do not store them as zero.
    """
    batch: list[Piece] = []
    data_pages = 0
    emitted = False
    for piece in _pieces(_checked(pages, pages_total)):
        if piece.data is None and skip_zeros:
            continue
        if piece.data is None and batch and _extends(batch[-1], piece):
            first, n_pages, *_ = batch[-1]
            batch[-1] = Piece(first, n_pages + piece.n_pages, None, 0)
            continue
        batch.append(piece)
        data_pages += piece.n_pages if piece.data is not None else 0
        if data_pages >= BATCH_PAGES or len(batch) >= BATCH_EXTENTS:
            yield batch
            emitted = True
            batch, data_pages = [], 0
    if batch or not emitted:
        yield batch


def _extends(last: Piece, piece: Piece) -> bool:
    """Whether zero pages ``piece`` can be added to ``last``."""
    follows = last.first_page + last.n_pages == piece.first_page
    return last.data is None and follows and last.n_pages + piece.n_pages < ZERO_RUN_PAGES


def _checked(pages: Iterable[Pages], pages_total: int) -> Iterator[tuple[int, memoryview | int]]:
    free = 0
    for first, content in pages:
        if isinstance(content, int):
            n_pages, rest = content, 0
            yield_content: memoryview | int = content
        else:
            yield_content = memoryview(content).cast("B")
            n_pages, rest = divmod(len(yield_content), PAGE_SIZE)
        if rest or n_pages < 1 or first < free or first + n_pages > pages_total:
            raise ValueError(
                f"pages {first} to {first + n_pages - 1} (and {rest} bytes):"
                f" not whole pages, not in order from {free} on, or not within {pages_total}"
            )
        free = first + n_pages
        yield first, yield_content


def _pieces(pages: Iterable[tuple[int, memoryview | int]]) -> Iterator[Piece]:
    """Runs of zero and of other pages, these at most ``CHUNK_PAGES`` long."""
    for first, content in pages:
        if isinstance(content, int):
            for start in range(0, content, ZERO_RUN_PAGES):
                yield Piece(first + start, min(ZERO_RUN_PAGES, content - start), None, 0)
            continue
        for start in range(0, len(content), CHUNK_PAGES * PAGE_SIZE):
            chunk = content[start : start + CHUNK_PAGES * PAGE_SIZE]
            yield from _split(first + start // PAGE_SIZE, chunk)


def _split(first: int, chunk: memoryview) -> Iterator[Piece]:
    """The runs of one chunk."""
    copy = bytes(chunk)
    n_pages = len(copy) // PAGE_SIZE
    if not _maybe_zero_page(copy):
        yield Piece(first, n_pages, chunk, zlib.crc32(copy))
        return
    zero = bytes(PAGE_SIZE)
    is_zero = [copy[at : at + PAGE_SIZE] == zero for at in range(0, len(copy), PAGE_SIZE)]
    start = 0
    while start < n_pages:
        end = start + 1
        while end < n_pages and is_zero[end] == is_zero[start]:
            end += 1
        if is_zero[start]:
            yield Piece(first + start, end - start, None, 0)
        else:
            data = chunk[start * PAGE_SIZE : end * PAGE_SIZE]
            yield Piece(first + start, end - start, data, zlib.crc32(data))
        start = end


def _maybe_zero_page(data: bytes) -> bool:
    """Whether some page of ``data`` may be zero: a quick look at the first byte of each."""
    return not all(data[::PAGE_SIZE])
