"""Pipes between the guest's own threads (WASIX ``fd_pipe``).

A pipe is one of the kernel's, so that waiting for it is waiting for a descriptor like any other.
Nobody else has it: while all guest threads are stopped what is in it can be taken out, saved, and
put back. A snapshot has the content with each end, under a name that both have in common; the first
end that is restored makes the pipe, and an end that the guest has closed is closed again when all
descriptors are there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

import msgspec

from wasnap.errors import Unsaveable

from . import rights as r
from .beneath import os_error
from .descriptors import Missing, Scene
from .stream import ByteStream

_CHUNK = 1 << 16


class PipeState(msgspec.Struct, frozen=True, tag="pipe"):
    """One end. ``pipe``: the same number for both ends of one; ``content``: what was written and
    not read, with the end that reads."""

    number: int
    pipe: int
    writes: bool
    content: bytes
    fdflags: int
    rights: int
    inheriting: int


class PipeEnd(ByteStream):
    """One end of a pipe."""

    __slots__ = ("writes",)

    reading: tuple[str, ...] = ()

    def __init__(self, fileno: int, *, writes: bool) -> None:
        rights = r.STREAM & ~(r.FD_READ if writes else r.FD_WRITE)
        super().__init__(fileno, rights, rights, 0)
        self.writes = writes

    def refuse(self, right: int) -> Exception:
        """The reference runtime's word for using the wrong end, where Unix has EBADF."""
        if right & (r.FD_READ | r.FD_WRITE):
            return os_error(errno.EACCES)
        return super().refuse(right)

    def close(self) -> None:
        self._close_writer()
        super().close()

    def capture(self, number: int, scene: Scene) -> PipeState:
        """With what is in it, which stays there."""
        return PipeState(
            number=number,
            pipe=os.fstat(self.fileno).st_ino,
            writes=self.writes,
            content=b"" if self.writes else self._content(),
            fdflags=self.fdflags,
            rights=self.rights,
            inheriting=self.inheriting,
        )

    def _content(self) -> bytes:
        """Taken out and put back."""
        found = b""
        try:
            with _again(self.fileno) as pipe:
                with contextlib.suppress(BlockingIOError):
                    while part := os.read(pipe, _CHUNK):
                        found += part
                _fill(pipe, found)
        except OSError as error:
            raise Unsaveable(f"what is in a pipe cannot be read: {error.strerror}") from None
        return found

    @classmethod
    def restore(cls, state: PipeState, scene: Scene) -> PipeEnd:
        """This end of a new pipe, or of the one that the other end made. Raises Missing."""
        ends = scene.pipes.get(state.pipe)
        if ends is None:
            try:
                reader, writer = os.pipe()
            except OSError as error:
                raise Missing(f"a pipe: {error.strerror}") from None
            ends = scene.pipes[state.pipe] = {False: reader, True: writer}
        if state.writes not in ends:
            raise Missing("a pipe has an end twice")
        end = cls(ends.pop(state.writes), writes=state.writes)
        try:
            if fcntl.fcntl(end.fileno, fcntl.F_GETPIPE_SZ) < len(state.content):
                fcntl.fcntl(end.fileno, fcntl.F_SETPIPE_SZ, len(state.content))
        except OSError as error:
            end.close()
            raise Missing(f"a pipe of {len(state.content)} bytes: {error.strerror}") from None
        return end

    def rewind(self, state: PipeState) -> None:
        """Put into it what was there."""
        self.fdflags = state.fdflags
        self.rights = state.rights
        self.inheriting = state.inheriting
        if state.content:
            with _again(self.fileno) as pipe:
                _fill(pipe, state.content)


def new() -> tuple[PipeEnd, PipeEnd]:
    """The end to read from, and the end to write to. Raises OSError."""
    reader, writer = os.pipe()
    return PipeEnd(reader, writes=False), PipeEnd(writer, writes=True)


@contextlib.contextmanager
def _again(fileno: int) -> Iterator[int]:
    """The same pipe, opened once more: non-blocking, to read and to write."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    again = os.open(f"/proc/self/fd/{fileno}", flags)
    try:
        yield again
    finally:
        os.close(again)


def _fill(pipe: int, content: bytes) -> None:
    while content:
        content = content[os.write(pipe, content) :]
