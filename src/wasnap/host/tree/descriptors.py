"""Files and directories of a tree in memory, as the guest has them open.

What is refused and how (which errno, in which order) is what Linux does on a host directory: the
tests run the same calls on both.

A descriptor is saved as the number of its node, which is in the tree as long as it is open: with or
without a name, whatever it is called by now.
"""

from __future__ import annotations

import errno
import os
import stat

import msgspec

from .. import rights as r
from ..beneath import os_error
from ..descriptors import Access, Descriptor, Missing, Scene, Views
from ..mapped import Directory, Entry, Want
from ..protocol import Call
from .node import Attributes, Node
from .path import PATH_MAX, Spot, find, walk
from .root import TreeRoot
from .tree import DIRECTORY_MODE, FILE_MODE, LINK_MODE, Tree
from .volume import SIZE_MAX


class TreeFileState(msgspec.Struct, frozen=True, tag="tree-file"):
    """An open file in memory. ``node``: its inode number; ``offset``: bytes."""

    number: int
    guest: str
    node: int
    access: Access
    offset: int


class TreeDirectoryState(msgspec.Struct, frozen=True, tag="tree-directory"):
    """An open directory in memory. ``listing``: what the guest reads from."""

    number: int
    guest: str
    node: int
    preopen: bool
    rights: int
    inheriting: int
    listing: list[Entry] | None


class TreeFile(Descriptor):
    """An open regular file. ``offset``: bytes."""

    __slots__ = ("_node", "_root", "_tree", "offset", "readable", "writable")

    def __init__(self, root: TreeRoot, tree: Tree, node: Node, access: Access) -> None:
        super().__init__(-1, access.rights & r.FILE, access.inheriting, access.fdflags)
        self._root = root
        self._tree = tree
        self._node = node
        self.readable = access.readable
        self.writable = access.writable
        self.offset = 0
        tree.hold(node)

    def read(self, call: Call, views: Views) -> int:
        n = self.read_at(views, self.offset)
        self.offset += n
        return n

    def write(self, call: Call, views: Views) -> int:
        start = self._node.size if self.fdflags & r.APPEND else self.offset
        n = self._write(views, start)
        if n:
            self.offset = start + n
        return n

    def read_at(self, views: Views, offset: int) -> int:
        if offset > SIZE_MAX:
            raise os_error(errno.EINVAL)
        return self._tree.volume.read(self._node, views, offset)

    def write_at(self, views: Views, offset: int) -> int:
        if offset > SIZE_MAX:
            raise os_error(errno.EINVAL)
        return self._write(views, self._node.size if self.fdflags & r.APPEND else offset)

    def _write(self, views: Views, offset: int) -> int:
        n = self._tree.volume.write(self._node, views, offset)
        if n:
            self._content_changed()
        return n

    def _content_changed(self) -> None:
        now = self._tree.now()
        self._tree.changed(self._node, ctime=now, mtime=now)

    def seek(self, offset: int, whence: int) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.offset, os.SEEK_END: self._node.size}[whence]
        if not 0 <= start + offset <= SIZE_MAX:
            raise os_error(errno.EINVAL)
        self.offset = start + offset
        return self.offset

    def truncate(self, size: int) -> None:
        if not self.writable:
            raise os_error(errno.EINVAL)
        self._tree.volume.truncate(self._node, size)
        self._content_changed()

    def allocate(self, offset: int, length: int) -> None:
        if not self.writable:
            raise os_error(errno.EBADF)
        self._tree.volume.allocate(self._node, offset, length)
        self._content_changed()

    def advise(self, offset: int, length: int, advice: int) -> None:
        if length > SIZE_MAX or offset > SIZE_MAX:
            raise os_error(errno.EINVAL)

    def sync(self, *, data_only: bool) -> None:
        """Nothing: it is as safe as the last snapshot."""

    def set_flags(self, fdflags: int) -> None:
        changeable = r.APPEND | r.NONBLOCK
        self.fdflags = self.fdflags & ~changeable | fdflags & changeable

    def set_times(self, access: int | None, modification: int | None) -> None:
        if self._root.readonly:
            raise os_error(errno.EROFS)
        self._tree.set_times(self._node, access, modification)

    def available(self) -> int:
        return max(0, self._node.size - self.offset)

    def stat(self) -> Attributes:
        return self._tree.attributes(self._node)

    def close(self) -> None:
        self._tree.let_go(self._node)

    def capture(self, number: int, scene: Scene) -> TreeFileState:
        """By its node."""
        return TreeFileState(
            number=number,
            guest=self._root.mapping.guest,
            node=self._node.id,
            access=Access.of(self, self.readable, self.writable),
            offset=self.offset,
        )

    @classmethod
    def restore(cls, state: TreeFileState, scene: Scene) -> TreeFile:
        """The node of the restored tree. Raises Missing."""
        root = scene.root(state.guest, TreeRoot)
        node = root.restored.nodes.rows.get(state.node)
        if node is None or not node.is_file:
            raise Missing(f"the file that is descriptor {state.number}, in {state.guest}")
        return cls(root, root.restored, node, state.access)

    def rewind(self, state: TreeFileState) -> None:
        """Go to the saved offset; the tree is as it was."""
        self.offset = state.offset


