"""Noting changes while a guest runs: what is common to contents and names.

A ``Recorder`` is the history of one journal, opened by the one process that writes to it. It knows
the mapped directories of this life (``bases``, by their number in the log), what was touched since
the newest point, and how to begin and end a change. Where noting fails (a full disk), the guest's
program goes on and the history says that it is broken; the next point tries to go on with it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from wasnap.host.beneath import storable

from .entries import KEPT, Break, Entry, File, Foreign, Identity, Is, Life, Lost, Point, Times
from .kept import Kept, identity, name
from .log import Log
from .spans import Spans
from .table import Table

log = logging.getLogger("wasnap.host.history")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class HistoryState(msgspec.Struct, frozen=True):
    """Where in which log a snapshot is. ``roots``: guest path, device, inode of each mapping, by
    its number; ``boot``: of the machine."""

    log: bytes
    position: int
    roots: list[tuple[str, int, int]]
    boot: str


class Base(Protocol):
    """A mapped directory as the history needs it."""

    @property
    def fileno(self) -> int: ...
    @property
    def guest(self) -> str: ...
    @property
    def readonly(self) -> bool: ...


class Target(Protocol):
    """An open file that is about to be changed. ``touched`` is for the recorder to use."""

    touched: Touched | None

    @property
    def fileno(self) -> int: ...
    @property
    def readable(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    @property
    def appends(self) -> bool: ...
    def where(self) -> tuple[int, bytes] | None:
        """Number of the root and path, if it can be found there; see ``places.path_of``."""


class Touched:
    """A file that was changed since the newest point.

    ``size``: what it had then (nothing beyond needs saving); ``spans``: what was saved of that;
    ``now``: the size after our own last change. ``row``: in the table; None: it needs no noting.
    ``place``: root and path, as long as no name has changed since (``names``).
    """

    __slots__ = (
        "foreign", "identity", "interval", "names", "now", "place", "row", "size", "spans",
    )  # fmt: skip

    def __init__(self, interval: int, identity: Identity, size: int, now: int):
        self.interval = interval
        self.identity = identity
        self.size = size
        self.now = now
        self.row: int | None = None
        self.spans = Spans()
        self.foreign = False
        self.place: tuple[int, bytes] = (KEPT, b"")
        self.names = -1


def boot_id() -> str:
    """Of this machine; empty where that cannot be said."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def times_of(status: os.stat_result) -> Times:
    """Access and modification time, ns."""
    return storable(status.st_atime_ns), storable(status.st_mtime_ns)


