"""Regular files.

The kernel keeps the offset; a snapshot asks for it. A file that still has a name is saved as that
name and its size: on a resume it is opened again (never created or cut on the way) and, if it was
open for writing, cut to the size it had, so that what was written forward since is written again
and comes out once. A file without a name (unlinked while open) is saved with its whole content and
comes back as an unlinked temporary file; several descriptors of it share one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile

import msgspec

from . import rights as r
from .beneath import os_error
from .descriptors import Access, Descriptor, Missing, Scene, Views
from .protocol import Call
from .root import HostRoot, Place, open_flags

_FSYNC = {True: getattr(os, "fdatasync", os.fsync), False: os.fsync}


class FileState(msgspec.Struct, frozen=True, tag="file"):
    """An open regular file. ``offset``, ``size``: bytes.

    Exactly one of these says where it is: ``place``; ``content`` (it has no name any more);
    ``shares``: the number of the descriptor whose ``content`` it is, too.
    ``identity``: device and inode.
    """

    number: int
    guest: str
    place: Place | None
    content: bytes | None
    shares: int | None
    access: Access
    offset: int
    size: int
    identity: tuple[int, int]


def set_times(target: int | str, access: int | None, modification: int | None) -> None:
    """Time stamps in ns since the epoch; None leaves one as it is (read, then written back)."""
    if access is None or modification is None:
        now = os.stat(target)
        access = now.st_atime_ns if access is None else access
        modification = now.st_mtime_ns if modification is None else modification
    os.utime(target, ns=(access, modification))


class HostFile(Descriptor):
    """An open regular file beneath ``root``; ``path`` is the one it was opened by."""

    __slots__ = ("path", "readable", "root", "writable")

    def __init__(self, fileno: int, root: HostRoot, path: bytes, access: Access) -> None:
        super().__init__(fileno, access.rights & r.FILE, access.inheriting, access.fdflags)
        self.root = root
        self.path = path
        self.readable = access.readable
        self.writable = access.writable

    def read(self, call: Call, views: Views) -> int:
        return os.readv(self.fileno, views)

    def write(self, call: Call, views: Views) -> int:
        return os.writev(self.fileno, views)

    def read_at(self, views: Views, offset: int) -> int:
        return os.preadv(self.fileno, views, offset)

    def write_at(self, views: Views, offset: int) -> int:
        return os.pwritev(self.fileno, views, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.fileno, offset, whence)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fileno, size)

    def allocate(self, offset: int, length: int) -> None:
        os.posix_fallocate(self.fileno, offset, length)

    def advise(self, offset: int, length: int, advice: int) -> None:
        os.posix_fadvise(self.fileno, offset, length, advice)

    def sync(self, *, data_only: bool) -> None:
        _FSYNC[data_only](self.fileno)

    def set_flags(self, fdflags: int) -> None:
        kernel = fcntl.fcntl(self.fileno, fcntl.F_GETFL) & ~os.O_APPEND
        if fdflags & r.APPEND:
            kernel |= os.O_APPEND
        fcntl.fcntl(self.fileno, fcntl.F_SETFL, kernel)
        changeable = r.APPEND | r.NONBLOCK
        self.fdflags = self.fdflags & ~changeable | fdflags & changeable

    def set_times(self, access: int | None, modification: int | None) -> None:
        if self.root.readonly:
            raise os_error(errno.EROFS)
        set_times(self.fileno, access, modification)

    def available(self) -> int:
        size = os.fstat(self.fileno).st_size
        return max(0, size - os.lseek(self.fileno, 0, os.SEEK_CUR))

    def capture(self, number: int, scene: Scene) -> FileState:
        """Saved by name if it has one, else with its content."""
        status = os.fstat(self.fileno)
        place = self.root.find(self.fileno, self.path)
        content: bytes | None = None
        shares: int | None = None
        identity = (status.st_dev, status.st_ino)
        if place is None:
            shares = scene.unlinked.get(identity)
            if shares is None:
                scene.unlinked[identity] = number
                content = self._content(status.st_size)
        return FileState(
            number=number,
            guest=self.root.mapping.guest,
            place=place,
            content=content,
            shares=shares,
            access=Access.of(self, self.readable, self.writable),
            offset=os.lseek(self.fileno, 0, os.SEEK_CUR),
            size=status.st_size,
            identity=identity,
        )

    def _content(self, size: int) -> bytes:
        """The whole file, also of a descriptor that cannot read."""
        fd = os.open(f"/proc/self/fd/{self.fileno}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = bytearray(size)
            view = memoryview(content)
            done = 0
            while done < size:
                n = os.preadv(fd, [view[done:]], done)
                if n == 0:
                    break
                done += n
            return bytes(view[:done])
        finally:
            os.close(fd)

    @classmethod
    def restore(cls, state: FileState, scene: Scene) -> HostFile:
        """Open it again, and check that it can be what it was. Raises Missing."""
        root = scene.root(state.guest, HostRoot)
        if state.place is None:
            return cls(cls._restore_unlinked(state, scene), root, b"", state.access)
        if state.access.writable and root.readonly:
            raise Missing(f"{state.place} was open for writing, but {state.guest} is read-only")
        fileno = root.reopen(state.place, state.access)
        difference = cls._difference(state, os.fstat(fileno))
        if difference is not None:
            os.close(fileno)
            raise Missing(f"{state.place} {difference}")
        return cls(fileno, root, state.place.path, state.access)

    @staticmethod
    def _difference(state: FileState, now: os.stat_result) -> str | None:
        """Why the file that is there now cannot be gone on with.

        A longer one is cut, which is right if it is the file that was written to since; another
        one that took its name is not ours to cut.
        """
        if not stat.S_ISREG(now.st_mode):
            return "is not a regular file any more"
        if now.st_size < state.size:
            return f"has {now.st_size} bytes, and had {state.size}"
        same = state.identity == (now.st_dev, now.st_ino)
        if state.access.writable and now.st_size > state.size and not same:
            return f"is another file now: it has {now.st_size} bytes, and had {state.size}"
        return None

    @staticmethod
    def _restore_unlinked(state: FileState, scene: Scene) -> int:
        access = state.access
        flags = open_flags(access.readable, access.writable, access.fdflags)
        if state.shares is not None:
            owner = scene.restored.get(state.shares)
            if owner is None:
                raise Missing(f"the content of descriptor {state.number}, which has no name")
            return os.open(f"/proc/self/fd/{owner.fileno}", flags)
        with tempfile.TemporaryFile() as file:
            file.write(state.content or b"")
            file.flush()
            return os.open(f"/proc/self/fd/{file.fileno()}", flags)

    def rewind(self, state: FileState) -> None:
        """Cut to the saved size what can be written, and go to the saved offset."""
        if state.access.writable and os.fstat(self.fileno).st_size != state.size:
            os.ftruncate(self.fileno, state.size)
        os.lseek(self.fileno, state.offset, os.SEEK_SET)
