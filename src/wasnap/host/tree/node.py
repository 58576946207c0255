"""What an in-memory directory consists of: nodes (files, directories, links) and their names.

These are the rows that are saved (``table.py``); everything else is made from them.
"""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from .arena import Run
from .table import Row

ABSENT: Final = 0
"""``Name.node``: an overlay's lower directory was asked for this name, and did not have it."""
REMOVED: Final = -1
"""``Name.node``: the guest removed a name that the lower directory has."""

_END: Final = 1 << 62


class Pages(msgspec.Struct, array_like=True):
    """Which arena pages a file's content stands in: sorted runs of pages of the file.

    Run i: from page ``at[i]`` of the file on, ``count[i]`` pages, in arena page ``page[i]`` and
    those that follow. What is in no run is a hole.
    """

    at: list[int] = []
    page: list[int] = []
    count: list[int] = []

    def find(self, n: int) -> tuple[int, int]:
        """Where page ``n`` of the file is (-1: a hole), and for how many it goes on like that."""
        i = bisect_right(self.at, n) - 1
        if i >= 0:
            into = n - self.at[i]
            if into < self.count[i]:
                return self.page[i] + into, self.count[i] - into
        after = self.at[i + 1] if i + 1 < len(self.at) else _END
        return -1, after - n

    def fill(self, n: int, page: int, count: int) -> None:
        """Put pages into a hole."""
        i = bisect_right(self.at, n)
        if i:
            before = self.count[i - 1]
            if (self.at[i - 1] + before, self.page[i - 1] + before) == (n, page):
                self.count[i - 1] += count
                return
        self.at.insert(i, n)
        self.page.insert(i, page)
        self.count.insert(i, count)

    def cut(self, n: int) -> Iterator[Run]:
        """Take out page ``n`` of the file and all behind it; the arena pages, to be given back."""
        while self.at and self.at[-1] + self.count[-1] > n:
            at, page, count = self.at.pop(), self.page.pop(), self.count.pop()
            keep = max(0, n - at)
            if keep:
                self.at.append(at)
                self.page.append(page)
                self.count.append(keep)
            yield page + keep, count - keep

    def runs(self) -> Iterator[Run]:
        """The arena pages."""
        return zip(self.page, self.count, strict=True)


class Origin(NamedTuple):
    """A file of a lower directory as it was first seen: enough to know another name of it."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Node(Row):
    """A file, directory or symbolic link; ``id`` is its inode number. Times in ns.

    ``mode``: as in stat(2). ``links``: names of a file; 2 and the subdirectories of a directory; 0:
    it was removed. ``size``: bytes. ``pages``: of a file. ``target``: of a link. ``parent``: of a
    directory, the one it lies in (its own id if it is the root).

    The rest is about overlays. ``lower``: where in the lower directory it comes from; "." is its
    root; None: from nowhere. ``seen``: its content (of a directory: its names) is here, and the
    lower directory is not asked any more. ``changed``: by the guest, in any way that
    ``export-files`` must tell. ``origin``: of a lower file with several names.
    """

    mode: int
    links: int = 1
    size: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    parent: int = 0
    pages: Pages | None = None
    target: bytes = b""
    lower: bytes | None = None
    seen: bool = True
    changed: bool = True
    origin: Origin | None = None

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


class Name(Row):
    """``name`` in the directory ``parent`` is ``node`` (ids; or ABSENT, or REMOVED).

    ``lower``: the lower directory has this name, too.
    """

    parent: int
    name: bytes
    node: int
    lower: bool = False


class Attributes(NamedTuple):
    """``descriptors.Status`` of a node."""

    st_dev: int
    st_ino: int
    st_mode: int
    st_nlink: int
    st_size: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int