class TreeDirectory(Directory):
    """An open directory."""

    __slots__ = ("_node", "_tree")
    root: TreeRoot

    def __init__(
        self,
        root: TreeRoot,
        tree: Tree,
        node: Node,
        *,
        preopen: bool = False,
        rights: int = r.DIRECTORY,
        inheriting: int = r.ALL,
    ) -> None:
        super().__init__(-1, root, preopen=preopen, rights=rights, inheriting=inheriting)
        self._tree = tree
        self._node = node
        tree.hold(node)

    def stat(self) -> Attributes:
        return self._tree.attributes(self._node)

    def set_times(self, access: int | None, modification: int | None) -> None:
        self.may_change()
        self._tree.set_times(self._node, access, modification)

    def close(self) -> None:
        self._tree.let_go(self._node)

    # -- opening ----------------------------------------------------------------------------

    def open(self, path: bytes, want: Want) -> Descriptor:
        if self.root.readonly:
            want = self.without_creating(path, want)
        node = self._open(path, want)
        if node.is_directory:
            rights, inheriting = self.inheriting & r.DIRECTORY, self.inheriting
            return TreeDirectory(self.root, self._tree, node, rights=rights, inheriting=inheriting)
        if not node.is_file:  # a pipe or device in the lower directory of an overlay
            raise os_error(errno.EOPNOTSUPP)
        self._tree.copy_up(node, empty=want.truncate)
        file = TreeFile(self.root, self._tree, node, self.granted(want))
        if want.truncate:
            self._tree.volume.truncate(node, 0)
            now = self._tree.now()
            self._tree.changed(node, ctime=now, mtime=now)
        return file

    def _open(self, path: bytes, want: Want) -> Node:
        """The node, made if it is to be; not yet cut."""
        if want.create:
            slash = path.endswith(b"/")
            spot = self._walk(path, follow=want.follow and not want.exclusive and not slash)
            if spot.slash and not spot.dots:
                raise os_error(errno.EISDIR)
            if spot.node is None:
                return self._tree.create(spot.parent, spot.name, FILE_MODE)
            if want.exclusive:
                raise os_error(errno.EEXIST)
            node = spot.node
        else:
            node = find(self._tree, self._node, path, follow=want.follow)
        if node.is_link:
            raise os_error(errno.ENOTDIR if want.directory else errno.ELOOP)
        if node.is_directory:
            if want.create or want.truncate or want.writable:
                raise os_error(errno.EISDIR)
        elif want.directory:
            raise os_error(errno.ENOTDIR)
        return node

    # -- names ------------------------------------------------------------------------------

    def _walk(self, path: bytes, *, follow: bool = False) -> Spot:
        return walk(self._tree, self._node, path, follow=follow)

    def stat_at(self, path: bytes, *, follow: bool) -> Attributes:
        return self._tree.attributes(find(self._tree, self._node, path, follow=follow))

    def make_directory(self, path: bytes) -> None:
        self.may_change()
        spot = self._walk(path)
        if spot.node is not None:
            raise os_error(errno.EEXIST)
        self._tree.create(spot.parent, spot.name, DIRECTORY_MODE)

    def remove_directory(self, path: bytes) -> None:
        self.may_change()
        spot = self._walk(path)
        if spot.dots:
            raise os_error(errno.EINVAL if spot.dots == b"." else errno.ENOTEMPTY)
        if spot.node is None:
            raise os_error(errno.ENOENT)
        if not spot.node.is_directory:
            raise os_error(errno.ENOTDIR)
        if self._tree.children(spot.node):
            raise os_error(errno.ENOTEMPTY)
        self._tree.remove(spot.parent, spot.name, spot.node)

    def unlink(self, path: bytes) -> None:
        self.may_change()
        spot = self._walk(path)
        if spot.node is None:
            raise os_error(errno.ENOENT)
        if spot.dots or spot.node.is_directory:
            raise os_error(errno.EISDIR)
        if spot.slash:
            raise os_error(errno.ENOTDIR)
        self._tree.remove(spot.parent, spot.name, spot.node)

    def rename(self, old: bytes, to: Directory, new: bytes) -> None:
        target_tree = self._both_may_change(to)
        source, target = self._walk(old), target_tree._walk(new)
        self._must_be_mine(target_tree)
        if source.dots or target.dots:
            raise os_error(errno.EBUSY)
        node, over = source.node, target.node
        if node is None:
            raise os_error(errno.ENOENT)
        if not node.is_directory and (source.slash or target.slash):
            raise os_error(errno.ENOTDIR)
        if node.is_directory and self._tree.contains(node, target.parent):
            raise os_error(errno.EINVAL)
        if over is not None:
            if over.is_directory and self._tree.contains(over, source.parent):
                raise os_error(errno.ENOTEMPTY)
            if over is node:
                return
            if node.is_directory and not over.is_directory:
                raise os_error(errno.ENOTDIR)
            if over.is_directory:
                if not node.is_directory:
                    raise os_error(errno.EISDIR)
                if self._tree.children(over):
                    raise os_error(errno.ENOTEMPTY)
        self._tree.move(source.parent, source.name, node, target.parent, target.name, over)

    def link(self, old: bytes, to: Directory, new: bytes) -> None:
        target_tree = self._both_may_change(to)
        source = self._walk(old)
        target_tree._walk(new)
        if old.endswith(b"/"):
            is_directory = find(self._tree, self._node, old, follow=True).is_directory
            raise os_error(errno.EPERM if is_directory else errno.ENOTDIR)
        if source.node is None:
            raise os_error(errno.ENOENT)
        target = target_tree._new(new)
        self._must_be_mine(target_tree)
        if source.node.is_directory:
            raise os_error(errno.EPERM)
        self._tree.link(source.node, target.parent, target.name)

    def symlink(self, target: bytes, path: bytes) -> None:
        self.may_change()
        if target.startswith(b"/"):
            raise os_error(errno.EPERM)
        if not target:
            raise os_error(errno.ENOENT)
        if len(target) > PATH_MAX:
            raise os_error(errno.ENAMETOOLONG)
        spot = self._new(path)
        self._tree.create(spot.parent, spot.name, LINK_MODE, target)

    def read_link(self, path: bytes) -> bytes:
        node = find(self._tree, self._node, path, follow=False)
        if not node.is_link:
            raise os_error(errno.EINVAL)
        if node.target.startswith(b"/"):
            raise os_error(errno.EPERM)
        return node.target

    def set_times_at(
        self, path: bytes, access: int | None, modification: int | None, *, follow: bool
    ) -> None:
        self.may_change()
        node = find(self._tree, self._node, path, follow=follow)
        self._tree.set_times(node, access, modification)

    def _new(self, path: bytes) -> Spot:
        """Where a new file or link is to get a name; a slash behind it asks for a directory."""
        spot = self._walk(path)
        if spot.node is None:
            if spot.slash:
                raise os_error(errno.ENOENT)
            return spot
        if spot.slash and not spot.dots:
            find(self._tree, self._node, path, follow=True)
        raise os_error(errno.EEXIST)

    def _both_may_change(self, to: Directory) -> TreeDirectory:
        self.may_change()
        to.may_change()
        if not isinstance(to, TreeDirectory):
            raise os_error(errno.EXDEV)
        return to

    def _must_be_mine(self, to: TreeDirectory) -> None:
        if to._tree is not self._tree:
            raise os_error(errno.EXDEV)

    # -- entries ----------------------------------------------------------------------------

    def scan(self) -> list[Entry]:
        own = self._node
        above = self._tree.above(own)
        return [
            (b".", own.id, stat.S_IFDIR),
            (b"..", above.id, stat.S_IFDIR),
            *((name, node.id, stat.S_IFMT(node.mode)) for name, node in self._tree.children(own)),
        ]

    # -- snapshots --------------------------------------------------------------------------

    def capture(self, number: int, scene: Scene) -> TreeDirectoryState:
        """By its node."""
        return TreeDirectoryState(
            number=number,
            guest=self.root.mapping.guest,
            node=self._node.id,
            preopen=self.preopen,
            rights=self.rights,
            inheriting=self.inheriting,
            listing=self.listing,
        )

    @classmethod
    def restore(cls, state: TreeDirectoryState, scene: Scene) -> TreeDirectory:
        """The node of the restored tree. Raises Missing."""
        root = scene.root(state.guest, TreeRoot)
        node = root.restored.nodes.rows.get(state.node)
        if node is None or not node.is_directory:
            raise Missing(f"the directory that is descriptor {state.number}, in {state.guest}")
        return cls(
            root,
            root.restored,
            node,
            preopen=state.preopen,
            rights=state.rights,
            inheriting=state.inheriting,
        )

    def rewind(self, state: TreeDirectoryState) -> None:
        """Go on reading where the guest was."""
        self.listing = None if state.listing is None else list(state.listing)
