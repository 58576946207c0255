"""fd_* and path_* where WASIX has more than preview1: numbers, close-on-exec, working directory."""

from __future__ import annotations

import errno

from .. import pipe
from ..beneath import os_error
from ..mapped import Directory
from ..net.socket import Socket
from ..protocol import Call
from ..wasip1 import fd as preview1_fd
from ..wasip1 import path as preview1_path
from ..wasip1 import spec
from ..wasip1.abi import I32, I64, LengthAt, Ptr, read_path
from ..wasip1.errno import invalid
from ..wasip1.layout import POINTER_SIZE
from ..world import Host
from .anywhere import Anywhere

_CLOEXEC = 1 << 0


class Fd(preview1_fd.Fd):
    """Descriptors. A duplicate is the same open thing under a further number, as in POSIX."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)

    def fd_fdstat_get(self, call: Call, fd: I32, stat: Ptr) -> None:
        """As in preview1; a socket may also be one of datagrams."""
        super().fd_fdstat_get(call, fd, stat)
        descriptor = self._descriptors.get(fd)
        if isinstance(descriptor, Socket) and descriptor.kind == "dgram":
            call.memory.set_u8(stat, spec.FILETYPE_SOCKET_DGRAM)

    def fd_renumber(self, call: Call, fd: I32, to: I32) -> None:
        """``to`` is closed, and is then a duplicate of fd, which stays. Like dup2.

        BADF: fd is not open. NOTSUP: ``to`` is a mapped directory, which a libc needs to find paths.
        """
        self._descriptors.get(fd)
        if fd != to:
            target = self._descriptors.find(to)
            if isinstance(target, Directory) and target.preopen:
                raise os_error(errno.ENOTSUP)
        self._descriptors.duplicate_as(fd, to)

    def fd_dup(self, call: Call, fd: I32, result: Ptr) -> None:
        """A duplicate with the lowest free number: u32 at result. Like dup."""
        call.memory.u32(result)
        call.memory.set_u32(result, self._descriptors.duplicate(fd))

    def fd_dup2(self, call: Call, fd: I32, min_result_fd: I32, cloexec: I32, result: Ptr) -> None:
        """A duplicate with a number of at least min_result_fd: u32 at result. Like F_DUPFD.

        cloexec: not 0 for F_DUPFD_CLOEXEC. INVAL: min_result_fd is too large.
        """
        call.memory.u32(result)
        new = self._descriptors.duplicate(fd, min_result_fd)
        if cloexec & 0xFF:
            self._descriptors.cloexec.add(new)
        call.memory.set_u32(result, new)

    def fd_pipe(self, call: Call, reader: Ptr, writer: Ptr) -> None:
        """A pipe: u32 descriptors at reader and writer. Like pipe."""
        call.memory.u32(reader)
        call.memory.u32(writer)
        for end, at in zip(pipe.new(), (reader, writer), strict=True):
            call.memory.set_u32(at, self._descriptors.add(end))

    def fd_fdflags_get(self, call: Call, fd: I32, flags: Ptr) -> None:
        """The flags of the number, not of what is open: u16 at flags, bit 0 CLOEXEC."""
        self._descriptors.get(fd)
        cloexec = fd in self._descriptors.cloexec
        call.memory.set_u16(flags, _CLOEXEC if cloexec else 0)

    def fd_fdflags_set(self, call: Call, fd: I32, flags: I32) -> None:
        """Set them. INVAL: others than CLOEXEC."""
        self._descriptors.get(fd)
        if flags & ~_CLOEXEC:
            raise invalid("fdflagsext")
        if flags & _CLOEXEC:
            self._descriptors.cloexec.add(fd)
        else:
            self._descriptors.cloexec.discard(fd)


class Path(preview1_path.Path):
    """Names. Relative paths are so to a descriptor, also here: a libc keeps the working directory in
    the guest, too, and makes them absolute itself."""

    _pointer_size = POINTER_SIZE

    def __init__(self, host: Host) -> None:
        super().__init__(host)

    def _directory(self, fd: int, right: int) -> Anywhere:
        return Anywhere(self._host, super()._directory(fd, right))

    def path_open2(
        self,
        call: Call,
        fd: I32,
        dirflags: I32,
        path: Ptr,
        path_len: Ptr,
        oflags: I32,
        fs_rights_base: I64,
        fs_rights_inheriting: I64,
        fdflags: I32,
        fdflagsext: I32,
        opened_fd: Ptr,
    ) -> None:
        """``path_open``, with the flags of the new number. INVAL: others than CLOEXEC."""
        if fdflagsext & ~_CLOEXEC:
            raise invalid("fdflagsext")
        self.path_open(
            call,
            fd,
            dirflags,
            path,
            path_len,
            oflags,
            fs_rights_base,
            fs_rights_inheriting,
            fdflags,
            opened_fd,
        )
        if fdflagsext & _CLOEXEC:
            self._descriptors.cloexec.add(call.memory.u32(opened_fd))

    def getcwd(self, call: Call, path: Ptr, path_len: LengthAt) -> None:
        """The working directory, at path, with a NUL if there is room for one.

        A length at path_len: bytes there are; it becomes the path's length. RANGE: too few (there is
        no NUL needed to fit).
        """
        memory = call.memory
        cwd = self._host.cwd
        room = int.from_bytes(memory.read(path_len, self._pointer_size), "little")
        memory.view(path, min(room, len(cwd)))
        memory.set_u32(path_len, len(cwd))
        if room < len(cwd):
            raise os_error(errno.ERANGE)
        memory.write(path, cwd + b"\0" if room > len(cwd) else cwd)

    def chdir(self, call: Call, path: Ptr, path_len: Ptr) -> None:
        """Set the working directory; a relative path is one from there. NOENT, NOTDIR."""
        name = read_path(call.memory, path, path_len)
        if not name:
            raise os_error(errno.ENOENT)
        wanted = self._host.absolute(name)
        if not self._host.is_directory(wanted):
            raise os_error(errno.ENOTDIR)
        self._host.cwd = wanted
