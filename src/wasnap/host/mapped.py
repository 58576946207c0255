"""A mapped directory, whatever is behind it: what the ABI rooms and ``world.py`` know of one.

A mapping is of one of several kinds, and each kind has a ``Root`` (the mapping itself, as long as
the guest runs) and a ``Directory`` (a descriptor; ``Root.preopen`` makes the first, and all others
come from ``Directory.open``). Files are ``Descriptor``s like everything else that is open.

    kind     root, directory, file                     content
    dir      root.py, directory.py, file.py            a host directory, as it is
    tmp      tree/                                     in memory, whole in every snapshot
    overlay  tree/                                     the same, over a host directory

Semantics are those of POSIX, with the additions that WASI needs: a path is bytes without NUL; one
that is absolute or leads out of the directory it starts from gives EPERM; nothing is changed in a
read-only mapping (EROFS); two mappings are two file systems (EXDEV) unless both are of kind dir.

Readonly is checked first in everything that changes something, so a read-only mapping looks the
same in each kind.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias

from . import rights as r
from .beneath import os_error
from .config import Mapping
from .descriptors import Access, Descriptor, Status

Entry: TypeAlias = tuple[bytes, int, int]
"""Name, inode, file type (``stat.S_IFMT`` bits; 0: unknown)."""


class Want(NamedTuple):
    """What is asked of ``Directory.open``: the ``O_*`` of the same names, and WASI's fdflags.

    ``follow``: a symbolic link that is the last component (else ELOOP).
    """

    follow: bool = True
    create: bool = False
    directory: bool = False
    exclusive: bool = False
    truncate: bool = False
    readable: bool = True
    writable: bool = False
    fdflags: int = 0


class Root(ABC):
    """An open mapping. It outlives the guest's preopen, which the guest may close."""

    __slots__ = ("mapping", "readonly")

    def __init__(self, mapping: Mapping) -> None:
        """Raises OSError if the mapping cannot be had."""
        self.mapping = mapping
        self.readonly = mapping.readonly

    @abstractmethod
    def preopen(self) -> Directory:
        """The directory itself, as the guest finds it at its start."""

    @abstractmethod
    def close(self) -> None:
        """The end of the process; its descriptors are closed already."""


class Directory(Descriptor):
    """An open directory beneath ``root``.

    It is read from a *listing* made when the guest starts at its beginning: sorted, so that a run
    repeats on any file system, and kept until it starts again, so that the guest's position (an
    index into it) means the same after a resume, whatever happened to the directory since.
    """

    __slots__ = ("listing", "preopen", "root")

    def __init__(
        self,
        fileno: int,
        root: Root,
        *,
        preopen: bool = False,
        rights: int = r.DIRECTORY,
        inheriting: int = r.ALL,
    ) -> None:
        super().__init__(fileno, rights, inheriting, 0)
        self.root = root
        self.preopen = preopen
        self.listing: list[Entry] | None = None

    def refuse(self, right: int) -> Exception:
        return super().refuse(right) if right & r.DIRECTORY else os_error(errno.EBADF)

    @abstractmethod
    def open(self, path: bytes, want: Want) -> Descriptor:
        """Open what ``path`` names: a file, a directory, or a device (pipe, terminal, ...).

        It gets all rights its kind can have out of this directory's inheriting ones, and those
        to read and write only if asked for (as other runtimes do; asking for less of the others
        changes nothing, and rights shrink by ``fd_fdstat_set_rights`` only).
        """

    @abstractmethod
    def stat_at(self, path: bytes, *, follow: bool) -> Status:
        """Attributes of what ``path`` names."""

    @abstractmethod
    def make_directory(self, path: bytes) -> None:
        """mkdir(2)"""

    @abstractmethod
    def remove_directory(self, path: bytes) -> None:
        """rmdir(2)"""

    @abstractmethod
    def unlink(self, path: bytes) -> None:
        """unlink(2)"""

    @abstractmethod
    def rename(self, old: bytes, to: Directory, new: bytes) -> None:
        """rename(2), between any two directories that may both be changed."""

    @abstractmethod
    def link(self, old: bytes, to: Directory, new: bytes) -> None:
        """link(2) of the name itself (a symbolic link is linked, not followed).

        Both sides must be writable: a second name in a writable mapping would be a way to write a
        read-only one's file.
        """

    @abstractmethod
    def symlink(self, target: bytes, path: bytes) -> None:
        """symlink(2). Absolute targets are refused (EPERM): they could not be followed."""

    @abstractmethod
    def read_link(self, path: bytes) -> bytes:
        """readlink(2). Absolute targets tell about the host, and are refused (EPERM)."""

    @abstractmethod
    def set_times_at(
        self, path: bytes, access: int | None, modification: int | None, *, follow: bool
    ) -> None:
        """Time stamps (ns since the epoch; None: leave) of what ``path`` names."""

    @abstractmethod
    def scan(self) -> list[Entry]:
        """All entries as they are now: ``.``, ``..`` and then the names, sorted."""

    def entries(self, position: int) -> list[Entry]:
        """The listing, made anew when ``position`` is 0."""
        if position == 0 or self.listing is None:
            self.listing = self.scan()
        return self.listing

    def may_change(self) -> None:
        """Raises OSError (EROFS) in a read-only mapping."""
        if self.root.readonly:
            raise os_error(errno.EROFS)

    def without_creating(self, path: bytes, want: Want) -> Want:
        """The same without O_CREAT, in a read-only mapping: EROFS if it would change anything."""
        if want.writable or want.truncate:
            raise os_error(errno.EROFS)
        if want.create:  # of something that exists, it is a plain open
            try:
                self.stat_at(path, follow=want.follow)
            except FileNotFoundError:
                raise os_error(errno.EROFS) from None
            if want.exclusive:
                raise os_error(errno.EEXIST)
        return want._replace(create=False, exclusive=False)

    def granted(self, want: Want) -> Access:
        """What a file or device opened through this directory may be used for."""
        inheriting = self.inheriting
        if not want.readable:
            inheriting &= ~r.FD_READ
        if not want.writable:
            inheriting &= ~r.FD_WRITE
        return Access(
            readable=want.readable or not want.writable,
            writable=want.writable,
            fdflags=want.fdflags,
            rights=inheriting,
            inheriting=inheriting,
        )
