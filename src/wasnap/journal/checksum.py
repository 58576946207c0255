"""The journal's checksum: CRC-32 as in zlib, gzip and PNG, by the fastest code at hand.

zlib-ng computes it with vector instructions: 25 GB/s where zlib's own takes 3 (one core of the
machine of docs/figures), which is more than a disk takes and so no part of what a snapshot costs.
"""

from __future__ import annotations

from zlib_ng.zlib_ng import crc32

__all__ = ["crc32"]
