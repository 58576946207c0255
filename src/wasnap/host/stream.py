"""Pipes, terminals, sockets and other devices: the standard streams, and those found in mappings.

They differ from files in that reading and writing can block, and that a stop must come through
then. So we wait first (``Call.wait``), with the kernel's descriptor as it is: the standard streams
are shared with other processes, and setting O_NONBLOCK would be seen by all of them.

*Reading* waits until there is something and then reads once; nothing has been consumed when a stop
comes. *Writing* writes all of it, as a blocking write does. How many bytes went out already is
the call's progress, so that none goes out twice. A pipe is opened a second time, non-blocking, for
ourselves (through /proc); where this cannot be done we write, after each wait, at most PIPE_BUF
bytes, which a writable pipe takes without blocking. Two guest threads may have waited for the same
thing, so each looks again before it reads or writes, which it then does alone (``protocol.py``).

A standard stream is saved by its role, and a resumed process uses its own. If that is a regular
file and the same as before, it goes on where the snapshot was: input is not read twice, and neither
is output written twice. What the file received after the snapshot (from a process that was killed)
the resumed process is going to write again: as long as it is the same, byte for byte, it is skipped.
At the first difference, which may be somebody else's line, all goes to the end of the file. Nothing
is ever cut off. Streams that go to one file (``>> log 2>&1``) skip together, in the order in which
they are written to; and a snapshot that is taken meanwhile is one of that place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import struct
import termios

import msgspec

from . import rights as r
from .beneath import os_error
from .descriptors import Access, Descriptor, Missing, Scene, Views
from .protocol import OUTSIDE, STDIN, Call, Stop, Suspended
from .root import HostRoot, Place
from .terminal import Terminal


class StreamState(msgspec.Struct, frozen=True, tag="stream"):
    """A standard stream: ``name`` is stdin, stdout or stderr.

    ``offset``, ``size`` (bytes) and ``identity`` (device, inode): of regular files only.
    """

    number: int
    name: str
    fdflags: int
    rights: int
    inheriting: int
    offset: int | None
    size: int | None
    identity: tuple[int, int] | None


class DeviceState(msgspec.Struct, frozen=True, tag="device"):
    """A pipe, terminal or other device that was opened in a mapping."""

    number: int
    place: Place
    access: Access


def skip(views: Views, n: int) -> list[memoryview]:
    """What is left of ``views`` after ``n`` bytes."""
    rest = []
    for view in views:
        if n >= len(view):
            n -= len(view)
        else:
            rest.append(view[n:] if n else view)
            n = 0
    return rest


def head(views: Views, n: int) -> list[memoryview]:
    """The first ``n`` bytes of ``views``."""
    first = []
    for view in views:
        if n <= 0:
            break
        first.append(view[:n])
        n -= len(view)
    return first


class ByteStream(Descriptor):
    """What standard streams, devices and connections have in common."""

    __slots__ = ("_writer", "has_peer", "mode", "waits", "written")

    reading: tuple[str, ...] = (OUTSIDE,)

    def __init__(self, fileno: int, rights: int, inheriting: int, fdflags: int) -> None:
        super().__init__(fileno, rights, inheriting, fdflags)
        self.mode = os.fstat(fileno).st_mode
        self.has_peer: bool = stat.S_ISFIFO(self.mode) or stat.S_ISSOCK(self.mode)
        self.waits: bool = self.has_peer or os.isatty(fileno)
        self.written = 0  # bytes, by the guest, ever; also before a resume
        self._writer: int | None = None  # does not block, and is ours alone
        if stat.S_ISFIFO(self.mode) and rights & r.FD_WRITE:
            self._writer = _open_again(fileno)

    def refuse(self, right: int) -> Exception:
        if right & (r.FD_SEEK | r.FD_TELL):
            return os_error(errno.ESPIPE)
        return os_error(errno.EBADF)

    def read(self, call: Call, views: Views) -> int:
        if call.interrupted:
            raise os_error(errno.EINTR)
        call.about_to(*self.reading)
        if not self.waits:
            return os.readv(self.fileno, views)
        if self.fdflags & r.NONBLOCK:
            if not _ready(self.fileno, select.POLLIN):
                raise os_error(errno.EAGAIN)
            return os.readv(self.fileno, views)
        while True:
            call.wait([self.fileno], [], None)
            if not _ready(self.fileno, select.POLLIN):  # another thread was faster
                continue
            try:
                return os.readv(self.fileno, views)
            except BlockingIOError:  # another reader was faster, and it came to us non-blocking
                continue

    def write(self, call: Call, views: Views) -> int:
        if not self.waits:
            n = os.writev(self.fileno, views)
            self.written += n
            return n
        return self._write_all(call, views)

    def _write_all(self, call: Call, views: Views) -> int:
        done: int = call.progress["written"] if call.progress else 0
        if done:
            views = skip(views, done)
        try:
            while views:
                n = self._write_some(call, views)
                done += n
                self.written += n
                views = skip(views, n)
        except Stop:
            raise Suspended({"written": done}) from None
        except OSError:
            if not done:
                raise
        return done

    def _write_some(self, call: Call, views: Views) -> int:
        nonblocking = self.fdflags & r.NONBLOCK
        if self._writer is not None:
            while True:
                try:
                    return os.writev(self._writer, views)
                except BlockingIOError:
                    if nonblocking:
                        raise
                    call.wait([], [self._writer], None)
                    if self._writer is None:
                        raise os_error(errno.EBADF) from None  # another thread closed it
        first = head(views, select.PIPE_BUF)
        if nonblocking:
            if not _ready(self.fileno, select.POLLOUT):
                raise os_error(errno.EAGAIN)
            return os.writev(self.fileno, first)
        while True:
            call.wait([], [self.fileno], None)
            if not _ready(self.fileno, select.POLLOUT):  # another thread was faster
                continue
            try:
                return os.writev(self.fileno, first)
            except BlockingIOError:  # another writer was faster, and it came to us non-blocking
                continue

    def read_at(self, views: Views, offset: int) -> int:
        return os.preadv(self.fileno, views, offset)

    def write_at(self, views: Views, offset: int) -> int:
        return os.pwritev(self.fileno, views, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.fileno, offset, whence)

    def set_flags(self, fdflags: int) -> None:
        """Ours only: the descriptor behind it may be shared with other processes."""
        changeable = r.APPEND | r.NONBLOCK
        self.fdflags = self.fdflags & ~changeable | fdflags & changeable

    def available(self) -> int:
        if stat.S_ISREG(self.mode):
            size = os.fstat(self.fileno).st_size
            return max(0, size - os.lseek(self.fileno, 0, os.SEEK_CUR))
        try:
            buffer = fcntl.ioctl(self.fileno, termios.FIONREAD, b"\0\0\0\0")
        except OSError:  # devices that know no such number, like /dev/null
            return 0
        return int(struct.unpack("i", buffer)[0])

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None


class Tail:
    """What a file received after the snapshot that was resumed: from byte ``at``, which moves, to
    ``end``. Streams that go to that file share it."""

    __slots__ = ("at", "end")

    def __init__(self, at: int, end: int) -> None:
        self.at = at
        self.end = end

    def skip(self, fileno: int, data: bytes) -> int:
        """How many bytes of this the file, open as ``fileno``, has already: all, or those up to
        its end."""
        rest = b""
        with contextlib.suppress(OSError):  # if it may not be read, it cannot be told
            fd = os.open(b"/proc/self/fd/%d" % fileno, os.O_RDONLY | os.O_CLOEXEC)
            rest = os.pread(fd, min(len(data), self.end - self.at), self.at)
            os.close(fd)
        n = len(rest) if data.startswith(rest) else 0
        self.at = self.at + n if n and n == len(data) else self.end
        return n


class Stream(ByteStream):
    """A standard stream of this process. It is used as it is, and not closed with the guest's."""

    __slots__ = ("_tail", "name", "reading", "terminal")

    def __init__(self, name: str, fileno: int) -> None:
        mode = os.fstat(fileno).st_mode
        rights = r.FILE if stat.S_ISREG(mode) else r.STREAM
        if stat.S_ISCHR(mode) and not os.isatty(fileno):
            rights |= r.FD_SEEK | r.FD_TELL  # without these, guests' isatty() says yes
        rights &= ~(r.FD_WRITE if name == "stdin" else r.FD_READ)
        append = fcntl.fcntl(fileno, fcntl.F_GETFL) & os.O_APPEND
        super().__init__(fileno, rights, rights, r.APPEND if append else 0)
        self.name = name
        self.terminal: Terminal | None = None
        self.reading = (STDIN, OUTSIDE) if name == "stdin" else (OUTSIDE,)
        self._tail = Tail(0, 0)
        """What we may be about to write again."""

    def write(self, call: Call, views: Views) -> int:
        tail = self._tail
        skipped = 0 if tail.at == tail.end else tail.skip(self.fileno, b"".join(views))
        if not skipped:
            return super().write(call, views)
        self.written += skipped
        views = skip(views, skipped)
        return skipped + (super().write(call, views) if views else 0)

    def share_tail(self, tails: dict[tuple[int, ...], Tail]) -> None:
        """With those before that go to the same place of the same file."""
        if self._tail.at != self._tail.end:
            status = os.fstat(self.fileno)
            place = (status.st_dev, status.st_ino, self._tail.at)
            self._tail = tails.setdefault(place, self._tail)

    def show(self, terminal: Terminal | None) -> None:
        """If this is that terminal, tell it what is written and read."""
        if terminal is not None and os.isatty(self.fileno):
            same = os.fstat(self.fileno).st_rdev == terminal.device
            self.terminal = terminal if same else None

    def read(self, call: Call, views: Views) -> int:
        n = super().read(call, views)
        if self.terminal is not None and n:
            self.terminal.took(b"".join(head(views, n)))
        return n

    def _write_some(self, call: Call, views: Views) -> int:
        n = super()._write_some(call, views)
        if self.terminal is not None:
            self.terminal.wrote(b"".join(head(views, n)))
        return n

    def close(self) -> None:
        self._close_writer()

    def capture(self, number: int, scene: Scene) -> StreamState:
        """By its role; with its position if it is a regular file."""
        offset = size = identity = None
        if stat.S_ISREG(self.mode):
            status = os.fstat(self.fileno)
            identity = (status.st_dev, status.st_ino)
            size = status.st_size
            if self._tail.at != self._tail.end:
                offset = self._tail.at
            elif self.fdflags & r.APPEND:
                offset = size
            else:
                offset = os.lseek(self.fileno, 0, os.SEEK_CUR)
        return StreamState(
            number=number,
            name=self.name,
            fdflags=self.fdflags,
            rights=self.rights,
            inheriting=self.inheriting,
            offset=offset,
            size=size,
            identity=identity,
        )

    @classmethod
    def restore(cls, state: StreamState, scene: Scene) -> Stream:
        """The stream of this process with the same role. Raises Missing."""
        try:
            fileno = scene.standard[state.name]
        except KeyError:
            raise Missing(f"there is no {state.name}") from None
        return cls(state.name, fileno)

    def rewind(self, state: StreamState) -> None:
        """Take over what the guest knows of it, and the position in a file that is the same."""
        self.fdflags = state.fdflags
        # What the kind of stream allows now (a file, a terminal), less what was given up.
        self.rights &= ~(r.TRANSFER & ~state.rights)
        self.inheriting = self.rights
        if state.offset is None or state.size is None or not stat.S_ISREG(self.mode):
            return
        status = os.fstat(self.fileno)
        same = state.identity == (status.st_dev, status.st_ino)
        if self.name == "stdin":
            if same or status.st_size == state.size:
                os.lseek(self.fileno, state.offset, os.SEEK_SET)
        elif same and status.st_size >= state.offset:
            os.lseek(self.fileno, 0, os.SEEK_END)
            self._tail = Tail(state.offset, status.st_size)


