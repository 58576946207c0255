"""Which snapshots' page data need not be read through before they are used.

Checking all page data takes as long as reading it, and a resume is to take no longer for a GiB than
for a MiB. So whoever has checked snapshots, or has just written them, leaves a note on the file that
they are right: an extended attribute with the snapshots' ids, the file's size and time of change, and
the system's boot. The note holds as long as the file is as it was then; anything that writes to the
file changes its time, also a bit turned over by an editor. Then all is read and checked again.

The time is set by us, to the nanosecond, when the note is made: the clock by which the system marks
changes is a few milliseconds coarse, and would hide one that follows at once.

What this does not notice is a disk that returns something else than was written to it, while the
system that wrote it still runs. ``wasnap journal verify`` reads everything.

A file system without extended attributes has no notes, and every resume checks.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from wasnap.journal.storage import Storage

ATTRIBUTE = "user.wasnap.checked"
_NOTE = Struct("<36sQQQQQQ")


class _File(NamedTuple):
    """What tells whether a file is as it was."""

    boot: bytes
    device: int
    inode: int
    size: int
    changed_ns: int


class Trust:
    """The snapshots ``first`` to ``last`` are right. Never raises: in doubt, nothing is."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._as_of: _File | None = None
        self.first = self.last = 0
        with suppress(OSError, ValueError):
            *file, first, last = _NOTE.unpack(os.getxattr(storage.fd, ATTRIBUTE))
            if _File._make(file) == self._file():
                self._as_of, self.first, self.last = _File._make(file), first, last

    def __contains__(self, snapshot: int) -> bool:
        return self.first <= snapshot <= self.last

    def check(self) -> None:
        """To be called before the file is written to: has somebody else done so since the note?"""
        file = None
        with suppress(OSError):
            file = self._file()
        if file is None or file != self._as_of:
            self.first, self.last = 1, 0

    def add(self, snapshot: int, rests_on: int | None) -> None:
        """It was just written, and is right if what it rests on is."""
        if rests_on is None or rests_on in self:
            if not (self.first <= self.last == snapshot - 1):
                self.first = snapshot
            self.last = snapshot
        if snapshot in self:
            self.note()

    def checked(self, snapshot: int) -> None:
        """All that it needs was just read, and is right."""
        if snapshot not in self:
            self.first = self.last = snapshot
            self.note()

    def all_checked(self, last: int) -> None:
        """All snapshots, up to ``last``, were just read, and are right."""
        self.first, self.last = 1, last
        self.note()

    def note(self) -> None:
        """Leave the note."""
        with suppress(OSError):
            fd = self._storage.fd
            os.utime(fd, ns=(os.fstat(fd).st_atime_ns, time.time_ns()))
            self._as_of = self._file()
            os.setxattr(fd, ATTRIBUTE, _NOTE.pack(*self._as_of, self.first, self.last))

    def _file(self) -> _File:
        status = os.fstat(self._storage.fd)
        with open("/proc/sys/kernel/random/boot_id", "rb") as boot:
            return _File(
                boot.read(36), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            )
