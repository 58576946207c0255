"""Which pages were written to: the kernel knows (Linux 6.7 and later, no privileges needed).

userfaultfd's *asynchronous write protection*: pages of a registered range can be protected against
writing; at the first write to one the kernel takes the protection off and lets the write happen.
Nobody is told and nothing waits; but the page's entry is now without the mark. The ioctl
PAGEMAP_SCAN lists the pages without it and, in the same step for each page, protects them again. So
no write is ever lost between looking and protecting, and the guest may run meanwhile. It does not
matter who writes: the guest, a host function, or the kernel in a ``read`` into guest memory.

States of a page, and what a scan says of it:

| page | "written"? | note |
|---|---|---|
| protected | no | also if it is swapped out, or not there at all: the mark needs no page |
| not protected, anonymous | yes | it was written to since it was protected, or never protected |
| not protected, of a private file mapping | yes, and "file" | not written to: a write makes it anonymous |
| not protected, not there | yes, but not "present" | nobody has touched it |

So protecting is put off: until a process takes its first snapshot its memory is not even registered
(that would cost mapped files the kernel's fault-around), and the first scan tells what was touched
by the pages that are there. It goes the kernel's slow way, 60 ns a page; those that follow take the
fast one, 2 ns a page, because all pages are protected then, those that are not there included.

What a private file mapping holds without having been touched depends on the file: after a restore
it is the journal, and the pages are as saved. In a fresh process it is the image of the module's
data segments (the engine maps one), and they count as written whether they are there or not.

All figures are of the machine of docs/figures. The kernel's page is 4096 bytes, or this is not used.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import logging
import mmap
import os
import platform
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from wasnap.engine.image import MemoryImage, window
from wasnap.engine.runs import Run, count, joined

if TYPE_CHECKING:
    from wasnap.engine.memory import Watched

log = logging.getLogger(__name__)

PAGE: Final = 4096
STEP: Final = 1 << 30
"""Bytes scanned in one call: the kernel holds the address space's lock meanwhile."""

COPIED_MAX: Final = 4096
"""Pages that may be there after a restore before it is worth protecting them at once."""

# linux/userfaultfd.h
_SYSCALL_USERFAULTFD: Final = {"x86_64": 323, "aarch64": 282, "riscv64": 282}
_USER_MODE_ONLY = 1
_API_VERSION = 0xAA
_FEATURE_WP_UNPOPULATED = 1 << 13
_FEATURE_WP_ASYNC = 1 << 15
_REGISTER_MODE_WP = 1 << 1
_API = struct.Struct("<QQQ")  # api, features, ioctls
_REGISTER = struct.Struct("<QQQQ")  # start, length, mode, ioctls

# linux/fs.h
_SCAN = struct.Struct("<12Q")
_REGION = struct.Struct("<QQQ")  # start, end, categories
_SCAN_WP_MATCHING = 1 << 0
_SCAN_CHECK_WPASYNC = 1 << 1
_WRITTEN, _FILE, _PRESENT, _SWAPPED = 1 << 1, 1 << 2, 1 << 3, 1 << 4
_WALK_END = 4
VEC_LENGTH = 8192


def _iowr(kind: int, number: int, size: int) -> int:
    return 3 << 30 | size << 16 | kind << 8 | number


_UFFDIO_API = _iowr(0xAA, 0x3F, _API.size)
_UFFDIO_REGISTER = _iowr(0xAA, 0x00, _REGISTER.size)
_PAGEMAP_SCAN = _iowr(ord("f"), 16, _SCAN.size)


