"""Names as they would be: the file system, with moves and removals that were only thought of.

Checking before anything is touched means undoing in the mind first. A ``Tree`` starts as what is
there and is read as far as it is asked for; ``put`` and ``take`` change it, and nothing else.
"""

from __future__ import annotations

import os
import stat

from .entries import Identity
from .kept import identity


class Node:
    """Something with a name. ``real``: its path now (None: it is not there yet, or only in the
    mind, ``phantom``); ``status``: what it is like now. ``ours``: known not to be changed by
    others; ``changed``: undoing changes what it is like. ``age``: see ``plan.Plan``."""

    __slots__ = (
        "age", "changed", "children", "identity", "mode", "ours", "phantom", "real", "status",
    )  # fmt: skip

    def __init__(self, mode: int, identity: Identity, status: os.stat_result | None = None):
        self.mode = mode
        self.identity = identity
        self.status = status
        self.real: bytes | None = None
        self.children: dict[bytes, Node | None] = {}
        self.phantom = False
        self.ours = False
        self.changed = False
        self.age = 0

    @property
    def is_directory(self) -> bool:
        """Not a link to one."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """A regular one."""
        return stat.S_ISREG(self.mode)

    def child(self, name: bytes) -> Node | None:
        """What is called ``name`` in this directory."""
        if name not in self.children:
            self.children[name] = self._read(name)
        return self.children[name]

    def _read(self, name: bytes) -> Node | None:
        if self.real is None or not self.is_directory:
            return None
        return read(os.path.join(self.real, name))

    def names(self) -> set[bytes]:
        """What is in this directory."""
        found = set() if self.real is None else set(os.listdir(self.real))
        found -= {name for name, node in self.children.items() if node is None}
        return found | {name for name, node in self.children.items() if node is not None}


def read(path: bytes) -> Node | None:
    """What the file system has there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    node = Node(status.st_mode, identity(status), status)
    node.real = path
    return node


class Tree:
    """All of the file system; paths are absolute, without symbolic links."""

    def __init__(self) -> None:
        root = read(b"/")
        assert root is not None
        self._root = root

    def directory_of(self, path: bytes) -> Node | None:
        """The directory that ``path`` lies in."""
        node: Node | None = self._root
        for name in path.split(b"/")[1:-1]:
            if node is None:
                return None
            node = node.child(name) if name else node
        return node if node is not None and node.is_directory else None

    def get(self, path: bytes) -> Node | None:
        """What is called so."""
        directory = self.directory_of(path)
        if directory is None:
            return None
        name = path.rpartition(b"/")[2]
        return directory.child(name) if name else directory

    def put(self, path: bytes, node: Node | None) -> bool:
        """Call ``node`` so; None: nothing is. False: there is no such directory."""
        directory = self.directory_of(path)
        if directory is None:
            return False
        directory.children[path.rpartition(b"/")[2]] = node
        return True
