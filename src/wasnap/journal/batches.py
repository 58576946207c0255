"""Cuts the pages of a memory into the extents of MEMORY records, while they are being written.

Nothing is copied but one chunk of at most 1 MiB at a time, to compare it with zeros. A batch is
what goes into one record: at most about 8 MiB of data, so neither all extents nor all data need
to be known in advance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from wasnap.journal import pack
from wasnap.journal.checksum import crc32
from wasnap.journal.layout import PAGE_SIZE, ZERO_PAGE, Encoding, StoredExtent, align
from wasnap.journal.storage import Buffer

CHUNK_PAGES = 256
BATCH_PAGES = 2048
BATCH_EXTENTS = 4096
ZERO_RUN_PAGES = 1 << 31
WORTH_COMPRESSING = 7 / 8
"""Of its size, at most, a block must shrink to; else it stays as it is, and can be mapped."""

Pages: TypeAlias = tuple[int, Buffer | int | StoredExtent]
"""First page and content: a buffer of whole pages, the number of pages that are zero now, or pages
that the journal holds already (an extent with this first page, as ``MemoryImage.parts`` has them).
"""


class Piece(NamedTuple):
    """A future extent: ``data`` is the block to be written, a view of the caller's buffer if it is
    raw; None: there is nothing to write. ``held``: an extent that is complete already.
    """

    first_page: int
    n_pages: int
    encoding: Encoding
    data: Buffer | None
    crc: int
    held: StoredExtent | None = None


def batches(
    pages: Iterable[Pages], pages_total: int, *, skip_zeros: bool, level: int | None = None
) -> Iterator[list[Piece]]:
    """Lists of pieces, each for one record; at least one list, which may be empty.

    ``pages`` must be sorted, disjoint and within ``pages_total`` (4 KiB pages): ValueError
    otherwise. ``skip_zeros``: leave zero pages out (a full image) and do not store them as zero.
    ``level``: compress blocks where that is worth it; None: do not.
    """
    batch: list[Piece] = []
    data_pages = 0
    emitted = False
    pieces = _pieces(_checked(pages, pages_total))
    if level is not None:
        pieces = pack.in_parallel(lambda piece: _compressed(piece, level), pieces)
    for piece in pieces:
        if piece.encoding == Encoding.ZERO:
            if skip_zeros:
                continue
            if batch and _extends(batch[-1], piece):
                pages_now = batch[-1].n_pages + piece.n_pages
                batch[-1] = batch[-1]._replace(n_pages=pages_now)
                continue
        batch.append(piece)
        data_pages += piece.n_pages if piece.data is not None else 0
        if data_pages >= BATCH_PAGES or len(batch) >= BATCH_EXTENTS:
            yield batch
            emitted = True
            batch, data_pages = [], 0
    if batch or not emitted:
        yield batch


def placed(
    batch: list[Piece], position: int, unit: int = PAGE_SIZE
) -> tuple[list[StoredExtent], list[Buffer]]:
    """The extents of a record whose table ends at ``position``, and all that follows the table:
    zero bytes up to the first block, then the blocks, raw ones first, at multiples of ``unit``.
    """
    at: dict[int, int] = {}
    parts: list[Buffer] = []
    for encoding in (Encoding.RAW, Encoding.ZSTD):
        for piece in batch:
            if piece.encoding == encoding and piece.data is not None:
                if encoding == Encoding.RAW and (padding := align(position, unit) - position):
                    parts.append(bytes(padding))
                    position += padding
                at[piece.first_page] = position
                parts.append(piece.data)
                position += len(piece.data)
    extents = [
        piece.held
        or StoredExtent(
            piece.first_page,
            at.get(piece.first_page, 0),
            piece.n_pages,
            len(piece.data or b""),
            piece.crc,
            0,
            piece.encoding,
        )
        for piece in batch
    ]
    return extents, parts


def _extends(last: Piece, piece: Piece) -> bool:
    """Whether zero pages ``piece`` can be added to ``last``."""
    follows = last.first_page + last.n_pages == piece.first_page
    return last.encoding == Encoding.ZERO and follows and last.n_pages < ZERO_RUN_PAGES


def _checked(
    pages: Iterable[Pages], pages_total: int
) -> Iterator[tuple[int, memoryview | int | StoredExtent]]:
    free = 0
    content: memoryview | int | StoredExtent
    for first, given in pages:
        rest = 0
        if isinstance(given, int):
            n_pages = content = given
        elif isinstance(given, StoredExtent):
            content, n_pages, rest = given, given.pages, abs(given.first_page - first)
        else:
            content = memoryview(given).cast("B")
            n_pages, rest = divmod(len(content), PAGE_SIZE)
        if rest or n_pages < 1 or first < free or first + n_pages > pages_total:
            raise ValueError(
                f"pages {first} to {first + n_pages - 1} (and {rest} bytes):"
                f" not whole pages, not in order from {free} on, or not within {pages_total}"
            )
        free = first + n_pages
        yield first, content


def _pieces(pages: Iterable[tuple[int, memoryview | int | StoredExtent]]) -> Iterator[Piece]:
    """Runs of zero and of other pages, these at most ``CHUNK_PAGES`` long."""
    for first, content in pages:
        if isinstance(content, int):
            for start in range(0, content, ZERO_RUN_PAGES):
                yield zero(first + start, min(ZERO_RUN_PAGES, content - start))
        elif isinstance(content, StoredExtent):
            if content.position:
                encoding = Encoding(content.encoding)
                yield Piece(first, content.pages, encoding, None, content.crc, content)
            else:
                yield zero(first, content.pages)
        else:
            for start in range(0, len(content), CHUNK_PAGES * PAGE_SIZE):
                chunk = content[start : start + CHUNK_PAGES * PAGE_SIZE]
                yield from _split(first + start // PAGE_SIZE, chunk)


def _split(first: int, chunk: memoryview) -> Iterator[Piece]:
    """The runs of one chunk."""
    copy = bytes(chunk)
    n_pages = len(copy) // PAGE_SIZE
    if not _maybe_zero_page(copy):
        yield raw(first, chunk)
        return
    is_zero = [copy[at : at + PAGE_SIZE] == ZERO_PAGE for at in range(0, len(copy), PAGE_SIZE)]
    start = 0
    while start < n_pages:
        end = start + 1
        while end < n_pages and is_zero[end] == is_zero[start]:
            end += 1
        if is_zero[start]:
            yield zero(first + start, end - start)
        else:
            yield raw(first + start, chunk[start * PAGE_SIZE : end * PAGE_SIZE])
        start = end


def zero(first_page: int, n_pages: int) -> Piece:
    """Pages that are zero."""
    return Piece(first_page, n_pages, Encoding.ZERO, None, 0)


def raw(first_page: int, data: memoryview) -> Piece:
    """Whole pages that are stored as they are."""
    return Piece(first_page, len(data) // PAGE_SIZE, Encoding.RAW, data, crc32(data))


def _compressed(piece: Piece, level: int) -> Piece:
    """The piece compressed, or as it is where that is not worth it."""
    if piece.data is None:
        return piece
    data = pack.compress(piece.data, level)
    if len(data) > WORTH_COMPRESSING * len(piece.data):
        return piece
    return piece._replace(encoding=Encoding.ZSTD, data=data, crc=crc32(data))


def _maybe_zero_page(data: bytes) -> bool:
    """Whether some page of ``data`` may be zero: a quick look at the first byte of each."""
    return not all(data[::PAGE_SIZE])