class Dirty:
    """``Tracker``, by the kernel. Only if ``supported``.

    Should the kernel ever fail in this, all pages count as written from then on.
    """

    def __init__(self, memory: Watched) -> None:
        self._memory = memory
        self._fd = _open()
        self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        self._regions = (ctypes.c_uint64 * (3 * VEC_LENGTH))()
        self._protected = 0
        self._saved_files = False
        self._failed = False

    def written(self, size: int) -> list[Run]:
        """As ``Tracker`` says."""
        if not self._failed:
            try:
                return self._written(size)
            except OSError as error:
                self._give_up(error)
        return [(0, size // PAGE)] if size else []

    def content(self, size: int) -> memoryview:
        """As ``Tracker`` says."""
        return window(self._memory.address, size)

    def restored(self, image: MemoryImage) -> None:
        """As ``Tracker`` says."""
        self._protected = 0
        self._saved_files = True
        try:
            if self._copied(image) > COPIED_MAX:
                self._protect(image.size)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """As ``Tracker`` says."""
        for fd in (self._fd, self._pagemap):
            if fd >= 0:
                os.close(fd)
        self._fd = self._pagemap = -1

    def _give_up(self, error: OSError) -> None:
        log.warning("tracking written pages failed: %s; saving all of them", error)
        self._failed = True

    def _copied(self, image: MemoryImage) -> int:
        """How many pages a restore had to copy, about."""
        scattered = len(image.scattered.places) if image.scattered is not None else 0
        return scattered if scattered > COPIED_MAX else count(self._touched(image.size))

    def _protect(self, size: int) -> None:
        """Have pages count from now on only when they are written to."""
        address = self._memory.address
        _register(self._fd, address, size)
        flags = _SCAN_WP_MATCHING | _SCAN_CHECK_WPASYNC
        for start in range(address, address + size, STEP):
            end = min(start + STEP, address + size)
            none_listed = (0,) * 5
            scan = _SCAN.pack(_SCAN.size, flags, start, end, *none_listed, _WRITTEN, 0, 0)
            fcntl.ioctl(self._pagemap, _PAGEMAP_SCAN, bytearray(scan))
        self._protected = size

    def _written(self, size: int) -> list[Run]:
        address, before = self._memory.address, self._protected
        parts = []
        for start in range(0, before, STEP):
            end = min(start + STEP, before)
            parts += self._scan(address + start, address + end, _WRITTEN, 0, _WRITTEN, protect=True)
        runs = [run for part in parts for run in part.runs]
        if size > before:
            _register(self._fd, address + before, size - before)
            runs += self._first(address + before, address + size)
            self._protected = size
        return runs if len(parts) < 2 and size == before else joined(runs)

    def _first(self, start: int, end: int) -> list[Run]:
        """What was touched in a range that was not protected; it is, then."""
        everything = _WRITTEN | _FILE | _PRESENT | _SWAPPED
        untouched = _FILE if self._saved_files else 0
        runs: list[Run] = []
        for at in range(start, end, STEP):
            to = min(at + STEP, end)
            for found in self._scan(at, to, _WRITTEN, 0, everything, protect=True):
                runs += [
                    run
                    for run, what in zip(found.runs, found.what, strict=True)
                    if what & (_PRESENT | _SWAPPED) and not what & untouched
                ]
        if not self._saved_files:
            base = self._memory.address
            runs += [((a - base) // PAGE, (b - base) // PAGE) for a, b in _of_files(start, end)]
        return runs

    def _touched(self, size: int) -> list[Run]:
        """The anonymous pages that are there."""
        address = self._memory.address
        found = self._scan(address, address + size, 0, _PRESENT | _SWAPPED, _FILE, protect=False)
        return [
            run
            for part in found
            for run, what in zip(part.runs, part.what, strict=True)
            if not what & _FILE
        ]

    def _scan(
        self, start: int, end: int, all_of: int, any_of: int, tell: int, *, protect: bool
    ) -> list[_Found]:
        """Runs of pages of these categories, with those of ``tell`` that they are in.

        The kernel returns early when its list is full. Where to go on is only told then, and may lie
        before pages that are listed already; those it has protected, so it lists none twice.
        """
        flags = _SCAN_WP_MATCHING | _SCAN_CHECK_WPASYNC if protect else 0
        shift = self._memory.address // PAGE
        vec = ctypes.addressof(self._regions)
        words = memoryview(self._regions).cast("B").cast("Q")
        parts: list[_Found] = []
        while start < end:
            argument = bytearray(
                _SCAN.pack(
                    _SCAN.size, flags, start, end, 0, vec, VEC_LENGTH, 0, 0, all_of, any_of, tell
                )
            )
            listed = 3 * fcntl.ioctl(self._pagemap, _PAGEMAP_SCAN, argument)
            firsts = [address // PAGE - shift for address in words[0:listed:3].tolist()]
            ends = [address // PAGE - shift for address in words[1:listed:3].tolist()]
            what = words[2:listed:3].tolist()
            parts.append(_Found(list(zip(firsts, ends, strict=True)), what))
            if len(what) < VEC_LENGTH:
                break
            start = _SCAN.unpack(argument)[_WALK_END]
        return parts


class _Found(NamedTuple):
    """What one call listed: runs of pages, and the categories of each."""

    runs: list[Run]
    what: list[int]


@functools.cache
def supported() -> bool:
    """Whether the kernel can do this here: tried once, with a few pages."""
    return not missing()


@functools.cache
def missing() -> str:
    """What keeps the kernel from it, for people; empty if it works."""
    if mmap.PAGESIZE != PAGE:
        return f"the kernel's pages have {mmap.PAGESIZE} bytes, not {PAGE}"
    try:
        return _try()
    except OSError as error:
        return f"userfaultfd write protection and PAGEMAP_SCAN: {error.strerror}"


class _Pages:
    """A few pages of our own."""

    def __init__(self, count: int) -> None:
        self.map = mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.size = count * PAGE

    def least_size(self) -> int:
        return self.size


def _try() -> str:
    pages = _Pages(8)
    tracked = Dirty(pages)
    tracked._saved_files = True  # there are none: no need to look which these are
    try:
        pages.map[PAGE] = 1
        first = tracked._written(pages.size)
        pages.map[PAGE] = pages.map[2 * PAGE] = 2
        pages.map[5 * PAGE]
        then = tracked._written(pages.size)
        again = tracked._written(pages.size)
    finally:
        tracked.close()
    if (first, then, again) != ([(1, 2)], [(1, 3)], []):
        return "the kernel lists other pages than those that were written to"
    return ""


def _open() -> int:
    """A userfaultfd for asynchronous write protection. OSError if there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALL_USERFAULTFD.get(platform.machine())
    if number is None:
        raise OSError(38, f"unknown on {platform.machine()}")
    fd = int(libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        features = _FEATURE_WP_ASYNC | _FEATURE_WP_UNPOPULATED
        fcntl.ioctl(fd, _UFFDIO_API, bytearray(_API.pack(_API_VERSION, features, 0)))
    except OSError:
        os.close(fd)
        raise
    return fd


def _register(fd: int, start: int, length: int) -> None:
    argument = bytearray(_REGISTER.pack(start, length, _REGISTER_MODE_WP, 0))
    fcntl.ioctl(fd, _UFFDIO_REGISTER, argument)


def _of_files(start: int, end: int) -> list[tuple[int, int]]:
    """The parts of an address range where files are mapped."""
    parts = []
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            fields = line.split(None, 5)
            low, high = (int(each, 16) for each in fields[0].split(b"-"))
            if fields[4] != b"0" and low < end and high > start:
                parts.append((max(low, start), min(high, end)))
    return parts
