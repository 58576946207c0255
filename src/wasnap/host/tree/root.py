"""Mappings of kind tmp and overlay: a tree in memory, and perhaps a host directory below it."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import TREE_SIZE, Mapping
from ..descriptors import Missing
from ..mapped import Root
from .arena import Arena
from .lower import Lower
from .tree import Tree, TreeState

if TYPE_CHECKING:
    from .descriptors import TreeDirectory

log = logging.getLogger(__name__)


class TreeRoot(Root):
    """``tree``: what it holds. ``restored``: what it is going to hold, while a snapshot is being
    restored, as long as that may still be refused.
    """

    __slots__ = ("_device", "_lower", "_now", "restored", "tree")

    def __init__(self, mapping: Mapping, arena: Arena, now: Callable[[], int]) -> None:
        """Raises OSError if there is no lower directory. ``now``: ns since the epoch."""
        super().__init__(mapping)
        self._now = now
        self._device = 1 << 32 | zlib.crc32(os.fsencode(mapping.guest))
        self._lower: Lower | None = None
        if mapping.kind == "overlay":
            self._lower = Lower(mapping.host, may_be_missing=mapping.may_be_missing)
        self.tree = self.restored = self._new_tree(arena)

    def _new_tree(self, arena: Arena) -> Tree:
        lower = self._lower
        if lower is not None and lower.is_missing:
            lower = None  # there will be a snapshot, which knows what was in it
        size = self.mapping.size or TREE_SIZE
        return Tree(arena, size, self._now, device=self._device, lower=lower)

    def preopen(self) -> TreeDirectory:
        from .descriptors import TreeDirectory  # it needs this module

        return TreeDirectory(self, self.tree, self.tree.root, preopen=True)

    def restore(self, state: TreeState | None, arena: Arena) -> None:
        """Load what is to be ``tree`` after ``rewind``. None: the snapshot knows nothing of this
        mapping. Raises Missing, or CannotResume.
        """
        if state is None:
            self.restored = self._new_tree(arena)
            return
        if state.overlay != (self._lower is not None):
            raise Missing(f"{self.mapping.guest} is mapped in another way than it was")
        self.restored = Tree.load(
            state,
            arena,
            self._now,
            device=self._device,
            size=self.mapping.size,
            lower=self._lower,
        )

    def rewind(self) -> None:
        """Become what was loaded."""
        self.tree = self.restored
        if self._lower is not None and self._lower.is_missing:
            log.warning(
                "there is no directory %s: what the guest has not seen of %s yet is not there",
                self.mapping.host,
                self.mapping.guest,
            )

    def close(self) -> None:
        if self._lower is not None:
            self._lower.close()
