"""A guest without an engine: its memory, its thread's ``Call``, and a shorthand for host calls.

Memory is filled with a sentinel byte, and ``Guest.writes`` proves that a call wrote exactly what
was expected and not one byte more.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from wasnap.host import Host
from wasnap.host.protocol import (
    Audience,
    Fault,
    Inside,
    Loaded,
    Made,
    Progress,
    Provider,
    StackCopy,
    Stop,
    Suspended,
)

SENTINEL = 0xA5
MEMORY_SIZE = 1 << 18
PATH, PATH2, IOVS, OUT, DATA = 0x100, 0x1100, 0x2100, 0x4000, 0x10000
RIGHTS_READ, RIGHTS_WRITE = 2, 64
PREVIEW1, UNSTABLE = "wasi_snapshot_preview1", "wasi_unstable"


CHARACTERS, DIRECTORY, REGULAR, SYMLINK = 2, 3, 4, 7
"""filetype"""


def open_descriptors() -> int:
    """How many this process has; none that only waits to be collected, of whatever was before."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class Stat(NamedTuple):
    """A filestat. Times in ns."""

    dev: int
    ino: int
    type: int
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int


class FakeMemory:
    """``protocol.Memory`` over a bytearray."""

    def __init__(self, size: int = MEMORY_SIZE) -> None:
        self.bytes = bytearray([SENTINEL]) * size
        self.size = size

    def view(self, ptr: int, n: int) -> memoryview:
        if ptr < 0 or n < 0 or ptr + n > self.size:
            raise Fault(ptr, n, self.size)
        return memoryview(self.bytes)[ptr : ptr + n]

    def read(self, ptr: int, n: int) -> bytes:
        return bytes(self.view(ptr, n))

    def write(self, ptr: int, data: bytes | bytearray | memoryview) -> None:
        self.view(ptr, len(data))[:] = data

    def _get(self, ptr: int, n: int) -> int:
        return int.from_bytes(self.view(ptr, n), "little")

    def _set(self, ptr: int, n: int, value: int) -> None:
        self.write(ptr, (value % (1 << 8 * n)).to_bytes(n, "little"))

    def u8(self, ptr: int) -> int:
        return self._get(ptr, 1)

    def u16(self, ptr: int) -> int:
        return self._get(ptr, 2)

    def u32(self, ptr: int) -> int:
        return self._get(ptr, 4)

    def u64(self, ptr: int) -> int:
        return self._get(ptr, 8)

    def atomic(self, ptr: int, width: int) -> int:
        return self._get(ptr, width)

    def set_u8(self, ptr: int, value: int) -> None:
        self._set(ptr, 1, value)

    def set_u16(self, ptr: int, value: int) -> None:
        self._set(ptr, 2, value)

    def set_u32(self, ptr: int, value: int) -> None:
        self._set(ptr, 4, value)

    def set_u64(self, ptr: int, value: int) -> None:
        self._set(ptr, 8, value)


