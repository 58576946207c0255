"""Directories: opening and changing what lies beneath them, and reading them entry by entry.

Every operation on a path starts here and stays beneath this directory (``beneath.py``); nothing is
changed in a read-only mapping. This is also the seam for mappings that are not host directories,
and for noting how a change can be undone: all changes of names pass through these methods.

A directory is read from a *listing* made when the guest starts at its beginning: sorted, so that a
run repeats on any file system, and kept until it starts again, so that the guest's position (an
index into it) means the same after a resume, whatever happened to the directory since.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import msgspec

from . import rights as r
from .beneath import O_PATH, is_dots, open_beneath, os_error, parent, stat_beneath
from .descriptors import Descriptor, Missing, Scene
from .file import File, open_flags, set_times
from .root import Place, Root
from .stream import Device

Entry: TypeAlias = tuple[bytes, int, int]
"""Name, inode, file type (``stat.S_IFMT`` bits; 0: unknown)."""


class DirectoryState(msgspec.Struct, frozen=True, tag="directory"):
    """An open directory. ``place`` None: it was removed. ``listing``: what the guest reads from."""

    number: int
    guest: str
    place: Place | None
    preopen: bool
    rights: int
    inheriting: int
    listing: list[Entry] | None


class Directory(Descriptor):
    """An open directory beneath ``root``; ``path`` is relative to the root."""

    __slots__ = ("listing", "path", "preopen", "root")

    def __init__(
        self,
        fileno: int,
        root: Root,
        path: bytes,
        *,
        preopen: bool = False,
        rights: int = r.DIRECTORY,
        inheriting: int = r.ALL,
    ) -> None:
        super().__init__(fileno, rights, inheriting, 0)
        self.root = root
        self.path = path
        self.preopen = preopen
        self.listing: list[Entry] | None = None

    @classmethod
    def of_root(cls, root: Root) -> Directory:
        """The preopened directory of a mapping."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return cls(os.open(b".", flags, dir_fd=root.fileno), root, b".", preopen=True)

    def refuse(self, right: int) -> Exception:
        return super().refuse(right) if right & r.DIRECTORY else os_error(errno.EBADF)

    def set_times(self, access: int | None, modification: int | None) -> None:
        self._may_change()
        set_times(self.fileno, access, modification)

    # -- opening ----------------------------------------------------------------------------

    def open(
        self,
        path: bytes,
        *,
        follow: bool = True,
        create: bool = False,
        directory: bool = False,
        exclusive: bool = False,
        truncate: bool = False,
        readable: bool = True,
        writable: bool = False,
        fdflags: int = 0,
    ) -> Descriptor:
        """Open what ``path`` names: a File, a Directory, or a Device (pipe, terminal, ...).

        It gets all rights its kind can have out of this directory's inheriting ones, and those
        to read and write only if asked for (as other runtimes do; asking for less of the others
        changes nothing, and rights shrink by ``fd_fdstat_set_rights`` only).
        """
        flags = open_flags(readable, writable, fdflags)
        if directory:
            flags |= os.O_DIRECTORY
        if not follow:
            flags |= os.O_NOFOLLOW
        if truncate:
            flags |= os.O_TRUNC
        if create:
            flags |= os.O_CREAT
        if exclusive:
            flags |= os.O_EXCL
        if self.root.readonly:
            flags = self._open_flags_of_readonly(path, flags)
        fileno = open_beneath(self.fileno, path, flags)
        mode = os.fstat(fileno).st_mode
        path = path if self.path == b"." else b"%s/%s" % (self.path, path)
        granted = self.inheriting
        if not readable:
            granted &= ~r.FD_READ
        if not writable:
            granted &= ~r.FD_WRITE
        if stat.S_ISDIR(mode):
            return Directory(
                fileno,
                self.root,
                path,
                rights=self.inheriting & r.DIRECTORY,
                inheriting=self.inheriting,
            )
        if stat.S_ISREG(mode):
            return File(
                fileno,
                self.root,
                path,
                readable=readable or not writable,
                writable=writable,
                rights=granted & r.FILE,
                inheriting=granted,
                fdflags=fdflags,
            )
        return Device(
            fileno,
            self.root,
            path,
            readable=readable or not writable,
            writable=writable,
            rights=granted & r.STREAM,
            inheriting=granted,
            fdflags=fdflags,
        )

    def _open_flags_of_readonly(self, path: bytes, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            raise os_error(errno.EROFS)
        if flags & os.O_CREAT:  # of something that exists, it is a plain open
            follow = not flags & os.O_NOFOLLOW
            try:
                self.stat_at(path, follow=follow)
            except FileNotFoundError:
                raise os_error(errno.EROFS) from None
            if flags & os.O_EXCL:
                raise os_error(errno.EEXIST)
        return flags & ~(os.O_CREAT | os.O_EXCL)

    # -- names ------------------------------------------------------------------------------

    def stat_at(self, path: bytes, *, follow: bool) -> os.stat_result:
        """Attributes of what ``path`` names."""
        return stat_beneath(self.fileno, path, follow=follow)

    def make_directory(self, path: bytes) -> None:
        """mkdir(2)"""
        self._may_change()
        with parent(self.fileno, path) as (fd, name):
            os.mkdir(name, dir_fd=fd)

    def remove_directory(self, path: bytes) -> None:
        """rmdir(2)"""
        self._may_change()
        with parent(self.fileno, path) as (fd, name):
            os.rmdir(name, dir_fd=fd)

    def unlink(self, path: bytes) -> None:
        """unlink(2)"""
        self._may_change()
        with parent(self.fileno, path) as (fd, name):
            os.unlink(name, dir_fd=fd)

    def rename(self, old: bytes, to: Directory, new: bytes) -> None:
        """rename(2), between any two directories that may both be changed."""
        self._may_change()
        to._may_change()
        with parent(self.fileno, old) as (fd, name), parent(to.fileno, new) as (to_fd, to_name):
            os.rename(name, to_name, src_dir_fd=fd, dst_dir_fd=to_fd)

    def link(self, old: bytes, to: Directory, new: bytes) -> None:
        """link(2) of the name itself (a symbolic link is linked, not followed).

        Both sides must be writable: a second name in a writable mapping would be a way to write a
        read-only one's file.
        """
        self._may_change()
        to._may_change()
        with parent(self.fileno, old) as (fd, name), parent(to.fileno, new) as (to_fd, to_name):
            if name.endswith(b"/"):  # the kernel would follow a symbolic link called so
                mode = self.stat_at(old, follow=True).st_mode
                raise os_error(errno.EPERM if stat.S_ISDIR(mode) else errno.ENOTDIR)
            with _slash_means_directory(to, new):
                os.link(name, to_name, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)

    def symlink(self, target: bytes, path: bytes) -> None:
        """symlink(2). Absolute targets are refused: they could not be followed."""
        self._may_change()
        if target.startswith(b"/"):
            raise os_error(errno.EPERM)
        with parent(self.fileno, path) as (fd, name), _slash_means_directory(self, path):
            os.symlink(target, name, dir_fd=fd)

    def read_link(self, path: bytes) -> bytes:
        """readlink(2). Absolute targets tell about the host, and are refused."""
        if path.endswith(b"/"):
            mode = self.stat_at(path, follow=True).st_mode
            raise os_error(errno.EINVAL if stat.S_ISDIR(mode) else errno.ENOTDIR)
        with parent(self.fileno, path) as (fd, name):
            target = os.readlink(name, dir_fd=fd)
        if target.startswith(b"/"):
            raise os_error(errno.EPERM)
        return target

    def set_times_at(
        self, path: bytes, access: int | None, modification: int | None, *, follow: bool
    ) -> None:
        """Time stamps (ns since the epoch; None: leave) of what ``path`` names."""
        self._may_change()
        if follow or path.endswith(b"/") or is_dots(path):
            fd = open_beneath(self.fileno, path, O_PATH)
            try:  # a descriptor made by O_PATH is good for its name in /proc only
                set_times(f"/proc/self/fd/{fd}" if O_PATH else fd, access, modification)
            finally:
                os.close(fd)
            return
        with parent(self.fileno, path) as (fd, name):
            now = os.stat(name, dir_fd=fd, follow_symlinks=False)
            access = now.st_atime_ns if access is None else access
            modification = now.st_mtime_ns if modification is None else modification
            os.utime(name, ns=(access, modification), dir_fd=fd, follow_symlinks=False)

    def _may_change(self) -> None:
        if self.root.readonly:
            raise os_error(errno.EROFS)

    # -- entries ----------------------------------------------------------------------------

    def entries(self, position: int) -> list[Entry]:
        """The listing, with ``.`` and ``..`` first; made anew when ``position`` is 0."""
        if position == 0 or self.listing is None:
            self.listing = self._list()
        return self.listing

    def _list(self) -> list[Entry]:
        own = os.fstat(self.fileno).st_ino
        above = own
        if self.path != b".":  # the root's parent is nobody's business
            above = os.stat("..", dir_fd=self.fileno).st_ino
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fileno)
        try:
            with os.scandir(fd) as scan:
                found = [(os.fsencode(e.name), e.inode(), _type(e)) for e in scan]
        finally:
            os.close(fd)
        found.sort()
        return [(b".", own, stat.S_IFDIR), (b"..", above, stat.S_IFDIR), *found]

    # -- snapshots --------------------------------------------------------------------------

    def capture(self, number: int, scene: Scene) -> DirectoryState:
        """By name, or as one that was removed while open."""
        return DirectoryState(
            number=number,
            guest=self.root.mapping.guest,
            place=self.root.find(self.fileno, self.path),
            preopen=self.preopen,
            rights=self.rights,
            inheriting=self.inheriting,
            listing=self.listing,
        )

    @classmethod
    def restore(cls, state: DirectoryState, scene: Scene) -> Directory:
        """Open it again. Raises Missing."""
        root = scene.root(state.guest)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if state.place is None:
            path = b"./removed"
            name = tempfile.mkdtemp()
            fileno = os.open(name, flags)
            os.rmdir(name)
        else:
            path = state.place.path
            try:
                fileno = open_beneath(root.fileno, path, flags | os.O_NOFOLLOW)
            except OSError as error:
                raise Missing(f"{state.place}: {error.strerror}") from None
        return cls(
            fileno,
            root,
            path,
            preopen=state.preopen,
            rights=state.rights,
            inheriting=state.inheriting,
        )

    def rewind(self, state: DirectoryState) -> None:
        """Go on reading where the guest was."""
        self.listing = None if state.listing is None else list(state.listing)


@contextmanager
def _slash_means_directory(to: Directory, path: bytes) -> Iterator[None]:
    """EXIST for a name with a slash behind it that is no directory is NOTDIR: the kernel's lookup
    for a new name stops before it notices, other runtimes do."""
    try:
        yield
    except FileExistsError:
        if path.endswith(b"/"):
            to.stat_at(path, follow=True)
        raise


def _type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    try:
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:  # removed since
        return 0
