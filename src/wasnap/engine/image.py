"""The contents of a memory as they were saved, and how they get into place.

What stands in the journal as it is gets *mapped* there, privately: the kernel brings a page in when
it is first looked at, and copies it when it is first written to. A GiB is in place in a fraction of
a millisecond, and what the program never touches is never read.

A private mapping shows what is in the file for as long as its page is untouched. So nothing may
write to that part of the file or cut it off; the journal never does (docs/journal-format.md), and a
journal that is replaced (``--fresh``, ``compact``) is a new file, while the old one lives as long as
it is mapped.

A process may have some 65,000 mappings, and each costs a little. So short runs are read, as is what
is left when ``MAPPINGS_MAX`` are mapped, and whatever cannot be mapped: compressed pages, or a file
system without mappings.

Later snapshots leave a memory's image in pieces: what they hold lies scattered over what an earlier
one had in one run. The pieces of such a run are mapped as one (a *span*), with stale pages between
them; what belongs there is put over it, by a mapping or by reading::

    in the journal   AAAAAAAAAAAAAAAA   x  y           the memory    AAAAxAAAAAyAAAAA
    mapped           AAAAAAAAAAAAAAAA                  read on top       x     y

Wider spans are mapped first. Whether a piece is seen in the end is not argued but looked up: for each
the span that was mapped over it last (``_visible``). Those that are not are read.

Single pages, of which there may be tens of thousands, are no pieces at all (``Scattered``): they are
read over everything else, in the order in which they stand in the file, by all cores.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from wasnap.engine.runs import Run, joined
from wasnap.errors import CannotResume

MAPPINGS_MAX: Final = 8192
MAPPED_MIN: Final = 1 << 16
"""Spans that show less are read: that is quicker than a mapping and the faults that follow it."""

JOINED_MAX: Final = 1 << 18
"""Bytes between two pieces of a span: at most so much at a time is mapped to be covered again."""

_ZERO, _ELSEWHERE = -1, -2
"""In place of a piece's file."""
_PAGE: Final = 4096
"""What single pages have, whatever the kernel's pages are."""
_MANY_PAGES: Final = 4096
_READERS_MAX: Final = 4
_IOV_MAX = 1024
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_BLOCK = 1 << 16
_ZEROS = ctypes.create_string_buffer(_BLOCK)
_ZEROS_AT = ctypes.addressof(_ZEROS)
_libc = ctypes.CDLL(None, use_errno=True)
_memcmp = _libc.memcmp
_memcmp.restype = ctypes.c_int
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
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


class Scattered(NamedTuple):
    """Pages, by number, and where they stand in ``fd``; at 0: they are zero."""

    fd: int
    places: Mapping[int, int]


class _Span(NamedTuple):
    """Pieces ``low`` to ``high`` of an image begin and end with one of this ``line``: a file, and how
    far memory is ahead of it. ``shown``: bytes in those of its line.
    """

    line: tuple[int, int]
    low: int
    high: int
    start: int
    end: int
    shown: int


class MemoryImage(NamedTuple):
    """The contents of one memory: its size in bytes; bytes outside the extents are zero.

    ``unpack``: gives what is stored compressed, in no order, a part at a time. ``scattered``: lie
    over the file's extents, and beside what is unpacked.
    """

    size: int
    extents: Sequence[FileExtent | BufferExtent | PackedExtent]
    unpack: Callable[[], Iterable[BufferExtent]] = tuple
    scattered: Scattered | None = None


class Copied(Protocol):
    """A memory that lies somewhere."""

    address: int

    @property
    def size(self) -> int: ...


def copy_of(memory: Copied) -> MemoryImage:
    """What a memory holds now, in views of it: to be placed elsewhere at once. Blocks that are zero
    are left out: whoever has the copy does not need memory for them."""
    size = memory.size
    room = window(memory.address, size) if size else memoryview(b"")
    extents = []
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        if _memcmp(memory.address + start, _ZEROS_AT, end - start):
            extents.append(BufferExtent(start, room[start:end]))
    return MemoryImage(size, extents)


def place(address: int, image: MemoryImage, *, mappings_max: int = MAPPINGS_MAX) -> int:
    """Make the memory at ``address`` equal to the image; how many bytes had to be copied there.

    What was mapped there is thrown away. Raises CannotResume for an image that goes beyond the end
    of its memory or file, OSError where the system refuses.
    """
    _check(image.extents, image.size)
    if not image.size:
        return 0
    _map(address, image.size, -1, 0)
    room = window(address, image.size)
    copied = 0
    left = []
    pieces = _pieces(image)
    mapped = _map_widest(address, pieces, mappings_max)
    seen = _visible(pieces, mapped)
    for piece, line in zip(pieces, seen, strict=True):
        if piece.fd >= 0:
            if line != _line(piece):
                left.append(piece)
        elif line is not None and piece.fd == _ZERO:
            ctypes.memset(address + piece.address, 0, piece.length)
            copied += piece.length
    for group in _consecutive(left):
        windows = [room[extent.address : extent.address + extent.length] for extent in group]
        copied += _read(group[0].fd, group[0].offset, windows)
    if image.scattered is not None:
        covered = [(span.start, span.end) for span in mapped]
        covered += [(e.address, e.address + e.length) for e in pieces if e.fd >= 0]
        copied += _put_pages(address, room, image.scattered, joined(covered))
    for extent in image.extents:
        if isinstance(extent, BufferExtent):
            copied += _write(room, extent)
    for extent in image.unpack():
        _check([extent], image.size)
        copied += _write(room, extent)
    return copied


