"""Files in host directories when a process is resumed: what is checked, undone, refused.

Everything is checked first, and all that differs is told at once:

- what the snapshot had open and is not there, or is something else: always refused;
- what others changed, among the files the guest has changed since (the history knows) and those it
  had open: refused, unless ``--files`` says otherwise; never overwritten;
- what the guest itself changed since: undone, unless ``--files`` says otherwise.

Without a history that belongs to the snapshot (a journal that was copied alone) nothing can be
undone, and files are compared with what the snapshot says of them. A copy of a file with its size
and time is as good as the file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .beneath import storable
from .config import Files
from .descriptors import Missing, Scene
from .directory import DirectoryState
from .file import FileState
from .history import History, HistoryState, NoHistory, Plan
from .history.tree import Node, Tree
from .root import HostRoot, Place

log = logging.getLogger(__name__)

_SHOWN = 20
HINT_MISSING = (
    "no resume goes on without what was open: put it back under its name, or give the directory in "
    "which it lies (--dir HOST::GUEST)"
)
HINT_DIFFERENT = (
    "give the same directories, with their files as they were; --files=rewind goes on and leaves "
    "alone what others changed, --files=keep goes on with all files as they are"
)


class Rewind:
    """One resume. ``path``: of the history; None: nothing is to be noted from here on."""

    def __init__(
        self,
        roots: Sequence[HostRoot],
        path: Path | None,
        saved: HistoryState | None,
        files: Files | None,
        *,
        sync: bool,
    ) -> None:
        self._roots = roots
        self._path = path
        self._files = files
        self._sync = sync
        self._history: History | None = None
        self._plan: Plan | None = None
        if path is not None and saved is not None:
            try:
                self._history = History.open(path, saved.log, roots, sync=sync)
                self._plan = self._history.plan(saved)
            except NoHistory as why:
                log.warning("changes to files after the snapshot cannot be undone: %s", why)

    def check(
        self, descriptors: Iterable[FileState | DirectoryState], scene: Scene
    ) -> tuple[list[str], list[str]]:
        """What is not there and must be; what is different and refused. Tells of what is let pass."""
        keep = self._files == "keep"
        tree = Tree() if self._plan is None or keep else self._plan.tree
        missing: dict[str, None] = {}
        different = {} if self._plan is None else dict(self._plan.differences)
        for state in descriptors:
            try:
                root = scene.root(state.guest, HostRoot)
            except Missing as none:
                missing[str(none)] = None
                continue
            if state.place is None:
                continue
            node = _find(tree, root, state.place)
            wrong = _unlike(state, node)
            if wrong is not None:
                missing[f"{state.place} {wrong}"] = None
                different = {
                    text: None for text in different if not text.startswith(f"{state.place} ")
                }
            elif isinstance(state, DirectoryState) or node is None:
                continue
            elif state.access.writable and root.readonly:
                text = f"{state.place} was open for writing, but {state.guest} is read-only"
                missing[text] = None
            elif not any(text.startswith(f"{state.place} ") for text in different):
                why = _difference(state, node)
                if why is not None:
                    different[why] = None
        if self._plan is not None and self._plan.unreached and not keep:
            log.warning(
                "what the process changed in %s after the snapshot is not undone: the directory that"
                " is mapped there now is another one",
                listed(list(self._plan.unreached)),
            )
        if self._files == "rewind":
            for text in different:
                log.warning("%s: left as it is", text)
        if keep or self._files == "rewind":
            return list(missing), []
        if self._plan is not None and self._files == "fail":
            different |= self._plan.own
        return list(missing), list(different)

    def carry_out(self) -> History | None:
        """Undo what is to be undone; where changes are noted from here on. Raises CannotResume,
        JournalError."""
        history, plan = self._history, self._plan
        if history is None or plan is None:
            if self._path is None:
                return None
            History.move_aside(self._path)
            return History.create(self._path, self._roots, sync=self._sync)
        history.begin(plan)
        if self._files != "keep":
            history.rewind(plan)
            if plan.own:
                log.debug("undone: %s", listed(list(plan.own)))
        self._history = None  # it is the host's now
        return history

    def close(self) -> None:
        """It is not going to be carried out, or failed in the midst of it."""
        if self._history is not None:
            self._history.close()
            self._history = None


def _find(tree: Tree, root: HostRoot, place: Place) -> Node | None:
    real = os.readlink(b"/proc/self/fd/%d" % root.fileno)
    return tree.get(real if place.path == b"." else os.path.join(real, place.path))


def _unlike(state: FileState | DirectoryState, node: Node | None) -> str | None:
    """Why what was open cannot be opened again."""
    if node is None:
        return "is not there"
    if isinstance(state, DirectoryState):
        return None if node.is_directory else "is not a directory any more"
    return None if node.is_file else "is not a regular file any more"


def _difference(state: FileState, node: Node) -> str | None:
    """What is not as it was about a file that nothing is undone in."""
    if node.changed or node.status is None:
        return None
    if node.status.st_size != state.size:
        return f"{state.place} has {node.status.st_size} bytes, and had {state.size}"
    if storable(node.status.st_mtime_ns) != state.modified:
        return f"{state.place} was changed after the snapshot"
    return None


def listed(texts: list[str]) -> str:
    """In one line; the first ones, if they are many."""
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
