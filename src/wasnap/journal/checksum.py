"""The journal's checksum: CRC-32 as in zlib, gzip and PNG, by the fastest code at hand.

zlib-ng computes it with vector instructions: 25 GB/s where zlib's own takes 3 (one core of the
machine of docs/figures), which is more than a disk takes and so no part of what a snapshot costs.
Its import (1.3 ms) takes longer than all sums of a small journal do, so it waits for something large.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasnap.journal.storage import Buffer

_SMALL = 1 << 20
"""Bytes; by zlib 0.3 ms."""


def crc32(data: Buffer, crc: int = 0) -> int:
    """Of bytes that follow those whose sum is ``crc``."""
    if len(data) <= _SMALL:
        return zlib.crc32(data, crc)
    return _by_vectors()(data, crc)


@lru_cache(maxsize=1)
def _by_vectors() -> Callable[[Buffer, int], int]:
    from zlib_ng import zlib_ng

    return zlib_ng.crc32
