"""Regular files.

The kernel keeps the offset; a snapshot asks for it. A file that still has a name is saved as that
name, its size and its time: on a resume it is opened again, never created or cut on the way. What
the guest did to it since the snapshot was undone before (``history/``), and what others did was
found by ``differences``. A file without a name (unlinked while open) is saved with its whole content and
comes back as an unlinked temporary file; several descriptors of it share one.
"""

from __future__ import annotations

import fcntl
import os

import msgspec

from ..errors import Unsaveable
from . import rights as r
from .beneath import storable
from .descriptors import Access, Descriptor, Missing, Scene, Views
from .history import Touched
from .protocol import Call
from .root import HostRoot, Place, open_flags

UNLINKED_BYTES_MAX = 1 << 30
"""Of all files without a name together, holes and all: they stand in one record, in our memory."""

_FSYNC = {True: getattr(os, "fdatasync", os.fsync), False: os.fsync}


class FileState(msgspec.Struct, frozen=True, tag="file"):
    """An open regular file. ``offset``, ``size``: bytes.

    Exactly one of these says where it is: ``place``; ``content`` (it has no name any more);
    ``shares``: the number of the descriptor whose ``content`` it is, too.
    ``identity``: device and inode. ``modified``: its modification time, ns since 1970.
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
    modified: int


def set_times(target: int | str, access: int | None, modification: int | None) -> None:
    """Time stamps in ns since the epoch; None leaves one as it is (read, then written back)."""
    if access is None or modification is None:
        now = os.stat(target)
        access = now.st_atime_ns if access is None else access
        modification = now.st_mtime_ns if modification is None else modification
    os.utime(target, ns=(access, modification))


class HostFile(Descriptor):
    """An open regular file beneath ``root``; ``path`` is the one it was opened by."""

    __slots__ = ("path", "readable", "root", "touched", "writable")

    def __init__(self, fileno: int, root: HostRoot, path: bytes, access: Access) -> None:
        super().__init__(fileno, access.rights & r.FILE, access.inheriting, access.fdflags)
        self.root = root
        self.path = path
        self.readable = access.readable
        self.writable = access.writable
        self.touched: Touched | None = None

    @property
    def appends(self) -> bool:
        """Whether what is written goes to the end."""
        return bool(self.fdflags & r.APPEND)

    def where(self) -> tuple[int, bytes] | None:
        """Its present place, for the history."""
        return self.root.where(self.fileno)

    def stat(self) -> os.stat_result:
        history = self.root.history
        status = os.fstat(self.fileno)
        return status if history is None else history.visible(status)

    def read(self, call: Call, views: Views) -> int:
        return os.readv(self.fileno, views)

    def write(self, call: Call, views: Views) -> int:
        history = self.root.history
        if history is None:
            return os.writev(self.fileno, views)
        return history.contents.write(self, views)

    def read_at(self, views: Views, offset: int) -> int:
        return os.preadv(self.fileno, views, offset)

    def write_at(self, views: Views, offset: int) -> int:
        history = self.root.history
        if history is None:
            return os.pwritev(self.fileno, views, offset)
        return history.contents.write(self, views, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.fileno, offset, whence)

    def truncate(self, size: int) -> None:
        history = self.root.history
        if history is None:
            os.ftruncate(self.fileno, size)
        else:
            history.contents.truncate(self, size)

    def allocate(self, offset: int, length: int) -> None:
        history = self.root.history
        if history is None:
            os.posix_fallocate(self.fileno, offset, length)
        else:
            history.contents.allocate(self, offset, length)

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
        self.root.may_change(self.fileno)
        history = self.root.history
        if history is None:
            set_times(self.fileno, access, modification)
        else:
            history.contents.change(self, lambda: set_times(self.fileno, access, modification))

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
                scene.unlinked_bytes += status.st_size
                if scene.unlinked_bytes > UNLINKED_BYTES_MAX:
                    raise Unsaveable(
                        f"the file opened as {self.root.place(self.path)} has no name any more and"
                        f" {status.st_size} bytes: files without one have their content in the"
                        f" snapshot, and there is room for {UNLINKED_BYTES_MAX} bytes of them"
                    )
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
            modified=storable(status.st_mtime_ns),
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
        """Open it again. Raises Missing."""
        root = scene.root(state.guest, HostRoot)
        if state.place is None:
            return cls(cls._restore_unlinked(state, scene), root, b"", state.access)
        if state.access.writable and root.readonly:
            raise Missing(f"{state.place} was open for writing, but {state.guest} is read-only")
        return cls(root.reopen(state.place, state.access), root, state.place.path, state.access)

    @staticmethod
    def _restore_unlinked(state: FileState, scene: Scene) -> int:
        access = state.access
        flags = open_flags(access.readable, access.writable, access.fdflags)
        if state.shares is not None:
            owner = scene.restored.get(state.shares)
            if owner is None:
                raise Missing(f"the content of descriptor {state.number}, which has no name")
            return os.open(f"/proc/self/fd/{owner.fileno}", flags)
        import tempfile

        with tempfile.TemporaryFile() as file:
            file.write(state.content or b"")
            file.flush()
            os.utime(file.fileno(), ns=(state.modified, state.modified))
            return os.open(f"/proc/self/fd/{file.fileno()}", flags)

    def rewind(self, state: FileState) -> None:
        """Go to the saved offset."""
        os.lseek(self.fileno, state.offset, os.SEEK_SET)