class FakeCall:
    """``protocol.Call``. With ``stop`` set, a wait that would really wait raises Stop."""

    def __init__(self, memory: FakeMemory, thread: int = 0) -> None:
        self.thread = thread
        self.memory = memory
        self.memories = (memory,)
        self.progress: Progress | None = None
        self.stop = False
        self.audience: Audience | None = None
        self.waits: list[tuple[list[int], list[int], int | None]] = []
        self.spawned: list[tuple[int, tuple[int, ...]]] = []

    depth = 0
    interrupted = False

    def interrupt(self, thread: int) -> bool:
        return self.lives(thread)

    def about_to(self, *occasions: str) -> None:
        if self.audience is not None:
            self.audience.hear(self, occasions)

    def may_stop(self) -> bool:
        return True

    def stopping(self) -> bool:
        return self.stop

    def wait(
        self, reads: Sequence[int], writes: Sequence[int], timeout_ns: int | None
    ) -> tuple[list[int], list[int]]:
        self.waits.append((list(reads), list(writes), timeout_ns))
        poll = select.poll()
        events: dict[int, int] = {}
        for fds, event in ((reads, select.POLLIN), (writes, select.POLLOUT)):
            for fd in fds:
                events[fd] = events.get(fd, 0) | event
                poll.register(fd, events[fd])
        timeout_ms = None if timeout_ns is None else -(-timeout_ns // 1_000_000)
        ready = dict(poll.poll(0 if self.stop else timeout_ms))
        if not ready and self.stop and timeout_ns != 0:
            raise Stop
        return self._ready(ready, reads, writes)

    def park(self, done: Callable[[], bool], timeout_ns: int | None) -> bool:
        """The time is over at once: nobody else runs here."""
        self.waits.append(([], [], timeout_ns))
        if not done() and self.stop:
            raise Stop
        return done()

    def unpark(self) -> None:
        """Nothing: it does not sleep."""

    def still(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fork(self, process: int, provider: Provider) -> None:
        raise OSError(errno.ENOTSUP, "not here")

    def load(self, module: bytes) -> Loaded:
        raise OSError(errno.ENOTSUP, "not here")

    def make(self, process: int, loaded: Loaded, provider: Provider) -> Made:
        raise OSError(errno.ENOTSUP, "not here")

    def begin(self, made: Made) -> None:
        raise OSError(errno.ENOTSUP, "not here")

    def spawn(self, thread: int, args: tuple[int, ...], stack_pointer: int | None = None) -> None:
        self.spawned.append((thread, args))

    def lives(self, thread: int) -> bool:
        return thread == self.thread or any(number == thread for number, _ in self.spawned)

    def alone(self) -> bool:
        return not self.spawned

    def exports(self, name: str) -> bool:
        raise AssertionError("there is no guest")

    def interruption(self) -> Inside | None:
        raise AssertionError("there is no stack")

    def abandon(self) -> None:
        raise AssertionError("there is no stack")

    def copy_stack(self) -> StackCopy:
        raise AssertionError("there is no stack")

    def replace_stack(self, copy: StackCopy, results: tuple[int, ...]) -> None:
        raise AssertionError("there is no stack")

    def _ready(
        self, ready: dict[int, int], reads: Sequence[int], writes: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        bad = select.POLLERR | select.POLLHUP | select.POLLNVAL
        return (
            [fd for fd in reads if ready.get(fd, 0) & (select.POLLIN | bad)],
            [fd for fd in writes if ready.get(fd, 0) & (select.POLLOUT | bad)],
        )


class Guest:
    """Calls host functions by name, as a guest does. Results of calls are errno names."""

    _filestat = "<QQB7xQQQQQ"

    def __init__(self, host: Host, module: str = PREVIEW1) -> None:
        self.host = host
        self.module = module
        self.memory = FakeMemory()
        self.call = FakeCall(self.memory)
        self.saved: object = None
        """What was saved of it last, if anything was (``saving.py``)."""
        self.history: Path | None = None
        """Where changes to files are noted, if they are."""

    def raw(self, name: str, *arguments: int) -> int:
        """The errno that a host function gives."""
        function = self.host.function(self.module, name)
        assert function is not None, name
        assert len(arguments) == len(function.params), name
        result = function.call(self.call, *arguments)
        assert isinstance(result, int)
        return result

    def __call__(self, name: str, *arguments: int) -> str:
        from wasnap.host.wasip1.spec import ERRNO_NAMES

        return ERRNO_NAMES[self.raw(name, *arguments)]

    def suspended(self, name: str, *arguments: int) -> Progress:
        """Make the call with a stop asked for; what it had done."""
        self.call.stop = True
        try:
            self.raw(name, *arguments)
        except Suspended as suspended:
            return suspended.progress
        except Stop:
            return self.call.progress or {}
        finally:
            self.call.stop = False
        raise AssertionError(f"{name} did not stop")

    def completed(self, progress: Progress, name: str, *arguments: int) -> str:
        """Complete a suspended call."""
        self.call.progress = progress
        try:
            return self(name, *arguments)
        finally:
            self.call.progress = None

    @contextmanager
    def writes(self, *expected: tuple[int, bytes]) -> Iterator[None]:
        """What happens inside writes exactly these (pointer, bytes) to memory."""
        after = bytearray(self.memory.bytes)
        yield
        for ptr, data in expected:
            after[ptr : ptr + len(data)] = data
        assert self.memory.bytes == after

    # -- shorthand --------------------------------------------------------------------------

    def path(self, path: str | bytes, at: int = PATH) -> tuple[int, int]:
        """Put a path into memory: (pointer, length)."""
        data = path.encode() if isinstance(path, str) else path
        self.memory.write(at, data)
        return at, len(data)

    def iovs(self, *lengths: int, data: bytes = b"") -> tuple[int, int]:
        """Buffers at DATA, filled with ``data``: (pointer, count)."""
        self.memory.write(DATA, data)
        at = DATA
        for i, n in enumerate(lengths):
            self.memory.write(IOVS + 8 * i, struct.pack("<II", at, n))
            at += n
        return IOVS, len(lengths)

    def open(
        self,
        path: str | bytes,
        *,
        fd: int = 3,
        follow: bool = True,
        oflags: int = 0,
        rights: int = RIGHTS_READ | RIGHTS_WRITE,
        fdflags: int = 0,
    ) -> int:
        """path_open; the descriptor. Fails the test if it does not work."""
        result = self.try_open(
            path, fd=fd, follow=follow, oflags=oflags, rights=rights, fdflags=fdflags
        )
        assert result == "SUCCESS", result
        return self.memory.u32(OUT)

    def try_open(
        self,
        path: str | bytes,
        *,
        fd: int = 3,
        follow: bool = True,
        oflags: int = 0,
        rights: int = RIGHTS_READ | RIGHTS_WRITE,
        fdflags: int = 0,
    ) -> str:
        """path_open; the errno's name."""
        at, n = self.path(path)
        return self("path_open", fd, int(follow), at, n, oflags, rights, 0, fdflags, OUT)

    def rename(self, old: str | bytes, new: str | bytes) -> None:
        """path_rename within descriptor 3."""
        assert self("path_rename", 3, *self.path(old), 3, *self.path(new, PATH2)) == "SUCCESS"

    def unlink(self, path: str | bytes) -> None:
        """path_unlink_file beneath descriptor 3."""
        assert self("path_unlink_file", 3, *self.path(path)) == "SUCCESS"

    def write(self, fd: int, data: bytes) -> int:
        """fd_write; bytes written."""
        assert self("fd_write", fd, *self.iovs(len(data), data=data), OUT) == "SUCCESS"
        return self.memory.u32(OUT)

    def read(self, fd: int, n: int) -> bytes:
        """fd_read."""
        assert self("fd_read", fd, *self.iovs(n), OUT) == "SUCCESS"
        return self.memory.read(DATA, self.memory.u32(OUT))

    def seek(self, fd: int, offset: int, whence: int = 0) -> int:
        """fd_seek; the new offset."""
        assert self("fd_seek", fd, offset % (1 << 64), whence, OUT) == "SUCCESS"
        return self.memory.u64(OUT)

    def tell(self, fd: int) -> int:
        """fd_tell."""
        assert self("fd_tell", fd, OUT) == "SUCCESS"
        return self.memory.u64(OUT)

    def readdir(self, fd: int, size: int = 4096, cookie: int = 0) -> list[tuple[int, bytes]]:
        """fd_readdir once; whole entries only: (cookie of the next, name)."""
        assert self("fd_readdir", fd, DATA, size, cookie, OUT) == "SUCCESS"
        data = self.memory.read(DATA, self.memory.u32(OUT))
        entries = []
        while len(data) >= 24:
            following, _, length, _ = struct.unpack_from("<QQIB", data)
            if len(data) < 24 + length:
                break
            entries.append((following, data[24 : 24 + length]))
            data = data[24 + length :]
        return entries

    # -- the same for whole files, so that tests need not know what is behind a mapping -----------

    def make(self, path: str | bytes, data: bytes = b"", *, fd: int = 3) -> None:
        """A new file with this content."""
        new = self.open(path, fd=fd, oflags=1 | 4, rights=RIGHTS_WRITE)
        while data:
            data = data[self.write(new, data[: 1 << 16]) :]
        self.close(new)

    def make_directory(self, path: str | bytes, *, fd: int = 3) -> None:
        """path_create_directory."""
        assert self("path_create_directory", fd, *self.path(path)) == "SUCCESS"

    def make_link(self, target: str | bytes, path: str | bytes) -> None:
        """path_symlink."""
        assert self("path_symlink", *self.path(target), 3, *self.path(path, PATH2)) == "SUCCESS"

    def close(self, fd: int) -> None:
        """fd_close."""
        assert self("fd_close", fd) == "SUCCESS"

    def content(self, path: str | bytes, *, fd: int = 3) -> bytes:
        """All of a file."""
        opened = self.open(path, fd=fd, rights=RIGHTS_READ)
        found = b""
        while part := self.read(opened, 1 << 16):
            found += part
        self.close(opened)
        return found

    def names(self, path: str | bytes = ".", *, fd: int = 3) -> list[bytes]:
        """The sorted names in a directory, without the two that are always there."""
        opened = self.open(path, fd=fd, rights=RIGHTS_READ)
        found: list[bytes] = []
        cookie = 0
        while entries := self.readdir(opened, 1 << 14, cookie):
            found += [name for _, name in entries]
            cookie = entries[-1][0]
        self.close(opened)
        assert found.count(b".") == found.count(b"..") == 1
        return sorted(name for name in found if name not in (b".", b".."))

    def stat(self, path: str | bytes, *, follow: bool = False, fd: int = 3) -> Stat:
        """path_filestat_get."""
        assert self("path_filestat_get", fd, int(follow), *self.path(path), OUT) == "SUCCESS"
        return self._stat()

    def fd_stat(self, fd: int) -> Stat:
        """fd_filestat_get."""
        assert self("fd_filestat_get", fd, OUT) == "SUCCESS"
        return self._stat()

    def _stat(self) -> Stat:
        return Stat(*struct.unpack(self._filestat, self.memory.read(OUT, 64)))

    def readlink(self, path: str | bytes) -> bytes:
        """path_readlink."""
        assert self("path_readlink", 3, *self.path(path), DATA, 4096, OUT) == "SUCCESS"
        return self.memory.read(DATA, self.memory.u32(OUT))


class UnstableGuest(Guest):
    """Calls wasi_unstable with the numbers of preview1, so that one test is for both."""

    _filestat = "<QQB3xIQQQQ8x"

    def __init__(self, host: Host) -> None:
        super().__init__(host, UNSTABLE)

    def raw(self, name: str, *arguments: int) -> int:
        if name == "fd_seek" and arguments[2] < 3:
            fd, offset, whence, newoffset = arguments
            arguments = (fd, offset, (2, 0, 1)[whence], newoffset)
        return super().raw(name, *arguments)
