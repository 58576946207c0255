"""Changes of names: what is called how, noted and then done.

Each is: see what is there, note how to undo the change, keep what would be lost, the system call.
If that fails, nothing has happened, and the entry is taken back. What the kernel is sure to refuse
is not noted at all.

A file that was made after the newest point is removed without a trace: no snapshot knows of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from wasnap.host.beneath import os_error

from .entries import Entry, Foreign, Gone, Identity, Lost, Made, Moved, Stamped, Times
from .kept import identity
from .places import join, path_of
from .recorder import Base, Recorder, times_of

T = TypeVar("T")

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Names:
    """The system calls that change names. A name is the last component of a path (perhaps with
    slashes behind it), in the open directory ``at`` beneath the mapped directory ``base``."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    # -- making -----------------------------------------------------------------------------

    def create(self, base: Base, at: int, name: bytes, flags: int, mode: int = 0o666) -> int:
        """open(2) of a file that is not there; its descriptor. EEXIST if it is there by now."""
        with self._recorder.lock:
            noted = self._making(base, at, name, stat.S_IFREG)
            fileno = self._do(noted, lambda: os.open(name, flags | _NEW, mode, dir_fd=at))
            status = os.fstat(fileno)
            self._recorder.born(status, noted)
            if noted is not None:
                self._recorder.young.add(identity(status))
            return fileno

    def make_directory(self, base: Base, at: int, name: bytes, mode: int = 0o777) -> None:
        """mkdir(2)"""
        with self._recorder.lock:
            noted = self._making(base, at, name.rstrip(b"/"), stat.S_IFDIR)
            self._do(noted, lambda: os.mkdir(name, mode, dir_fd=at))

    def symlink(self, base: Base, at: int, name: bytes, target: bytes) -> None:
        """symlink(2)"""
        with self._recorder.lock:
            noted = self._making(base, at, name.rstrip(b"/"), stat.S_IFLNK, target)
            self._do(noted, lambda: os.symlink(target, name, dir_fd=at))

    def link(self, source: int, old: bytes, base: Base, at: int, new: bytes) -> None:
        """link(2) of a name itself."""
        with self._recorder.lock:
            found = self._status(source, old)
            noted = None
            if found is not None and not stat.S_ISDIR(found.st_mode):
                target = os.readlink(old, dir_fd=source) if stat.S_ISLNK(found.st_mode) else b""
                bare = new.rstrip(b"/")
                noted = self._making(base, at, bare, found.st_mode, target, file=identity(found))
            self._do(
                noted,
                lambda: os.link(old, new, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False),
            )

    # -- removing and moving ----------------------------------------------------------------

    def unlink(self, base: Base, at: int, name: bytes, kept: int = 0) -> None:
        """unlink(2). ``kept``: the number it came from."""
        with self._recorder.lock:
            status = self._status(at, name)
            gone = None
            if status is not None and not stat.S_ISDIR(status.st_mode):
                gone = self._going(base, at, name, status, kept)
            self._lose(gone, gone, at, name, status, lambda: os.unlink(name, dir_fd=at))

    def remove_directory(self, base: Base, at: int, name: bytes) -> None:
        """rmdir(2)"""
        with self._recorder.lock:
            bare = name.rstrip(b"/")
            status = self._status(at, bare)
            gone = None
            if status is not None and stat.S_ISDIR(status.st_mode):
                gone = self._going(base, at, bare, status)
            self._lose(gone, gone, at, bare, status, lambda: os.rmdir(name, dir_fd=at))

    def rename(
        self, base: Base, at: int, old: bytes, to_base: Base, to_at: int, new: bytes
    ) -> None:
        """rename(2)"""
        with self._recorder.lock:
            bare, to_bare = old.rstrip(b"/"), new.rstrip(b"/")
            status, found = self._status(at, bare), self._status(to_at, to_bare)
            moved = gone = None
            same = status is not None and found is not None and os.path.samestat(status, found)
            if status is not None and not same:
                place = self.place_of(base, at, bare)
                to_place = self.place_of(to_base, to_at, to_bare)
                if found is not None:
                    gone = self._going(to_base, to_at, to_bare, found)
                if place is not None and to_place is not None:
                    moved = Moved(
                        *place, *to_place, identity(status), status.st_mode,
                        _times(at), _times(to_at), gone,
                    )  # fmt: skip

            def call() -> None:
                os.rename(old, new, src_dir_fd=at, dst_dir_fd=to_at)

            self._lose(moved, gone, to_at, to_bare, found, call)

    def _going(
        self, base: Base, at: int, name: bytes, status: os.stat_result, kept: int = 0
    ) -> Gone | None:
        """What to note of a name that goes."""
        place = self.place_of(base, at, name)
        if place is None:
            return None
        recorder = self._recorder
        target = b""
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=at)
        elif not stat.S_ISDIR(status.st_mode) and not (
            identity(status) in recorder.young and recorder.is_last_name(status)
        ):
            kept = kept or recorder.log.end
        file = identity(status)
        times = times_of(status)
        return Gone(*place, status.st_mode, file, target, kept, times, _times(at))

    def _lose(
        self,
        entry: Gone | Moved | None,
        gone: Gone | None,
        at: int,
        name: bytes,
        status: os.stat_result | None,
        call: Callable[[], None],
    ) -> None:
        """Note ``entry``, keep what goes, and do it."""
        recorder = self._recorder
        noted = None if entry is None else self._note(entry)
        if noted is None or gone is None or status is None:
            self._do(noted, call)
            recorder.names += 1
            return
        last = recorder.is_last_name(status)
        if gone.kept:
            recorder.kept.keep(gone.kept, at, name, status)
        self._do(noted, call, kept=gone.kept)
        recorder.names += 1
        if not stat.S_ISDIR(status.st_mode):
            recorder.forget(identity(status), last=last)

    # -- what was removed, again ------------------------------------------------------------

    def give_back(self, base: Base, at: int, name: bytes, gone: Gone) -> Identity:
        """Make again, in undoing, what ``gone`` tells of; what it is now."""
        with self._recorder.lock:
            if stat.S_ISDIR(gone.mode):
                noted = self._making(base, at, name, stat.S_IFDIR)
                self._do(noted, lambda: os.mkdir(name, 0o700, dir_fd=at))
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                os.fchmod(fd, stat.S_IMODE(gone.mode))
                os.close(fd)
            elif stat.S_ISLNK(gone.mode):
                noted = self._making(base, at, name, stat.S_IFLNK, gone.target)
                self._do(noted, lambda: os.symlink(gone.target, name, dir_fd=at))
            else:
                return self._give_back_file(base, at, name, gone)
            os.utime(name, ns=gone.times, dir_fd=at, follow_symlinks=False)
            return identity(os.stat(name, dir_fd=at, follow_symlinks=False))

    def _give_back_file(self, base: Base, at: int, name: bytes, gone: Gone) -> Identity:
        """The very file, if that is what was kept, or a copy."""
        recorder = self._recorder
        same = None
        if recorder.kept.is_link(gone.kept, gone.identity):
            same = gone.identity
            status = recorder.kept.set_times(gone.kept, gone.times)
            if stat.S_ISREG(status.st_mode):
                recorder.row(status)
        noted = self._making(base, at, name, gone.mode, file=same, kept=gone.kept)
        status = self._do(noted, lambda: recorder.kept.give_back(gone.kept, at, name))
        if same is None:
            recorder.born(status, noted)
        else:
            recorder.names += 1  # it lies elsewhere now
        return identity(status)

    # -- times ------------------------------------------------------------------------------

    def set_times(
        self, place: tuple[int, bytes] | None, status: Callable[[], os.stat_result],
        call: Callable[[], None],
    ) -> None:  # fmt: skip
        """Set the times of what lies at ``place`` by ``call``; ``status`` says what it is."""
        recorder = self._recorder
        with recorder.lock:
            before = status()
            file = identity(before)
            row = None
            if place is not None and not recorder.broken:
                known = recorder.table.row(file)
                if known is not None and not known.is_as_left(before.st_size, before.st_mtime_ns):
                    recorder.append(Foreign(file))
                if stat.S_ISREG(before.st_mode):
                    row = recorder.row(before)
                if file not in recorder.young:
                    recorder.append(Stamped(*place, file, times_of(before)))
            if row is None or recorder.broken:
                call()
                return
            recorder.table.begin(row, before.st_size)
            try:
                call()
            finally:
                after = status()
                recorder.table.settle(row, after.st_size, after.st_mtime_ns)

    # -- common -----------------------------------------------------------------------------

    def _making(
        self,
        base: Base,
        at: int,
        name: bytes,
        mode: int,
        target: bytes = b"",
        *,
        file: Identity | None = None,
        kept: int = 0,
    ) -> int | None:
        """Note that a name comes into being. EEXIST if it is there: there is nothing to note."""
        if self._status(at, name) is not None:
            raise os_error(errno.EEXIST)
        place = self.place_of(base, at, name)
        if place is None:
            return None
        return self._note(Made(*place, mode, file, target, kept, _times(at)))

    def place(self, base: Base, fileno: int) -> tuple[int, bytes] | None:
        """Where an open file or directory lies; None if nothing is to be noted."""
        if self._recorder.broken:
            return None
        number = self._recorder.numbers[id(base)]
        path = path_of(base.fileno, fileno)
        if path is None:
            self._recorder.append(Lost(number, b"", "a name beneath it is not known"))
            return None
        return number, path

    def place_of(self, base: Base, at: int, name: bytes) -> tuple[int, bytes] | None:
        """Where a name lies; None if nothing is to be noted."""
        place = self.place(base, at)
        return None if place is None else (place[0], join(place[1], name))

    def _note(self, entry: Entry) -> int | None:
        position = self._recorder.append(entry)
        return None if position < 0 else position

    def _do(self, noted: int | None, call: Callable[[], T], *, kept: int = 0) -> T:
        """The change itself; if it fails, it was not begun."""
        try:
            return call()
        except OSError:
            if noted is not None:
                self._recorder.log.cut(noted)
                if kept == noted:
                    self._recorder.kept.drop(kept)
            raise

    @staticmethod
    def _status(at: int, name: bytes) -> os.stat_result | None:
        """None where there is nothing, or what only the kernel can refuse rightly."""
        try:
            return os.stat(name, dir_fd=at, follow_symlinks=False)
        except OSError:
            return None


def _times(directory: int) -> Times:
    return times_of(os.fstat(directory))