class Device(ByteStream):
    """A pipe, terminal or other device in a mapping; opened non-blocking, for us alone."""

    __slots__ = ("path", "readable", "root", "writable")

    def __init__(self, fileno: int, root: HostRoot, path: bytes, access: Access) -> None:
        rights = access.rights & r.STREAM
        mode = os.fstat(fileno).st_mode
        if stat.S_ISCHR(mode) and not os.isatty(fileno):
            rights |= r.FD_SEEK | r.FD_TELL
        super().__init__(fileno, rights, access.inheriting, access.fdflags)
        self.root = root
        self.path = path
        self.readable = access.readable
        self.writable = access.writable

    def close(self) -> None:
        self._close_writer()
        super().close()

    def capture(self, number: int, scene: Scene) -> DeviceState:
        """By its name; what is in a pipe is not ours."""
        place = self.root.find(self.fileno, self.path) or self.root.place(self.path)
        return DeviceState(
            number=number,
            place=place,
            access=Access.of(self, self.readable, self.writable),
        )

    @classmethod
    def restore(cls, state: DeviceState, scene: Scene) -> Device:
        """Open it again. Raises Missing."""
        root = scene.root(state.place.guest, HostRoot)
        fileno = root.reopen(state.place, state.access)
        return cls(fileno, root, state.place.path, state.access)

    def rewind(self, state: DeviceState) -> None:
        """Nothing: a device has no past."""


def _open_again(fileno: int) -> int | None:
    """A non-blocking descriptor of the same pipe that is ours alone, or None."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{fileno}", flags)
    except OSError:  # no /proc, or not our pipe: waiting works, too
        return None


def _ready(fileno: int, event: int) -> bool:
    """Whether it can be done without waiting; also where it will fail."""
    if fileno < 0:  # another thread closed it
        return True
    poll = select.poll()
    poll.register(fileno, event)
    return bool(poll.poll(0))
