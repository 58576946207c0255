"""Directories on the host: opening and changing what lies beneath them.

Every operation on a path starts here and stays beneath this directory (``beneath.py``); nothing is
changed in a read-only mapping. All changes of names pass through these methods; where the root has
a history they are made by that, which notes first how to undo them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from . import rights as r
from .beneath import (
    LINKS_MAX,
    O_PATH,
    is_dots,
    open_beneath,
    os_error,
    parent,
    stat_beneath,
)
from .descriptors import Descriptor, Missing, Scene
from .file import HostFile, set_times
from .history import History
from .mapped import Directory, Entry, Want
from .root import HostRoot, Place, open_flags
from .stream import Device


class DirectoryState(msgspec.Struct, frozen=True, tag="directory"):
    """An open directory. ``place`` None: it was removed. ``listing``: what the guest reads from."""

    number: int
    guest: str
    place: Place | None
    preopen: bool
    rights: int
    inheriting: int
    listing: list[Entry] | None


class HostDirectory(Directory):
    """An open directory beneath ``root``; ``path`` is relative to the root."""

    __slots__ = ("path",)
    root: HostRoot

    def __init__(
        self,
        fileno: int,
        root: HostRoot,
        path: bytes,
        *,
        preopen: bool = False,
        rights: int = r.DIRECTORY,
        inheriting: int = r.ALL,
    ) -> None:
        super().__init__(fileno, root, preopen=preopen, rights=rights, inheriting=inheriting)
        self.path = path

    def set_times(self, access: int | None, modification: int | None) -> None:
        self.root.may_change(self.fileno)
        self._set_times(self.fileno, lambda: set_times(self.fileno, access, modification))

    def _set_times(self, fd: int, call: Callable[[], None]) -> None:
        """``call`` sets the times of what is open as ``fd``."""
        history = self.root.history
        if history is None:
            call()
        else:
            place = history.names.place(self.root, fd)
            history.names.set_times(place, lambda: os.fstat(fd), call)

    # -- opening ----------------------------------------------------------------------------

    def open(self, path: bytes, want: Want) -> Descriptor:
        if self.root.readonly:
            want = self.without_creating(path, want)
        flags = open_flags(want.readable, want.writable, want.fdflags)
        if want.directory:
            flags |= os.O_DIRECTORY
        if not want.follow:
            flags |= os.O_NOFOLLOW
        if want.truncate:
            flags |= os.O_TRUNC
        if want.create:
            flags |= os.O_CREAT
        if want.exclusive:
            flags |= os.O_EXCL
        history = self.root.history
        if history is not None and (want.create or want.truncate):
            fileno = self._open_noted(history, path, want, flags)
        else:
            fileno = open_beneath(self.fileno, path, flags)
        mode = os.fstat(fileno).st_mode
        if want.writable or want.truncate:
            self._still_may_change(fileno)
        path = path if self.path == b"." else b"%s/%s" % (self.path, path)
        if stat.S_ISDIR(mode):
            rights, inheriting = self.inheriting & r.DIRECTORY, self.inheriting
            return HostDirectory(fileno, self.root, path, rights=rights, inheriting=inheriting)
        kind = HostFile if stat.S_ISREG(mode) else Device
        opened = kind(fileno, self.root, path, self.granted(want))
        if want.truncate and history is not None and isinstance(opened, HostFile):
            try:
                history.contents.empty(opened)
            except OSError:
                opened.close()
                raise
        return opened

    def _still_may_change(self, fileno: int) -> None:
        """What was opened for that."""
        try:
            self.root.may_change(fileno)
        except OSError:
            os.close(fileno)
            raise

    @contextmanager
    def _parent(self, path: bytes, *, goes: bool = False) -> Iterator[tuple[int, bytes]]:
        """``beneath.parent`` of a name that may be changed."""
        with parent(self.fileno, path) as (fd, name):
            self.root.may_change(fd, name, goes=goes)
            yield fd, name

    def _open_noted(self, history: History, path: bytes, want: Want, flags: int) -> int:
        """Open it, or make it; what is there is not cut yet."""
        plain = flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)
        if want.create and (path.endswith(b"/") or is_dots(path)):  # the kernel refuses that
            return open_beneath(self.fileno, path, flags)
        for _ in range(LINKS_MAX):
            if not want.exclusive:
                try:
                    fileno = open_beneath(self.fileno, path, plain)
                except FileNotFoundError:
                    if not want.create:
                        raise
                else:
                    if stat.S_ISDIR(os.fstat(fileno).st_mode):
                        os.close(fileno)
                        raise os_error(errno.EISDIR)
                    return fileno
            with self._parent(path) as (fd, name):
                try:
                    target = os.readlink(name, dir_fd=fd)
                except OSError:  # it is no link
                    try:
                        return history.names.create(self.root, fd, name, plain)
                    except FileExistsError:
                        if want.exclusive:
                            raise
                        continue  # somebody else was faster
            if want.exclusive:
                raise os_error(errno.EEXIST)
            if not want.follow:
                break
            path = path[: path.rfind(b"/") + 1] + target  # a link to nothing: make what it names
        raise os_error(errno.ELOOP)

    # -- names ------------------------------------------------------------------------------

    def stat_at(self, path: bytes, *, follow: bool) -> os.stat_result:
        history = self.root.history
        status = stat_beneath(self.fileno, path, follow=follow)
        return status if history is None else history.visible(status)

    def make_directory(self, path: bytes) -> None:
        self.may_change()
        with self._parent(path) as (fd, name):
            if self.root.history is None:
                os.mkdir(name, dir_fd=fd)
            else:
                self.root.history.names.make_directory(self.root, fd, name)

    def remove_directory(self, path: bytes) -> None:
        self.may_change()
        with self._parent(path) as (fd, name):
            if self.root.history is None:
                os.rmdir(name, dir_fd=fd)
            else:
                self.root.history.names.remove_directory(self.root, fd, name)

    def unlink(self, path: bytes) -> None:
        self.may_change()
        with self._parent(path, goes=True) as (fd, name):
            if self.root.history is None:
                os.unlink(name, dir_fd=fd)
            else:
                self.root.history.names.unlink(self.root, fd, name)

    def rename(self, old: bytes, to: Directory, new: bytes) -> None:
        to = self._both_may_change(to)
        source, target = self._parent(old, goes=True), to._parent(new, goes=True)
        with source as (fd, name), target as (to_fd, to_name):
            if self.root.history is None:
                os.rename(name, to_name, src_dir_fd=fd, dst_dir_fd=to_fd)
            else:
                names = self.root.history.names
                names.rename(self.root, fd, name, to.root, to_fd, to_name)

    def _both_may_change(self, to: Directory) -> HostDirectory:
        self.may_change()
        to.may_change()
        if not isinstance(to, HostDirectory):
            raise os_error(errno.EXDEV)
        return to

    def link(self, old: bytes, to: Directory, new: bytes) -> None:
        to = self._both_may_change(to)
        with self._parent(old) as (fd, name), to._parent(new) as (to_fd, to_name):
            if name.endswith(b"/"):  # the kernel would follow a symbolic link called so
                mode = self.stat_at(old, follow=True).st_mode
                raise os_error(errno.EPERM if stat.S_ISDIR(mode) else errno.ENOTDIR)
            with _slash_means_directory(to, new):
                if self.root.history is None:
                    os.link(name, to_name, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)
                else:
                    self.root.history.names.link(fd, name, to.root, to_fd, to_name)

    def symlink(self, target: bytes, path: bytes) -> None:
        self.may_change()
        if target.startswith(b"/"):
            raise os_error(errno.EPERM)
        with self._parent(path) as (fd, name), _slash_means_directory(self, path):
            if self.root.history is None:
                os.symlink(target, name, dir_fd=fd)
            else:
                self.root.history.names.symlink(self.root, fd, name, target)

    def read_link(self, path: bytes) -> bytes:
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
        self.may_change()
        if follow or path.endswith(b"/") or is_dots(path):
            fd = open_beneath(self.fileno, path, O_PATH)
            # A descriptor made by O_PATH is good for its name in /proc only.
            target = f"/proc/self/fd/{fd}" if O_PATH else fd
            try:
                self.root.may_change(fd)
                self._set_times(fd, lambda: set_times(target, access, modification))
            finally:
                os.close(fd)
            return
        with self._parent(path) as (fd, name):
            now = os.stat(name, dir_fd=fd, follow_symlinks=False)
            access = now.st_atime_ns if access is None else access
            modification = now.st_mtime_ns if modification is None else modification
            times = (access, modification)

            def status() -> os.stat_result:
                return os.stat(name, dir_fd=fd, follow_symlinks=False)

            def call() -> None:
                os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)

            history = self.root.history
            if history is None:
                call()
            else:
                history.names.set_times(history.names.place_of(self.root, fd, name), status, call)

    def scan(self) -> list[Entry]:
        status = os.fstat(self.fileno)
        own = above = status.st_ino
        if not os.path.samestat(status, os.fstat(self.root.fileno)):  # its parent is not ours
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
    def restore(cls, state: DirectoryState, scene: Scene) -> HostDirectory:
        """Open it again. Raises Missing."""
        root = scene.root(state.guest, HostRoot)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if state.place is None:
            import tempfile

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
def _slash_means_directory(to: HostDirectory, path: bytes) -> Iterator[None]:
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
