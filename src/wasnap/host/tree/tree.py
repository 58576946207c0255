"""Files and directories in memory: the content of a mapping of kind tmp or overlay.

A tree knows nodes and names, and what becomes of them; which path leads where, and what a Unix
system calls an error in it, is ``path.py`` and ``directory.py``.

*Overlay.* The tree of an overlay has a ``lower`` directory, and is filled from it as the guest
looks: the first look at a name makes a node with the attributes that the lower file has at this
moment (or notes that there is none), opening a file copies its content, listing a directory looks
at all names in it. From then on the lower directory is not asked about it again. So what the guest
has seen is part of the tree, and with it of every snapshot, and what it changes is changed in the
tree only. A node keeps its place in the lower directory (``Node.lower``) wherever it is renamed to,
so a directory can be renamed without looking at what lies beneath.

Invariants: a node with no name and no descriptor is gone. ``_names`` has a dict for each directory.
Inode 1 is the root.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from ...errors import CannotResume
from ..beneath import os_error, storable
from .arena import Arena
from .lower import Found, Lower
from .node import ABSENT, REMOVED, Attributes, Name, Node, Origin, Pages
from .table import Table, TableState
from .volume import Volume

NAME_MAX: Final = 255
ROOT: Final = 1
FILE_MODE: Final = stat.S_IFREG | 0o644
DIRECTORY_MODE: Final = stat.S_IFDIR | 0o755
LINK_MODE: Final = stat.S_IFLNK | 0o777
_DIRECTORY_SIZE: Final = 4096
_ROWS_MIN: Final = 4096
_BYTES_PER_ROW: Final = 4096
"""A mapping may have this many names, and one more for each so many bytes of its size."""

log = logging.getLogger(__name__)


class TreeState(msgspec.Struct, frozen=True):
    """A tree, whose rows and contents are in the arena. ``size``: bytes it may have."""

    size: int
    overlay: bool
    nodes: TableState
    names: TableState


class Tree:
    """Nodes and their names. ``device``: its number, as the guest sees it."""

    def __init__(
        self,
        arena: Arena,
        size: int,
        now: Callable[[], int],
        *,
        device: int = 0,
        lower: Lower | None = None,
    ) -> None:
        """An empty one, or what is seen of a lower directory before anybody looked. Raises OSError
        if that is not there. ``now``: the time, in ns since the epoch; ``size``: bytes.
        """
        self._start(arena, size, now, device, lower)
        self.nodes = Table(arena, Node)
        self.names = Table(arena, Name)
        if lower is not None:
            found = lower.look(b".")
            if found is None:
                raise os_error(errno.ENOENT)
            self.root = self._see(b".", found, ROOT)
            return
        time = now()
        root = Node(0, DIRECTORY_MODE, 2, _DIRECTORY_SIZE, time, time, time, parent=ROOT)
        self.root = self.nodes.add(root)
        self._names[ROOT] = {}

    def _start(
        self,
        arena: Arena,
        size: int,
        now: Callable[[], int],
        device: int,
        lower: Lower | None,
    ) -> None:
        self.size = size
        self.volume = Volume(arena, size)
        self.now = now
        self._device = device
        self._lower = lower
        self._rows_max = _ROWS_MIN + size // _BYTES_PER_ROW
        self._names: dict[int, dict[bytes, Name]] = {}
        self._opens: dict[int, int] = {}
        self._by_origin: dict[tuple[int, int], Node] = {}

    # -- looking ----------------------------------------------------------------------------

    def child(self, directory: Node, name: bytes) -> Node | None:
        """What is called so in a directory; None: nothing."""
        row = self._names[directory.id].get(name)
        if row is not None:
            return self.nodes.rows[row.node] if row.node > 0 else None
        if directory.seen:
            return None
        return self._look(directory, name)

    def children(self, directory: Node) -> list[tuple[bytes, Node]]:
        """All that a directory holds, sorted by name."""
        names = self._names[directory.id]
        if not directory.seen:
            assert self._lower is not None and directory.lower is not None
            for name in sorted(self._lower.names(directory.lower)):
                if name not in names:
                    self._look(directory, name)
            directory.seen = True
            self.nodes.touch(directory)
        return [(n, self.nodes.rows[row.node]) for n, row in sorted(names.items()) if row.node > 0]

    def names_in(self, directory: Node) -> Iterable[Name]:
        """The rows of a directory, as far as they are known."""
        return self._names[directory.id].values()

    def attributes(self, node: Node) -> Attributes:
        """As stat(2) gives them."""
        n = node
        return Attributes(self._device, n.id, n.mode, n.links, n.size, n.atime, n.mtime, n.ctime)

    def above(self, directory: Node) -> Node:
        """The directory it lies in; the root lies in itself."""
        return self.nodes.rows.get(directory.parent, directory)

    def contains(self, directory: Node, other: Node) -> bool:
        """Whether ``other`` is ``directory``, or lies beneath it."""
        while other is not directory and other.id != ROOT:
            other = self.above(other)
        return other is directory

    # -- changing ---------------------------------------------------------------------------

    def create(self, directory: Node, name: bytes, mode: int, target: bytes = b"") -> Node:
        """A new node with a name that nothing has. ENOENT: the directory was removed; ENOSPC."""
        if not directory.links:
            raise os_error(errno.ENOENT)
        self._need_room()
        time = self.now()
        node = self.nodes.add(Node(0, mode, 1, len(target), time, time, time, target=target))
        if node.is_directory:
            node.links, node.size, node.parent = 2, _DIRECTORY_SIZE, directory.id
            self._names[node.id] = {}
            directory.links += 1
        elif node.is_file:
            node.pages = Pages()
        self._attach(directory, name, node, time)
        return node

    def link(self, node: Node, directory: Node, name: bytes) -> None:
        """Give a file or link one more name, which nothing has."""
        if not directory.links:
            raise os_error(errno.ENOENT)
        self._need_room()
        self.copy_up(node)
        node.links += 1
        time = self.now()
        self.changed(node, ctime=time)
        self._attach(directory, name, node, time)

    def remove(self, directory: Node, name: bytes, node: Node) -> None:
        """Take a name away; of a directory, only if it is empty (see ``children``)."""
        time = self.now()
        self._detach(directory, name, time)
        self._lose_name(directory, node, time)

    def move(
        self, source: Node, old: bytes, node: Node, target: Node, new: bytes, over: Node | None
    ) -> None:
        """Rename; ``over`` is what has the new name, and may be replaced."""
        if not target.links:
            raise os_error(errno.ENOENT)
        if over is None:
            self._need_room()
        self.copy_up(node)
        time = self.now()
        if over is not None:
            self._lose_name(target, over, time)
        self._detach(source, old, time)
        self._attach(target, new, node, time)
        if node.is_directory:
            source.links -= 1
            target.links += 1
            node.parent = target.id
        self.changed(node, ctime=time)

    def changed(self, node: Node, *, ctime: int, mtime: int | None = None) -> None:
        """The guest changed it at this time (ns); ``mtime``: its content, too."""
        node.ctime = ctime
        if mtime is not None:
            node.mtime = mtime
        node.changed = True
        self.nodes.touch(node)

    def set_times(self, node: Node, access: int | None, modification: int | None) -> None:
        """Time stamps in ns; None: leave."""
        self.copy_up(node)
        if access is not None:
            node.atime = access
        if modification is not None:
            node.mtime = modification
        self.changed(node, ctime=self.now())

    def _attach(self, directory: Node, name: bytes, node: Node, time: int) -> None:
        names = self._names[directory.id]
        row = names.get(name)
        if row is None:
            names[name] = self.names.add(Name(0, directory.id, name, node.id))
        else:
            row.node = node.id
            self.names.touch(row)
        self.changed(directory, ctime=time, mtime=time)

    def _detach(self, directory: Node, name: bytes, time: int) -> None:
        row = self._names[directory.id][name]
        if row.lower or not directory.seen:
            row.node = REMOVED if row.lower else ABSENT
            self.names.touch(row)
        else:
            del self._names[directory.id][name]
            self.names.remove(row)
        self.changed(directory, ctime=time, mtime=time)

    def _lose_name(self, directory: Node, node: Node, time: int) -> None:
        """It was called something in this directory, and is not any more."""
        if node.is_directory:
            node.links = 0
            node.seen = True
            directory.links -= 1
            for row in self._names[node.id].values():  # those of a lower directory
                self.names.remove(row)
            self._names[node.id] = {}
        else:
            node.links -= 1
        self.changed(node, ctime=time)
        self._forget_if_unused(node)

    def _need_room(self) -> None:
        if len(self.names.rows) >= self._rows_max:
            raise os_error(errno.ENOSPC)

    # -- descriptors ------------------------------------------------------------------------

    def hold(self, node: Node) -> None:
        """A descriptor of it is open."""
        self._opens[node.id] = self._opens.get(node.id, 0) + 1

    def let_go(self, node: Node) -> None:
        """And is closed."""
        self._opens[node.id] -= 1
        self._forget_if_unused(node)

    def _forget_if_unused(self, node: Node) -> None:
        if node.links or self._opens.get(node.id):
            return
        self._opens.pop(node.id, None)
        if node.is_file:
            self.volume.release(node)
        if node.is_directory:
            del self._names[node.id]
        if node.origin is not None:
            self._by_origin.pop(node.origin[:2], None)
        self.nodes.remove(node)

    # -- the lower directory ----------------------------------------------------------------

    def _look(self, directory: Node, name: bytes) -> Node | None:
        """The first look at a name; nothing is remembered of it yet."""
        assert self._lower is not None and directory.lower is not None
        self._need_room()
        path = name if directory.lower == b"." else b"%s/%s" % (directory.lower, name)
        found = self._lower.look(path)
        node = None if found is None else self._see(path, found, directory.id)
        row = Name(0, directory.id, name, node.id if node else ABSENT, lower=node is not None)
        self._names[directory.id][name] = self.names.add(row)
        return node

    def _see(self, path: bytes, found: Found, parent: int) -> Node:
        """The node of a lower file, as it is now."""
        status = found.status
        accessed, modified, changed = (
            storable(ns) for ns in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        )
        origin = None
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            origin = Origin(status.st_dev, status.st_ino, status.st_size, modified)
            known = self._by_origin.get(origin[:2])
            if known is not None and known.origin == origin:
                return known
        node = Node(
            0,
            status.st_mode,
            status.st_nlink,
            status.st_size,
            accessed,
            modified,
            changed,
            target=found.target,
            lower=path,
            changed=False,
            origin=origin,
        )
        self.nodes.add(node)
        if node.is_directory:
            node.links, node.parent, node.seen = max(2, node.links), parent, False
            self._names[node.id] = {}
        elif node.is_file:
            node.pages, node.seen = Pages(), False
        if origin is not None:
            self._by_origin[origin[:2]] = node
        return node

    def copy_up(self, node: Node, *, empty: bool = False) -> None:
        """Have a file's content here, or none of it (``empty``). ENOENT: it is not there any more;
        ENOSPC.

        Its size and times are those of this moment: whoever changed it since the guest looked did
        so before the guest opened it.
        """
        if node.seen or not node.is_file:
            return
        if empty:
            node.size = 0
        else:
            assert self._lower is not None and node.lower is not None
            try:
                self._lower.copy(node.lower, node, self.volume)
            except OSError as error:
                self.volume.release(node)
                if error.errno == errno.ENOSPC:
                    log.warning(
                        "%s does not fit into what is kept of %s: give the overlay a larger size",
                        os.fsdecode(node.lower),
                        self._lower.host,
                    )
                raise
        node.seen = True
        self.nodes.touch(node)

    # -- snapshots --------------------------------------------------------------------------

    def capture(self) -> TreeState:
        """What changed goes into the arena; this says where it is."""
        overlay = self.root.lower is not None
        return TreeState(self.size, overlay, self.nodes.capture(), self.names.capture())

    @classmethod
    def load(
        cls,
        state: TreeState,
        arena: Arena,
        now: Callable[[], int],
        *,
        device: int = 0,
        size: int | None = None,
        lower: Lower | None = None,
    ) -> Tree:
        """The tree of a snapshot, whose arena this is. Raises CannotResume."""
        tree = cls.__new__(cls)
        tree._start(arena, state.size if size is None else size, now, device, lower)
        tree.nodes = Table.load(arena, Node, state.nodes)
        tree.names = Table.load(arena, Name, state.names)
        try:
            tree._connect(tree.nodes.rows.values(), tree.names.rows.values())
            tree.root = tree.nodes.rows[ROOT]
        except KeyError as missing:
            raise CannotResume(
                f"an in-memory directory is inconsistent: there is no node {missing}",
                "wasnap journal verify tells more",
            ) from None
        return tree

    def _connect(self, nodes: Iterable[Node], names: Iterable[Name]) -> None:
        for node in nodes:
            if node.is_directory:
                self._names[node.id] = {}
            elif node.is_file:
                self.volume.claim(node)
            if node.origin is not None:
                self._by_origin[node.origin[:2]] = node
        for name in names:
            if name.node > 0:
                self.nodes.rows[name.node]
            self._names[name.parent][name.name] = name
