"""Where a path leads in a tree in memory: what a kernel's name lookup does, beneath a directory.

``..`` never leads above the directory one starts from, nor does a symbolic link (EPERM), however
deep in the tree that directory lies: the same rule as for host directories (``beneath.py``).
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from ..beneath import LINKS_MAX, os_error
from .node import Node
from .tree import NAME_MAX, Tree

PATH_MAX = 4095
"""Bytes in a path, or in the target of a symbolic link."""


class Spot(NamedTuple):
    """What a path names: ``name`` in ``parent``, which is ``node`` (None: nothing yet).

    ``dots``: the path ends with "." or "..", which this is; then ``node`` is there, ``parent`` is
    the same, and ``name`` means nothing. ``slash``: there is a slash behind the last component.
    """

    parent: Node
    name: bytes
    node: Node | None
    slash: bool = False
    dots: bytes = b""


def walk(tree: Tree, base: Node, path: bytes, *, follow: bool) -> Spot:
    """``follow``: also a symbolic link that is the last component.

    ENOENT, ENOTDIR: something on the way is missing, or no directory. EPERM: it leads out. ELOOP,
    ENAMETOOLONG.
    """
    if not path:
        raise os_error(errno.ENOENT)
    if path.startswith(b"/"):
        raise os_error(errno.EPERM)
    if len(path) > PATH_MAX:
        raise os_error(errno.ENAMETOOLONG)
    trail = [base]
    pending = _components(path)
    slash = path.endswith(b"/")
    links = 0
    while True:
        name = pending.pop()
        here = trail[-1]
        if name in (b".", b".."):
            if name == b"..":
                if len(trail) == 1:
                    raise os_error(errno.EPERM)
                trail.pop()
            if not pending:
                return Spot(trail[-1], b"", trail[-1], slash, name)
            continue
        if len(name) > NAME_MAX:
            raise os_error(errno.ENAMETOOLONG)
        node = tree.child(here, name)
        if node is not None and node.is_link and (pending or follow):
            links += 1
            if links > LINKS_MAX:
                raise os_error(errno.ELOOP)
            if node.target.startswith(b"/"):
                raise os_error(errno.EPERM)
            slash = slash or (not pending and node.target.endswith(b"/"))
            pending += _components(node.target)
            continue
        if not pending:
            return Spot(here, name, node, slash)
        if node is None:
            raise os_error(errno.ENOENT)
        if not node.is_directory:
            raise os_error(errno.ENOTDIR)
        trail.append(node)


def find(tree: Tree, base: Node, path: bytes, *, follow: bool) -> Node:
    """The node that is there; a slash behind it asks for a directory. As ``walk``; ENOENT."""
    spot = walk(tree, base, path, follow=follow or path.endswith(b"/"))
    if spot.node is None:
        raise os_error(errno.ENOENT)
    if spot.slash and not spot.node.is_directory:
        raise os_error(errno.ENOTDIR)
    return spot.node


def _components(path: bytes) -> list[bytes]:
    """Last one first, to be popped."""
    return [c for c in reversed(path.split(b"/")) if c]
