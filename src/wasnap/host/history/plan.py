"""Undoing in the mind: what is to be done, and what others did that stands in the way.

``Plan`` walks the log from its end back to a snapshot's position, with a ``Tree`` that starts as the
world is now. Each entry is either a step (it can be undone, and will be), or nothing (its change
never happened, or left no trace), or a difference: somebody else was there, and undoing would
overwrite what they did. Nothing is touched.

Differences beget differences only where they must: a file that others changed is left alone, the
names around it are undone all the same.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from .entries import (
    KEPT,
    Back,
    Break,
    Bytes,
    File,
    Foreign,
    Gone,
    Hole,
    Identity,
    Is,
    Life,
    Lost,
    Made,
    Moved,
    Point,
    Stamped,
)
from .kept import Kept, identity, name
from .log import DamagedLog, Log, Stored
from .recorder import Base, HistoryState, boot_id
from .table import Row, Table
from .tree import Node, Tree

OnFile = File | Bytes | Hole | Stamped


class Step(NamedTuple):
    """An entry to be undone. ``phantom``: what it names was never seen by a snapshot, only the
    times of directories and what was replaced come back. ``never``: its change did not happen, and
    what was kept is dropped."""

    stored: Stored
    roots: Roots
    phantom: bool = False
    never: bool = False


class Roots:
    """The mapped directories of one life in the log, as far as they are mapped now."""

    def __init__(
        self, roots: Sequence[tuple[str, int, int]], boot: str, bases: Sequence[Base]
    ) -> None:
        self.guests = [guest for guest, _, _ in roots]
        self.identities = [(device, inode) for _, device, inode in roots]
        self._bases: list[Base | None] = []
        self._devices: dict[int, int] = {}
        """Numbers of devices then -> now, where the machine was started again since."""
        again = boot != boot_id()
        for guest, device, inode in roots:
            found = [b for b in bases if _is(b, device, inode, any_device=again)]
            found.sort(key=lambda b: b.guest != guest)
            self._bases.append(found[0] if found else None)
            if found and again:
                self._devices[device] = os.fstat(found[0].fileno).st_dev

    @property
    def devices(self) -> dict[int, int]:
        """Those with other numbers now."""
        return {then: now for then, now in self._devices.items() if then != now}

    def base(self, number: int) -> Base | None:
        """The mapping; None: it is not mapped now."""
        return self._bases[number] if 0 <= number < len(self._bases) else None

    def now(self, identity: Identity) -> Identity:
        """An identity that was noted then."""
        return self._devices.get(identity[0], identity[0]), identity[1]

    def shown(self, number: int, path: bytes) -> str:
        """A place, for people."""
        text = path.decode(errors="backslashreplace")
        if not 0 <= number < len(self.guests):
            return text
        guest = self.guests[number]
        return guest if text in ("", ".") else f"{guest.rstrip('/')}/{text}"


def _is(base: Base, device: int, inode: int, *, any_device: bool) -> bool:
    status = os.fstat(base.fileno)
    return status.st_ino == inode and (any_device or status.st_dev == device)


class Plan:
    """What undoing back to ``state`` comes to.

    ``steps``: in their order. ``differences``: what others did, in words. ``own``: what the guest
    did since, in words. ``elsewhere``: directories that are not mapped now, and ``unreached``: the
    guest's names of those in which something was to be undone. ``points``: whether a snapshot stands
    behind the position.
    """

    def __init__(
        self,
        log: Log,
        table: Table,
        kept: Kept,
        bases: Sequence[Base],
        state: HistoryState,
    ) -> None:
        self.state = state
        self.tree = Tree()
        self.steps: list[Step] = []
        self.differences: dict[str, None] = {}
        self.own: dict[str, None] = {}
        self.elsewhere: set[Identity] = set()
        self.unreached: dict[str, None] = {}
        self.roots: tuple[list[tuple[str, int, int]], str] = (state.roots, state.boot)
        """Of the newest life in the log."""
        self.devices: dict[int, int] = {}
        """Numbers of devices in the table -> now, where they differ."""
        self.points = False
        self._log = log
        self._table = table
        self._kept = kept
        self._bases = bases
        self._there = {identity(os.fstat(base.fileno)) for base in bases}
        self._kept_directory = os.readlink(b"/proc/self/fd/%d" % kept.fileno)
        self._jumps: list[dict[Identity, Identity]] = []
        """What files were called before each jump -> after it. A node's identity is as old as the
        jumps it went along with, its ``age``."""
        self._foreign: set[Identity] = set()
        self._shown: dict[Identity, str] = {}
        """What files are called in which something is undone."""
        self._made: dict[int, Identity] = {}
        self._then: dict[int, int] = {}
        """Numbers of devices now -> when the newest life's table was written."""
        try:
            self._walk()
        except DamagedLog as damage:
            self.steps.clear()
            self.differences = {f"the history of files cannot be read: {damage}": None}

    @property
    def incomplete(self) -> bool:
        """Whether something cannot be undone, or is out of reach."""
        return bool(self.differences or self.elsewhere)

    # -- the walk ---------------------------------------------------------------------------

    def _walk(self) -> None:
        if self.state.position > self._log.end:
            raise DamagedLog("it ends before this snapshot")
        stored: list[Stored] = []
        lives: list[Roots] = []
        roots = Roots(*self.roots, self._bases)
        for record in self._log.read(self.state.position):
            entry = record.entry
            if isinstance(entry, Life):
                self.roots = (entry.roots, entry.boot)
                roots = Roots(*self.roots, self._bases)
            elif isinstance(entry, Is):
                self._made[stored[-1].position if stored else -1] = entry.identity
            elif isinstance(entry, Point):
                self.points = True
            stored.append(record)
            lives.append(roots)
        self.devices = roots.devices
        self._then = {now: then for then, now in self.devices.items()}
        if self._table.broken:
            self._differs("changes to files were made that could not be noted")
            return
        positions = [record.position for record in stored]
        i = len(stored) - 1
        while i >= 0:
            record = stored[i]
            entry = record.entry
            if isinstance(entry, Break):
                self._differs(entry.why)
                return
            if isinstance(entry, Back) and entry.to >= self.state.position:
                elsewhere = {lives[i].now(found) for found in entry.elsewhere}
                if not elsewhere & self._there:
                    self._jump(Step(record, lives[i]), entry, elsewhere)
                    i = bisect_left(positions, entry.to) - 1
                    continue
            self._undo(record, lives[i])
            i -= 1

    def _jump(self, step: Step, back: Back, elsewhere: set[Identity]) -> None:
        """Everything behind ``back.to`` was undone, but what it says."""
        self.elsewhere |= elsewhere
        for text in back.left:
            self._differs(text)
        if back.aliases:
            self._jumps.append(aliases(step))
            self.steps.append(step)

    def _undo(self, stored: Stored, roots: Roots) -> None:
        match stored.entry:
            case Made() as made:
                self._unmake(Step(stored, roots), made)
            case Gone() as gone:
                path = self._path(roots, gone.root, gone.path)
                if path is not None:
                    self._make_again(Step(stored, roots), gone, path)
            case Moved() as moved:
                self._move_back(Step(stored, roots), moved)
            case File() | Bytes() | Hole() | Stamped() as entry:
                self._restore(Step(stored, roots), entry)
            case Foreign(found):
                self._foreign.add(roots.now(found))
                if roots.now(found) in self._shown:  # undone up to here only
                    self._differs(f"{self._shown[roots.now(found)]} was changed by somebody else")
            case Lost() as lost:
                self._differs(f"{roots.shown(lost.root, lost.path)}: {lost.why}")

    # -- names ------------------------------------------------------------------------------

    def _unmake(self, step: Step, made: Made) -> None:
        roots = step.roots
        path = self._path(roots, made.root, made.path)
        node = None if path is None else self.tree.get(path)
        if path is None or node is None:  # it never came to be, or somebody removed it: fine
            return
        shown = roots.shown(made.root, made.path)
        if node.phantom:
            self.tree.put(path, None)
            self.steps.append(step._replace(phantom=True))
            return
        if stat.S_ISDIR(made.mode):
            why = self._not_our_directory(node)
        elif stat.S_ISLNK(made.mode):
            ours = self._is(node, made.mode, (0, 0), made.target, roots)
            why = None if ours else "is something else now"
        else:
            why = self._not_our_file(node, made, self._made.get(step.stored.position), roots)
        if why is not None:
            self._differs(f"{shown} {why}")
            return
        self.tree.put(path, None)
        self._foreign.discard(node.identity)  # an earlier file had its inode, perhaps
        self._shown.pop(node.identity, None)
        if made.kept:
            self.tree.put(self._kept_path(made.kept), node)
        self._step(step, made.root, made.path, "made")

    def _not_our_directory(self, node: Node) -> str | None:
        if not node.is_directory:
            return "is not a directory any more"
        others = sorted(node.names())
        if not others:
            return None
        shown = ", ".join(n.decode(errors="backslashreplace") for n in others[:3])
        return f"holds {len(others)} that somebody else made: {shown}"

    def _not_our_file(
        self, node: Node, made: Made, found: Identity | None, roots: Roots
    ) -> str | None:
        wanted = made.identity or found
        if wanted is None:  # we died while it was being made
            ours = node.ours or self._is_unfinished(node, made)
            return None if ours else "was made by somebody else"
        if not self._same(node, roots.now(wanted)):
            return "is another file now"
        if node.identity in self._foreign:
            return "was changed by somebody else"
        if node.is_file and self._row(node) is not None:
            return self._changed(node)
        return None

    def _is_unfinished(self, node: Node, made: Made) -> bool:
        """Whether this may be what we had just begun to make: empty, or part of a copy."""
        if node.real is None or not node.is_file or node.status is None:
            return False
        if not made.kept:
            return not node.status.st_size
        try:
            with open(node.real, "rb") as there, open(self._kept.open(made.kept), "rb") as kept:
                while part := there.read(1 << 20):
                    if kept.read(len(part)) != part:
                        return False
        except OSError:
            return False
        return True

    def _make_again(self, step: Step, gone: Gone, path: bytes) -> None:
        node = self.tree.get(path)
        if node is None:
            node = self._appear(gone, path, step.roots)
            if node is not None and not node.phantom:
                self._step(step, gone.root, gone.path, "removed")
        elif not self._is(node, gone.mode, gone.identity, gone.target, step.roots):
            shown = step.roots.shown(gone.root, gone.path)
            self._differs(f"{shown} is there, and somebody else made it")
        elif gone.kept:
            self.steps.append(step._replace(never=True))

    def _appear(self, gone: Gone, path: bytes, roots: Roots) -> Node | None:
        """What was removed is there again; None if that cannot be."""
        shown = roots.shown(gone.root, gone.path)
        node = Node(gone.mode, roots.now(gone.identity))
        node.age = len(self._jumps)
        if gone.kept:
            place = self._kept_path(gone.kept)
            kept = self.tree.get(place)
            if kept is None:
                self._differs(f"{shown} was removed, and could not be kept")
                return None
            if self._same(kept, node.identity):
                node = kept
                self.tree.put(place, None)
        elif not stat.S_ISDIR(gone.mode) and not stat.S_ISLNK(gone.mode):
            node.phantom = True
        node.ours = node.changed = True
        if not self.tree.put(path, node):
            self._differs(f"{shown} cannot be made again: its directory is not there")
            return None
        return node

    def _is(
        self, node: Node, mode: int, wanted: Identity, target: bytes | None, roots: Roots
    ) -> bool:
        """Whether this is what an entry is about. Directories and links that were made again are
        others to the kernel."""
        if stat.S_IFMT(node.mode) != stat.S_IFMT(mode):
            return False
        if stat.S_ISDIR(mode):
            return True
        if stat.S_ISLNK(mode):
            return target is None or _target(node) in (None, target)
        return self._same(node, roots.now(wanted))

    def _move_back(self, step: Step, moved: Moved) -> None:
        roots = step.roots
        source = self._path(roots, moved.root, moved.path)
        target = self._path(roots, moved.to_root, moved.to_path)
        if source is None or target is None:
            return
        there, here = self.tree.get(target), self.tree.get(source)
        what = (moved.mode, moved.identity, None, roots)
        if here is not None and self._is(here, *what):  # it never happened
            if moved.replaced is not None and moved.replaced.kept:
                self.steps.append(step._replace(never=True))
            return
        if there is None or not self._is(there, *what):
            why = "is not there any more" if there is None else "is something else now"
            self._differs(f"{roots.shown(moved.to_root, moved.to_path)} {why}")
            return
        if here is not None:
            self._differs(f"{roots.shown(moved.root, moved.path)} was made by somebody else")
            return
        if not self.tree.put(source, there):
            self._differs(f"{roots.shown(moved.root, moved.path)}: its directory is not there")
            return
        self.tree.put(target, None)
        there.changed = True
        if moved.replaced is not None:
            self._appear(moved.replaced, target, roots)
        self._step(step._replace(phantom=there.phantom), moved.to_root, moved.to_path, "moved")

    # -- contents ---------------------------------------------------------------------------

    def _restore(self, step: Step, entry: OnFile) -> None:
        roots = step.roots
        wanted = roots.now(entry.identity)
        if entry.root == KEPT:
            node = self.tree.get(os.path.join(self._kept_directory, entry.path))
            if node is not None and self._same(node, wanted):
                self.steps.append(step)
            return
        path = self._path(roots, entry.root, entry.path)
        if path is None:
            return
        node = self.tree.get(path)
        if node is not None and node.phantom:
            return
        shown = roots.shown(entry.root, entry.path)
        if node is None:
            self._differs(f"{shown} is not there any more")
            return
        if isinstance(entry, Stamped) and not node.is_file:
            self._step(step, entry.root, entry.path, "touched")
            return
        if not self._same(node, wanted):
            self._differs(f"{shown} is another file now")
            return
        why = "was changed by somebody else" if wanted in self._foreign else self._changed(node)
        if why is not None:
            self._differs(f"{shown} {why}")
            return
        self._check_data(step)
        node.changed = True
        self._shown[wanted] = shown
        self._step(step, entry.root, entry.path, "changed")

    def _check_data(self, step: Step) -> None:
        if isinstance(step.stored.entry, Bytes):
            self._log.data(step.stored)

    def _changed(self, node: Node) -> str | None:
        """What somebody else did to a file since our own last change; None: nothing."""
        if node.ours:
            return None
        status = node.status
        row = self._row(node)
        if status is None or row is None:
            return "may have been changed by somebody else: the table does not tell"
        if row.is_as_left(status.st_size, status.st_mtime_ns):
            node.ours = True
            return None
        if status.st_size != row.size:
            return f"has {status.st_size} bytes, and had {row.size}: somebody else changed it"
        return "was changed by somebody else"

    def _row(self, node: Node) -> Row | None:
        found = None if node.status is None else identity(node.status)
        if found is None:
            return None
        return self._table.row((self._then.get(found[0], found[0]), found[1]))

    # -- common -----------------------------------------------------------------------------

    def _same(self, node: Node, wanted: Identity) -> bool:
        for jump in self._jumps[node.age :]:
            node.identity = jump.get(node.identity, node.identity)
        node.age = len(self._jumps)
        return node.identity == wanted

    def _path(self, roots: Roots, number: int, path: bytes) -> bytes | None:
        """Absolute; None: the directory is not mapped now, or read-only."""
        if not 0 <= number < len(roots.guests):
            raise DamagedLog(f"there is no directory number {number}")
        base = roots.base(number)
        if base is None:
            self.elsewhere.add(roots.now(roots.identities[number]))
            self.unreached[roots.guests[number]] = None
            return None
        if base.readonly:
            self._differs(f"{base.guest} is read-only now, and was changed after the snapshot")
            return None
        real = os.readlink(b"/proc/self/fd/%d" % base.fileno)
        return real if path == b"." else os.path.join(real, path)

    def _kept_path(self, number: int) -> bytes:
        return os.path.join(self._kept_directory, name(number))

    def _step(self, step: Step, root: int, path: bytes, what: str) -> None:
        self.steps.append(step)
        self.own[f"{step.roots.shown(root, path)} was {what} by the process itself"] = None

    def _differs(self, text: str) -> None:
        self.differences[text] = None


def aliases(step: Step) -> dict[Identity, Identity]:
    """Of a Back entry: what files are called behind it -> what they were called at its ``to``."""
    assert isinstance(step.stored.entry, Back)
    now = step.roots.now
    return {now(found): now(then) for found, then in step.stored.entry.aliases}


def _target(node: Node) -> bytes | None:
    """Of a symbolic link; None of one that is only in the mind."""
    return None if node.real is None else os.readlink(node.real)
