"""The contents of a memory as they were saved, and how they get into place.

What stands in the journal as it is gets *mapped* there, privately: the kernel brings a page in when
it is first looked at, and copies it when it is first written to. A GiB is in place in a fraction of
a millisecond, and what the program never touches is never read.

A private mapping shows what is in the file for as long as its page is untouched. So nothing may
write to that part of the file or cut it off; the journal never does (docs/journal-format.md), and a
journal that is replaced (``--fresh``, ``compact``) is a new file, while the old one lives as long as
it is mapped.

A process may have some 65,000 mappings, and each costs a little. So short runs are read, as is what
is left when ``MAPPINGS_MAX`` of the longest are mapped, and whatever cannot be mapped: compressed
pages, or a file system without mappings.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from wasnap.errors import CannotResume

MAPPINGS_MAX: Final = 1000
MAPPED_MIN: Final = 1 << 16
"""Shorter runs are read: that is quicker than a mapping and the faults that follow it."""

_IOV_MAX = 1024
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)


class FileExtent(NamedTuple):
    """``length`` bytes of memory from ``address`` on stand in ``fd`` at ``offset``."""

    address: int
    length: int
    fd: int
    offset: int


class BufferExtent(NamedTuple):
    """Memory from ``address`` on holds ``data``."""

    address: int
    data: bytes | memoryview

    @property
    def length(self) -> int:
        """In bytes."""
        return memoryview(self.data).nbytes


class PackedExtent(NamedTuple):
    """``length`` bytes of memory from ``address`` on are among what ``unpack`` gives."""

    address: int
    length: int


class MemoryImage(NamedTuple):
    """The contents of one memory: its size in bytes; bytes outside the extents are zero.

    ``unpack``: gives what is stored compressed, in no order, a part at a time.
    """

    size: int
    extents: Sequence[FileExtent | BufferExtent | PackedExtent]
    unpack: Callable[[], Iterable[BufferExtent]] = tuple


def place(address: int, image: MemoryImage, *, mappings_max: int = MAPPINGS_MAX) -> int:
    """Make the memory at ``address`` equal to the image; how many bytes had to be copied there.

    What was mapped there is thrown away. Raises CannotResume for an image that goes beyond the end
    of its memory or file, OSError where the system refuses.
    """
    _check(image.extents, image.size)
    if image.size:
        _map(address, image.size, -1, 0)
    files = [extent for extent in image.extents if isinstance(extent, FileExtent)]
    copied = 0
    for group in _consecutive(_map_longest(address, files, mappings_max)):
        copied += _read(address, group)
    for extent in image.extents:
        if isinstance(extent, BufferExtent):
            copied += _write(address, extent)
    for extent in image.unpack():
        _check([extent], image.size)
        copied += _write(address, extent)
    return copied


def _check(extents: Iterable[FileExtent | BufferExtent | PackedExtent], size: int) -> None:
    if any(extent.address < 0 or extent.address + extent.length > size for extent in extents):
        raise CannotResume("the snapshot's memory has contents beyond its end")


def _map_longest(address: int, files: list[FileExtent], mappings_max: int) -> list[FileExtent]:
    """Map the longest extents; those that are left."""
    mappable = [e for e in files if e.length >= MAPPED_MIN and not _crooked(address, e)]
    mappable.sort(key=lambda extent: extent.length, reverse=True)
    mapped = set()
    for fd, extents in groupby(mappable[:mappings_max], lambda extent: extent.fd):
        size = os.fstat(fd).st_size
        for extent in extents:
            if extent.offset + extent.length > size:
                raise _cut_off()
            try:
                _map(address + extent.address, extent.length, fd, extent.offset)
            except OSError:  # not on this file system, or too many: they can be read
                return [extent for extent in files if extent not in mapped]
            mapped.add(extent)
    return [extent for extent in files if extent not in mapped]


def _crooked(address: int, extent: FileExtent) -> bool:
    """Whether it cannot be mapped, because something does not lie at a page's beginning."""
    return bool((address + extent.address | extent.offset | extent.length) % mmap.PAGESIZE)


def _map(address: int, length: int, fd: int, offset: int) -> None:
    """Map a file, or zero pages if ``fd`` is -1, over what is there."""
    flags = mmap.MAP_PRIVATE | _MAP_FIXED | _MAP_NORESERVE
    if fd < 0:
        flags |= mmap.MAP_ANONYMOUS
    if _libc.mmap(address, length, _READ_WRITE, flags, fd, offset) != address:
        number = ctypes.get_errno()
        raise OSError(number, f"mapping the snapshot's memory failed: {os.strerror(number)}")


def _consecutive(files: list[FileExtent]) -> Iterator[list[FileExtent]]:
    """Groups of extents that follow each other in their file: one call reads a group."""
    group: list[FileExtent] = []
    for extent in sorted(files, key=lambda extent: (extent.fd, extent.offset)):
        if group:
            last = group[-1]
            follows = (last.fd, last.offset + last.length) == (extent.fd, extent.offset)
            if not follows or len(group) == _IOV_MAX:
                yield group
                group = []
        group.append(extent)
    if group:
        yield group


def _read(address: int, group: list[FileExtent]) -> int:
    windows = [_window(address + extent.address, extent.length) for extent in group]
    fd, offset = group[0].fd, group[0].offset
    total = sum(extent.length for extent in group)
    while windows:
        n = os.preadv(fd, windows, offset)
        if n == 0:
            raise _cut_off()
        offset += n
        whole = 0
        while whole < len(windows) and n >= len(windows[whole]):
            n -= len(windows[whole])
            whole += 1
        windows = windows[whole:]
        if n:
            windows[0] = windows[0][n:]
    return total


def _write(address: int, extent: BufferExtent) -> int:
    _window(address + extent.address, extent.length)[:] = memoryview(extent.data).cast("B")
    return extent.length


def _window(address: int, length: int) -> memoryview:
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def _cut_off() -> CannotResume:
    return CannotResume("the journal ends inside an extent of memory")
