"""Blocks of pages, compressed and back, on all cores.

zstd frames that state their size, one for each block: a block is read without any other. zstandard
lets go of the interpreter's lock while it works, so threads are enough. Both directions work
through their input in order and hold a few blocks for each core, however many there are.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from wasnap.errors import JournalError
from wasnap.journal.layout import PAGE_SIZE

if TYPE_CHECKING:
    from concurrent.futures import Future

    from wasnap.journal.storage import Buffer

BLOCK_PAGES_MAX = 4096
"""Of a compressed block, which is unpacked in memory."""

LEVEL = 3

T = TypeVar("T")
U = TypeVar("U")

_local = threading.local()
"""zstandard's contexts are for one thread each."""


def compress(data: Buffer, level: int = LEVEL) -> bytes:
    """``data`` as one zstd frame."""
    import zstandard  # 25 ms, and only few journals need it

    compressors: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in compressors:
        compressors[level] = zstandard.ZstdCompressor(level)
    return compressors[level].compress(data)


def decompress(data: bytes) -> bytes:
    """The pages in a frame. JournalError if it is none, or does not follow the format."""
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        if not 0 < size <= BLOCK_PAGES_MAX * PAGE_SIZE or size % PAGE_SIZE:
            raise JournalError(f"a compressed block of {size} bytes does not follow the format")
        if not hasattr(_local, "decompressor"):
            _local.decompressor = zstandard.ZstdDecompressor()
        content: bytes = _local.decompressor.decompress(data)
    except zstandard.ZstdError as error:
        raise JournalError(f"a compressed block cannot be unpacked: {error}") from error
    return content


def in_parallel(work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """``work`` on each item, on as many threads as there are cores; results in order.

    What ``work`` raises is raised here. Few items are drawn ahead.
    """
    from concurrent.futures import ThreadPoolExecutor

    cores = os.cpu_count() or 1
    pending: deque[Future[U]] = deque()
    with ThreadPoolExecutor(cores, "wasnap-pack") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * cores:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
