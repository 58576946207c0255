"""What a tree in memory holds, written out to a directory of the host.

Of a tmp that is everything. Of an overlay it is what the guest changed: files and links it made,
wrote to, renamed or linked, and the directories they lie in. What cannot be shown that way is told:
names of the lower directory that the guest removed, and directories it renamed (what lies in them
unchanged is still in the lower directory, under the old name).

Nothing is written outside: the directory is new or empty, names from the journal are checked, and
no link is followed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import CannotResume, MissingFile, UsageError
from .arena import PAGE, Arena
from .node import REMOVED, Node
from .tree import Tree

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def export(tree: Tree, arena: Arena, into: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Write it while iterating: what was done with which path, as it is done.

    ("wrote", path, ""), ("removed", path, "") or ("moved", old path, path). Raises UsageError if
    ``into`` holds something, MissingFile if it cannot be written, CannotResume for names that no
    directory can have.
    """
    try:
        into.mkdir(exist_ok=True)
        if any(into.iterdir()):
            raise UsageError(f"{into} is not empty", "name a new or an empty directory")
        root = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from _Export(tree, arena, root).run()
        finally:
            os.close(root)
    except OSError as error:
        raise MissingFile(f"{into} cannot be written: {error.strerror}") from None


class _Export:
    def __init__(self, tree: Tree, arena: Arena, root: int) -> None:
        self._tree = tree
        self._arena = arena
        self._root = root
        self._made: set[bytes] = {b""}
        self._written: dict[int, bytes] = {}
        self._times: list[tuple[bytes, Node]] = []

    def run(self) -> Iterator[tuple[str, bytes, bytes]]:
        below = [(b"", self._tree.root)]
        seen = {self._tree.root.id}
        while below:
            path, directory = below.pop()
            for row in sorted(self._tree.names_in(directory), key=lambda row: row.name):
                if not row.name or row.name in (b".", b"..") or b"/" in row.name or 0 in row.name:
                    raise CannotResume(f"no file can be called {row.name!r}")
                at = path + b"/" + row.name if path else row.name
                if row.node == REMOVED:
                    yield "removed", at, b""
                elif row.node > 0:
                    node = self._tree.nodes.rows[row.node]
                    if node.is_directory:
                        if node.id in seen:
                            raise CannotResume("a directory lies in itself")
                        seen.add(node.id)
                        below.append((at, node))
                        if node.lower is None:
                            self._directory(at)
                        elif self._was_moved(node):
                            yield "moved", node.lower, at
                        self._times.append((at, node))
                    elif node.changed and node.seen and (node.is_file or node.is_link):
                        self._write(at, node)
                        yield "wrote", at, b""
        for path, node in reversed(self._times):
            if path in self._made:
                self._set_times(path, node)

    def _was_moved(self, node: Node) -> bool:
        """Whether a lower directory is not where its parent's place in the lower one would be."""
        above = self._tree.above(node)
        assert node.lower is not None
        where, _, name = node.lower.rpartition(b"/")
        return above.lower != (where or b".") or not any(
            row.node == node.id and row.name == name for row in self._tree.names_in(above)
        )

    def _directory(self, path: bytes) -> None:
        """Make it, and those it lies in."""
        missing = []
        while path not in self._made:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for each in reversed(missing):
            os.mkdir(each, dir_fd=self._root)
            self._made.add(each)

    def _write(self, path: bytes, node: Node) -> None:
        self._directory(path.rpartition(b"/")[0])
        if node.id in self._written:
            first = self._written[node.id]
            os.link(
                first, path, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False
            )
            return
        self._written[node.id] = path
        if node.is_link:
            os.symlink(node.target, path, dir_fd=self._root)
        else:
            mode = 0o600 | node.mode & 0o777
            fd = os.open(path, _CREATE, mode, dir_fd=self._root)
            try:
                self._content(fd, node)
            finally:
                os.close(fd)
        self._set_times(path, node)

    def _content(self, fd: int, node: Node) -> None:
        assert node.pages is not None
        os.truncate(fd, node.size)
        for at, page, count in zip(node.pages.at, node.pages.page, node.pages.count, strict=True):
            offset = at * PAGE
            for view in self._arena.views(page, count):
                left = view[: max(0, node.size - offset)]
                while left:
                    n = os.pwrite(fd, left, offset)
                    offset += n
                    left = left[n:]

    def _set_times(self, path: bytes, node: Node) -> None:
        with suppress(OverflowError, ValueError):  # a guest may set times that no disk can hold
            try:
                os.utime(
                    path, ns=(node.atime, node.mtime), dir_fd=self._root, follow_symlinks=False
                )
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOVERFLOW):
                    raise