class Recorder:
    """``sync``: ``settle`` syncs points to the device. ``lock`` is held around each change."""

    def __init__(self, log: Log, table: Table, kept: Kept, bases: Sequence[Base], *, sync: bool):
        self.log = log
        self.table = table
        self.kept = kept
        self.bases = tuple(bases)
        self.numbers = {id(base): number for number, base in enumerate(bases)}
        self.lock = threading.Lock()
        self.interval = 0
        self.young: set[Identity] = set()
        self.touched: dict[Identity, Touched] = {}
        self.names = 0
        """Counts changes of names: known places are to be looked up again."""
        self.broken = False
        self.boot = boot_id()
        self.roots: list[tuple[str, int, int]] = []
        for base in bases:
            status = os.fstat(base.fileno)
            self.roots.append((base.guest, status.st_dev, status.st_ino))
        self.last_point = -1
        """The end of the log, if that is a snapshot's position already."""
        self._sync = sync
        self._synced = -1
        """The last point that is known to be on the device."""

    # -- points -----------------------------------------------------------------------------

    def begin_life(self, roots: list[tuple[str, int, int]], boot: str) -> None:
        """Entries from here on are this process's; ``roots`` and ``boot`` are those before it."""
        if (roots, boot) != (self.roots, self.boot):
            self.append(Life(self.roots, self.boot))
        self.restart()

    def point(self) -> HistoryState:
        """A snapshot is being taken: its place in the history."""
        with self.lock:
            if self.broken:
                self._mend()
            if not self.broken and self.log.end != self.last_point:
                self.append(Point())
                self.last_point = self.log.end
            self.restart()
            return HistoryState(self.log.id, self.log.end, self.roots, self.boot)

    def settle(self) -> None:
        """Returns when the last point, and all before it, is on the device. Without the lock, so
        that a guest which changes files does not wait; from any thread. Raises OSError."""
        point = self.last_point
        if self._sync and self._synced != point:
            self.table.sync()
            self.log.sync()
            os.fsync(self.kept.fileno)
            self._synced = point

    def restart(self) -> None:
        """The log's end is a point: from here on everything is noted anew."""
        self.interval += 1
        self.young.clear()
        self.touched.clear()

    def _mend(self) -> None:
        try:
            self.log.append(Break("changes could not be noted"))
        except OSError:
            return
        self.broken = self.table.broken = False
        log.warning("changes to files are noted again")

    # -- entries ----------------------------------------------------------------------------

    def append(self, entry: Entry, data: bytes = b"") -> int:
        """Note it; its position (-1 if that fails, and the history is broken)."""
        try:
            return self.log.append(entry, data)
        except OSError as error:
            self.fail(error)
            return -1

    def fail(self, error: OSError) -> None:
        """Something could not be noted: go on without, and say so."""
        if not self.broken:
            self.broken = self.table.broken = True
            self.touched.clear()
            self.interval += 1
            log.warning(
                "changes to files cannot be noted any more: %s; "
                "snapshots taken until now cannot rewind them",
                error.strerror,
            )

    # -- files ------------------------------------------------------------------------------

    def touch(self, target: Target) -> Touched:
        """The first change to an open file since the newest point, by this descriptor."""
        status = os.fstat(target.fileno)
        file = identity(status)
        touched = self.touched.get(file)
        if touched is None:
            touched = self._touch(target, status)
            if status.st_nlink:  # else its inode is soon another file's
                self.touched[file] = touched
        elif touched.row is not None and not self._is_as_left(status):
            self.foreign(touched)
        target.touched = touched
        return touched

    def _touch(self, target: Target, status: os.stat_result) -> Touched:
        file = identity(status)
        size = status.st_size
        touched = Touched(self.interval, file, size, size)
        if self.broken:
            return touched
        as_left = self._is_as_left(status)
        if as_left and file in self.young:
            touched.size = 0
            touched.row = self.row(status)
            return touched
        place = self._find(target, status)
        if place is None:
            return touched
        touched.place, touched.names = place, self.names
        if not as_left:
            self.foreign(touched)
        touched.row = self.row(status)
        self.append(File(*place, file, size, times_of(status)))
        return touched

    def _is_as_left(self, status: os.stat_result) -> bool:
        """Whether nobody else has changed this file since we did, if we ever did."""
        known = self.table.row(identity(status))
        return known is None or known.is_as_left(status.st_size, status.st_mtime_ns)

    def born(self, status: os.stat_result, noted: int | None) -> None:
        """The file was made whose making is ``noted`` last. What was known of an earlier one with
        its inode is forgotten."""
        self.touched.pop(identity(status), None)
        self.row(status)
        if noted is not None:
            self.append(Is(identity(status)))

    def row(self, status: os.stat_result) -> int | None:
        """The file's row, settled as it is; None if the table cannot hold it."""
        try:
            return self.table.new(identity(status), status.st_size, status.st_mtime_ns)
        except OSError as error:
            self.fail(error)
            return None

    def _find(self, target: Target, status: os.stat_result) -> tuple[int, bytes] | None:
        """Where undoing will find it; None: nowhere, and nobody will look for it."""
        place = target.where()
        if place is not None:
            return place
        number = self.kept.number(identity(status))
        if number is not None:
            return KEPT, name(number)
        if status.st_nlink:
            self.append(Lost(KEPT, b"", "a file that was changed has a name that is not known"))
        return None

    def place(self, target: Target, touched: Touched) -> tuple[int, bytes]:
        """Where a touched file lies now."""
        if touched.names != self.names:
            found = self._find(target, os.fstat(target.fileno))
            touched.place = (KEPT, b"") if found is None else found
            touched.names = self.names
        return touched.place

    def foreign(self, touched: Touched) -> None:
        """Somebody else has changed it."""
        if not touched.foreign:
            touched.foreign = True
            self.append(Foreign(touched.identity))

    def is_last_name(self, status: os.stat_result) -> bool:
        """Whether a file has one name only, besides ours."""
        return status.st_nlink <= 1 + self.kept.links[identity(status)]

    def forget(self, file: Identity, *, last: bool) -> None:
        """A name of this file is gone. If it was the last one, nobody else can change it."""
        if last:
            self.table.forget(file)
            self.young.discard(file)
        touched = self.touched.pop(file, None)
        if touched is not None:
            touched.interval = -1

    def close(self) -> None:
        """Give everything back."""
        self.table.close()
        self.log.close()
        os.close(self.kept.fileno)
