"""Which pages of a memory changed since the last snapshot: by comparing with an image of it.

The image is an anonymous private mapping as large as the memory, zero where nothing was saved, so
"since the beginning" needs no case of its own: what differs from zeros are the non-zero pages.
Blocks of 64 KiB are compared first, and the pages of those that differ then: about 10 GB/s where
nothing changed.

The guest may run meanwhile. What is saved is therefore the image and not the memory: a page that is
written to after it was copied differs from what was saved, and so from the image, and is found the
next time. Were the memory saved, it could hold something else by then, and be again as it was copied
when it is looked at next.

The price is a second copy of what the guest has in memory, and a look at all of it at each
snapshot. Where the kernel can tell which pages were written (dirty.py) neither is needed.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from typing import Final

from wasnap.engine.image import MemoryImage, place, window
from wasnap.engine.memory import Watched
from wasnap.engine.runs import Run

PAGE: Final = 4096
_BLOCK: Final = 16 * PAGE
_RESERVED_MIN: Final = 4 << 30
_MAP_NORESERVE: Final = 0x4000

_libc = ctypes.CDLL(None)
_memcmp = _libc.memcmp
_memcmp.restype = ctypes.c_int
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memmove = _libc.memmove
_memmove.restype = ctypes.c_void_p
_memmove.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Changes:
    """``Tracker``, by comparing: exactly the pages that differ. It works everywhere."""

    def __init__(self, memory: Watched) -> None:
        self._memory = memory
        self._image: mmap.mmap | None = None
        self._address = 0
        self._size = 0

    def written(self, size: int) -> list[Run]:
        """As ``Tracker`` says."""
        self._grow(size)
        taken = []
        for start, end in self._runs():
            self._copy(start, end)
            taken.append((start // PAGE, end // PAGE))
        return taken

    def content(self, size: int) -> memoryview:
        """As ``Tracker`` says."""
        return window(self._address, size)

    def restored(self, image: MemoryImage) -> None:
        """As ``Tracker`` says."""
        self._grow(self._memory.size)
        place(self._address, image)

    def close(self) -> None:
        """As ``Tracker`` says."""
        if self._image is not None:
            self._image.close()
            self._image = None
            self._size = 0

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Changed runs as byte addresses [start, end)."""
        memory, image, size = self._memory.address, self._address, self._size
        open_at = -1
        for block in range(0, size, _BLOCK):
            length = min(_BLOCK, size - block)
            if not _memcmp(memory + block, image + block, length):
                if open_at >= 0:
                    yield open_at, block
                    open_at = -1
                continue
            for page in range(block, block + length, PAGE):
                same = not _memcmp(memory + page, image + page, PAGE)
                if same and open_at >= 0:
                    yield open_at, page
                    open_at = -1
                elif not same and open_at < 0:
                    open_at = page
        if open_at >= 0:
            yield open_at, size

    def _copy(self, start: int, end: int) -> None:
        _memmove(self._address + start, self._memory.address + start, end - start)

    def _grow(self, size: int) -> None:
        """Make the image as large as the memory; what is new is zero."""
        if size > self._size:
            if self._image is None or size > len(self._image):
                self._reserve(max(_RESERVED_MIN, 2 * size))
            self._size = size

    def _reserve(self, size: int) -> None:
        """Take address space for an image; it costs nothing until it is written to."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        image = mmap.mmap(-1, size, flags=flags)
        address = ctypes.addressof(ctypes.c_char.from_buffer(image))
        if self._image is not None:
            _memmove(address, self._address, self._size)
        self._image, self._address = image, address
