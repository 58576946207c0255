"""The bytes of files in memory: reading, writing, cutting, and how much there may be.

A file's content lies in pages of the arena; what was never written is a hole, which takes no space
and reads as zeros. Invariant: what lies behind a file's end in its last page is zero.
"""

from __future__ import annotations

import errno
from typing import Final

from ..beneath import os_error
from ..descriptors import Views
from .arena import PAGE, Arena
from .node import Node, Pages

SIZE_MAX: Final = (1 << 63) - 1
"""Bytes in one file."""


class Volume:
    """Space for the contents of one mapping: at most ``size`` bytes, in whole pages."""

    def __init__(self, arena: Arena, size: int) -> None:
        self._arena = arena
        self._pages_max = size // PAGE
        self.used = 0
        """Pages."""

    def read(self, node: Node, views: Views, offset: int) -> int:
        """Like preadv."""
        left = node.size - offset
        done = 0
        for view in views:
            n = min(len(view), left)
            if n <= 0:
                break
            self._copy(_pages(node), view[:n], offset, write=False)
            offset += n
            left -= n
            done += n
        return done

    def write(self, node: Node, views: Views, offset: int) -> int:
        """Like pwritev. ENOSPC if there is no room for any of it; EFBIG."""
        length = sum(map(len, views))
        if not length:
            return 0
        if offset >= SIZE_MAX:
            raise os_error(errno.EFBIG)
        end = self._reserve(node, offset, min(offset + length, SIZE_MAX))
        if end <= offset:
            raise os_error(errno.ENOSPC)
        at = offset
        for view in views:
            n = min(len(view), end - at)
            if not n:
                break
            self._copy(_pages(node), view[:n], at, write=True)
            at += n
        node.size = max(node.size, end)
        return end - offset

    def truncate(self, node: Node, size: int) -> None:
        """Like ftruncate."""
        if size > SIZE_MAX:
            raise os_error(errno.EINVAL)
        if size < node.size:
            self._cut(node, -(-size // PAGE))
            page, into = divmod(size, PAGE)
            first, _ = _pages(node).find(page)
            if into and first >= 0:
                for view in self._arena.views(first, 1):
                    view[into:] = bytes(PAGE - into)
                self._arena.touch(first, 1)
        node.size = size

    def allocate(self, node: Node, offset: int, length: int) -> None:
        """Like posix_fallocate."""
        end = offset + length
        if not length or offset > SIZE_MAX or length > SIZE_MAX:
            raise os_error(errno.EINVAL)
        if end > SIZE_MAX:
            raise os_error(errno.EFBIG)
        missing = 0
        page, last = offset // PAGE, (end - 1) // PAGE
        while page <= last:
            first, count = _pages(node).find(page)
            count = min(count, last + 1 - page)
            missing += count if first < 0 else 0
            page += count
        if self.used + missing > self._pages_max:
            raise os_error(errno.ENOSPC)
        self._reserve(node, offset, end)
        node.size = max(node.size, end)

    def release(self, node: Node) -> None:
        """Give all its space back."""
        self._cut(node, 0)

    def claim(self, node: Node) -> None:
        """After the arena was loaded: this file's pages are in use. Raises CannotResume."""
        for first, count in _pages(node).runs():
            self._arena.claim(first, count)
            self.used += count

    def _cut(self, node: Node, page: int) -> None:
        for first, count in _pages(node).cut(page):
            self._arena.give(first, count)
            self.used -= count

    def _reserve(self, node: Node, start: int, stop: int) -> int:
        """Fill the holes between two offsets; the offset up to which there is space now."""
        pages = _pages(node)
        page, last = start // PAGE, (stop - 1) // PAGE
        while page <= last:
            first, count = pages.find(page)
            if first < 0:
                count = min(count, last + 1 - page, self._pages_max - self.used)
                if count <= 0:
                    return page * PAGE
                self.used += count
                before, _ = pages.find(page - 1)
                at = page
                for first, n in self._arena.take(count, before + 1 if before >= 0 else -1):
                    pages.fill(at, first, n)
                    at += n
            page += count
        return stop

    def _copy(self, pages: Pages, view: memoryview, offset: int, *, write: bool) -> None:
        """Between ``view`` and the file; to write, space must be there."""
        while len(view):
            page, into = divmod(offset, PAGE)
            first, count = pages.find(page)
            n = min(len(view), count * PAGE - into)
            if first < 0:
                view[:n] = bytes(n)
            else:
                touched = -(-(into + n) // PAGE)
                if write:
                    self._arena.touch(first, touched)
                done = 0
                for piece in self._arena.views(first, touched):
                    part = piece[into : into + n - done]
                    if write:
                        part[:] = view[done : done + len(part)]
                    else:
                        view[done : done + len(part)] = part
                    done += len(part)
                    into = 0
            view = view[n:]
            offset += n


def _pages(node: Node) -> Pages:
    assert node.pages is not None
    return node.pages
