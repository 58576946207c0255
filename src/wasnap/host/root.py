"""A host directory that is mapped as it is (kind dir), and places in it.

A ``Place`` is what a snapshot says about an open file: which mapping, and the path beneath it. It
is found again at the moment of the snapshot, because the guest (or anyone) may have renamed the
file, or a directory above it, since it was opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from ..errors import Unsaveable
from . import rights as r
from .beneath import O_PATH, open_beneath, os_error
from .config import Mapping
from .descriptors import Access, Missing
from .history.places import kernels_path, path_of
from .mapped import Root
from .own import Own

if TYPE_CHECKING:
    from .directory import HostDirectory
    from .history import History


class Place(msgspec.Struct, frozen=True):
    """Where something lies: ``guest`` names the mapping, ``path`` is relative to it."""

    guest: str
    path: bytes

    def __str__(self) -> str:
        path = self.path.decode(errors="backslashreplace")
        return self.guest if path == "." else f"{self.guest.rstrip('/')}/{path}"


def open_flags(readable: bool, writable: bool, fdflags: int) -> int:
    """``O_*`` for these. Never blocks in open: a pipe in a directory would wait for its peer."""
    flags = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    if writable:
        flags |= os.O_RDWR if readable else os.O_WRONLY
    if fdflags & r.APPEND:
        flags |= os.O_APPEND
    if fdflags & r.DSYNC:
        flags |= os.O_DSYNC
    if fdflags & (r.SYNC | r.RSYNC):
        flags |= os.O_SYNC
    return flags


class HostRoot(Root):
    """The mapping. Its descriptor outlives the guest's preopen, which the guest may close.

    ``history``: where changes to it are noted before they are made; None: nowhere, nobody is ever
    going to undo them. ``own``: what of the journal lies in it; None: nothing.
    """

    __slots__ = ("fileno", "history", "own")

    def __init__(self, mapping: Mapping) -> None:
        super().__init__(mapping)
        self.fileno = os.open(mapping.host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.history: History | None = None
        self.own: Own | None = None

    @property
    def guest(self) -> str:
        """The path the guest knows it by."""
        return self.mapping.guest

    def may_change(self, fileno: int, name: bytes = b"", *, goes: bool = False) -> None:
        """``name`` in an open directory beneath it, or what is open itself; see ``Own.check``.
        Raises OSError: EROFS in a read-only mapping, EACCES for what is the journal's."""
        if self.readonly:
            raise os_error(errno.EROFS)
        if self.own is not None:
            self.own.check(fileno, name, goes=goes)

    def preopen(self) -> HostDirectory:
        from .directory import HostDirectory  # it needs this module

        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fileno = os.open(b".", flags, dir_fd=self.fileno)
        return HostDirectory(fileno, self, b".", preopen=True)

    def place(self, path: bytes) -> Place:
        """``path`` beneath this root."""
        return Place(self.mapping.guest, path)

    def find(self, fileno: int, opened_as: bytes) -> Place | None:
        """The present place of an open file or directory; None: it has no name any more.

        Tries what the kernel says, then the path it was opened by; each is believed only if the
        very same file (device and inode) is found there. A file that lost that name may have
        others: then all that is beneath is searched. Raises Unsaveable if they are not there.
        """
        status = os.fstat(fileno)
        seen = status if self.history is None else self.history.visible(status)
        if seen.st_nlink == 0:
            return None
        place = self._named(status, (kernels_path(self.fileno, fileno), opened_as))
        if place is None and not stat.S_ISDIR(status.st_mode):
            place = self._named(status, self._names(status))
            if place is None:
                raise Unsaveable(
                    f"the file opened as {self.place(opened_as)} has no name in {self.guest} any"
                    " more, but has one elsewhere: a snapshot could not find it again"
                )
        return place

    def _names(self, wanted: os.stat_result) -> Iterator[bytes]:
        """Where a file with this inode may be, by a look at everything beneath."""
        left = [b"."]
        while left:
            at = left.pop()
            try:
                fd = open_beneath(self.fileno, at, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        path = os.path.join(at, os.fsencode(entry.name))
                        if entry.is_dir(follow_symlinks=False):
                            left.append(path)
                        elif entry.inode() == wanted.st_ino:
                            yield path
            finally:
                os.close(fd)

    def _named(self, status: os.stat_result, paths: Iterable[bytes | None]) -> Place | None:
        """The first of ``paths`` that is this very file."""
        for path in paths:
            if path is None:
                continue
            try:
                fd = open_beneath(self.fileno, path, O_PATH | os.O_NOFOLLOW)
            except OSError:  # gone, or not beneath: then it is not there
                continue
            try:
                if os.path.samestat(status, os.fstat(fd)):
                    return self.place(path)
            finally:
                os.close(fd)
        return None

    def where(self, fileno: int) -> tuple[int, bytes] | None:
        """The present place of an open file, as the history calls it; None: it has none."""
        path = path_of(self.fileno, fileno)
        if path is None or self.history is None:
            return None
        return self.history.number(self), path

    def reopen(self, place: Place, access: Access) -> int:
        """A descriptor of what was open there; never created or cut. Raises Missing."""
        flags = open_flags(access.readable, access.writable, access.fdflags) | os.O_NOFOLLOW
        try:
            return open_beneath(self.fileno, place.path, flags)
        except OSError as error:
            raise Missing(f"{place}: {error.strerror}") from None

    def close(self) -> None:
        os.close(self.fileno)