def _check(extents: Iterable[FileExtent | BufferExtent | PackedExtent], size: int) -> None:
    if any(extent.address < 0 or extent.address + extent.length > size for extent in extents):
        raise CannotResume("the snapshot's memory has contents beyond its end")


def _pieces(image: MemoryImage) -> list[FileExtent]:
    """All of the memory, in order: also what is zero, or comes from elsewhere."""
    pieces: list[FileExtent] = []
    free = 0
    for extent in sorted(image.extents, key=lambda extent: extent.address):
        start = extent.address
        if start > free:
            pieces.append(FileExtent(free, start - free, _ZERO, 0))
        if isinstance(extent, FileExtent):
            pieces.append(extent)
        else:
            pieces.append(FileExtent(start, extent.length, _ELSEWHERE, 0))
        free = start + extent.length
    if free < image.size:
        pieces.append(FileExtent(free, image.size - free, _ZERO, 0))
    return pieces


def _line(piece: FileExtent) -> tuple[int, int]:
    return piece.fd, piece.address - piece.offset


def _spans(address: int, pieces: list[FileExtent]) -> list[_Span]:
    """All that are worth a mapping."""
    found: list[list[int]] = []  # as in _Span, after its line
    lines: list[tuple[int, int]] = []
    last: dict[tuple[int, int], list[int]] = {}
    for number, (start, length, fd, offset) in enumerate(pieces):
        if fd < 0 or (address + start | offset | length) % mmap.PAGESIZE:  # cannot be mapped
            continue
        line = (fd, start - offset)
        span = last.get(line)
        if span is None or start - span[3] > JOINED_MAX:
            span = last[line] = [number, 0, start, 0, 0]
            found.append(span)
            lines.append(line)
        span[1] = number + 1
        span[3] = start + length
        span[4] += length
    return [
        _Span(line, *span) for line, span in zip(lines, found, strict=True) if span[4] >= MAPPED_MIN
    ]


def _map_widest(address: int, pieces: list[FileExtent], most: int) -> list[_Span]:
    """Map the spans that show most; those that are, in that order."""
    spans = _spans(address, pieces)
    if len(spans) > most:
        spans = sorted(spans, key=lambda span: span.shown, reverse=True)[:most]
    spans.sort(key=lambda span: span.end - span.start, reverse=True)
    sizes: dict[int, int] = {}
    for number, span in enumerate(spans):
        fd, ahead = span.line
        if fd not in sizes:
            sizes[fd] = os.fstat(fd).st_size
        if span.end - ahead > sizes[fd]:
            raise _cut_off()
        try:
            _map(address + span.start, span.end - span.start, fd, span.start - ahead)
        except OSError:  # not on this file system, or too many: they can be read
            return spans[:number]
    return spans


def _visible(pieces: list[FileExtent], mapped: list[_Span]) -> list[tuple[int, int] | None]:
    """For each piece the line that its part of memory shows now; None: none, it is zero."""
    seen: list[tuple[int, int] | None] = [None] * len(pieces)
    for span in mapped:
        seen[span.low : span.high] = [span.line] * (span.high - span.low)
    return seen


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


def _put_pages(address: int, room: memoryview, scattered: Scattered, covered: list[Run]) -> int:
    """Have single pages where they belong. ``covered``: bytes that may not be zero now."""
    fd, places = scattered
    if places and (min(places) < 0 or (max(places) + 1) * _PAGE > len(room)):
        raise CannotResume("the snapshot's memory has contents beyond its end")
    stored = sorted((offset, page * _PAGE) for page, offset in places.items() if offset)
    groups = []
    start = 0
    for end in range(1, len(stored) + 1):
        follows = end < len(stored) and stored[end][0] == stored[end - 1][0] + _PAGE
        if not follows or end - start == _IOV_MAX:
            groups.append(stored[start:end])
            start = end

    def read(groups: list[list[tuple[int, int]]]) -> int:
        return sum(
            _read(fd, group[0][0], [room[at : at + _PAGE] for _, at in group]) for group in groups
        )

    if len(stored) < _MANY_PAGES:
        copied = read(groups)
    else:
        from concurrent.futures import ThreadPoolExecutor

        readers = min(_READERS_MAX, os.cpu_count() or 1)
        with ThreadPoolExecutor(readers) as pool:
            copied = sum(pool.map(read, (groups[i::readers] for i in range(readers))))
    if len(stored) < len(places):
        for page in (page * _PAGE for page, offset in places.items() if not offset):
            at = bisect_right(covered, page, key=lambda run: run[0]) - 1
            if at >= 0 and page < covered[at][1]:
                ctypes.memset(address + page, 0, _PAGE)
                copied += _PAGE
    return copied


def _read(fd: int, offset: int, windows: list[memoryview]) -> int:
    total = sum(map(len, windows))
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


def _write(room: memoryview, extent: BufferExtent) -> int:
    end = extent.address + extent.length
    room[extent.address : end] = memoryview(extent.data).cast("B")
    return extent.length


def window(address: int, length: int) -> memoryview:
    """``length`` bytes at ``address``, writable; good for as long as they are there."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def _cut_off() -> CannotResume:
    return CannotResume("the journal ends inside an extent of memory")
