"""fd_*: what is done with an open descriptor.

Every function fails with BADF if fd is not open, NOTCAPABLE if a right it needs was given up, FAULT
if a pointer leaves the memory, and with what the operating system says; the comments name what is
particular. On directories, functions that are about file contents give BADF, on pipes and terminals
those that need a position SPIPE.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import errno
import os

from .. import rights as r
from ..beneath import os_error
from ..descriptors import NotCapable
from ..mapped import Directory
from ..protocol import Call
from ..signals import BROKEN_PIPE
from ..socket import Listener
from ..world import Host
from . import layout, spec
from .abi import I32, I64, Ptr, Size, SizeAt
from .errno import invalid
from .times import times

_ADVICE = tuple(getattr(os, f"POSIX_FADV_{name}", 0) for name in spec.ADVICE_NAMES)


def signed(offset: int) -> int:
    """An i64 argument as the filedelta it is."""
    return offset - (1 << 64) if offset >> 63 else offset


class Fd:
    """Descriptors."""

    _whence = (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)
    _filestat = staticmethod(layout.filestat)
    _iovecs = staticmethod(layout.iovecs)

    def __init__(self, host: Host) -> None:
        self._host = host
        self._descriptors = host.descriptors

    # -- contents ---------------------------------------------------------------------------

    def fd_read(self, call: Call, fd: I32, iovs: Ptr, iovs_len: Ptr, nread: SizeAt) -> None:
        """Read at the present offset into buffers. Like readv.

        iovs: iovs_len ``iovec``. AGAIN: nothing there, and NONBLOCK is set. u32 bytes at nread.
        """
        memory = call.memory
        views = self._iovecs(memory, iovs, iovs_len)
        memory.set_u32(nread, self._descriptors.get(fd, r.FD_READ).read(call, views))

    def fd_write(self, call: Call, fd: I32, iovs: Ptr, iovs_len: Ptr, nwritten: SizeAt) -> None:
        """Write buffers at the present offset. Like writev.

        iovs: iovs_len ``ciovec``. AGAIN: no room, and NONBLOCK is set. u32 bytes at nwritten. PIPE: nobody
        reads from it; if it is one of the guest's own pipes, SIGPIPE comes first.
        """
        memory = call.memory
        views = self._iovecs(memory, iovs, iovs_len)
        descriptor = self._descriptors.get(fd, r.FD_WRITE)
        if call.progress == BROKEN_PIPE:
            raise os_error(errno.EPIPE)
        try:
            written = descriptor.write(call, views)
        except BrokenPipeError:
            if descriptor.tells_writers and self._host.acting is None:
                self._host.signals.broken_pipe(call)
            raise
        memory.set_u32(nwritten, written)

    def fd_pread(
        self, call: Call, fd: I32, iovs: Ptr, iovs_len: Ptr, offset: I64, nread: SizeAt
    ) -> None:
        """Read at offset (bytes), which does not move. Like preadv. u32 bytes at nread."""
        memory = call.memory
        views = self._iovecs(memory, iovs, iovs_len)
        descriptor = self._descriptors.get(fd, r.FD_READ | r.FD_SEEK)
        if descriptor.reading:
            call.about_to(*descriptor.reading)
        memory.set_u32(nread, descriptor.read_at(views, offset))

    def fd_pwrite(
        self, call: Call, fd: I32, iovs: Ptr, iovs_len: Ptr, offset: I64, nwritten: SizeAt
    ) -> None:
        """Write at offset (bytes), which does not move. Like pwritev. u32 bytes at nwritten."""
        memory = call.memory
        views = self._iovecs(memory, iovs, iovs_len)
        descriptor = self._descriptors.get(fd, r.FD_WRITE | r.FD_SEEK)
        memory.set_u32(nwritten, descriptor.write_at(views, offset))

    def fd_seek(self, call: Call, fd: I32, offset: I64, whence: I32, newoffset: Ptr) -> None:
        """Move the offset. Like lseek. INVAL: before the start, or no such whence. u64 bytes.

        Not moving at all (CUR, 0) needs the right to tell only.
        """
        if whence >= len(self._whence):
            self._descriptors.get(fd, r.FD_SEEK)
            raise invalid("whence")
        if offset == 0 and self._whence[whence] == os.SEEK_CUR:
            self.fd_tell(call, fd, newoffset)
            return
        descriptor = self._descriptors.get(fd, r.FD_SEEK)
        position = descriptor.seek(signed(offset), self._whence[whence])
        call.memory.set_u64(newoffset, position)

    def fd_tell(self, call: Call, fd: I32, offset: Ptr) -> None:
        """The present offset: u64 bytes at offset. The right to seek is enough."""
        descriptor = self._descriptors.get(fd)
        if not descriptor.rights & (r.FD_SEEK | r.FD_TELL):
            raise descriptor.refuse(r.FD_TELL)
        call.memory.set_u64(offset, descriptor.seek(0, os.SEEK_CUR))

    def fd_advise(self, call: Call, fd: I32, offset: I64, len: I64, advice: I32) -> None:
        """Say how a part of a file will be used. Like posix_fadvise. INVAL: no such advice."""
        descriptor = self._descriptors.get(fd, r.FD_ADVISE)
        if advice >= 6:
            raise invalid("advice")
        descriptor.advise(offset, len, _ADVICE[advice])

    def fd_allocate(self, call: Call, fd: I32, offset: I64, len: I64) -> None:
        """Make sure that a part of a file has space. Like posix_fallocate. INVAL: len is 0."""
        self._descriptors.get(fd, r.FD_ALLOCATE).allocate(offset, len)

    def fd_sync(self, call: Call, fd: I32) -> None:
        """Data and attributes to the disk. Like fsync."""
        self._descriptors.get(fd, r.FD_SYNC).sync(data_only=False)

    def fd_datasync(self, call: Call, fd: I32) -> None:
        """Data to the disk. Like fdatasync."""
        self._descriptors.get(fd, r.FD_DATASYNC).sync(data_only=True)

    # -- the descriptor ---------------------------------------------------------------------

    def fd_close(self, call: Call, fd: I32) -> None:
        """Close. Like close; works on preopened directories, too."""
        self._descriptors.close(fd)

    def fd_renumber(self, call: Call, fd: I32, to: I32) -> None:
        """Close ``to``, and call ``fd`` so. Like dup2 and close. BADF: one is not open."""
        self._descriptors.renumber(fd, to)

    def fd_fdstat_get(self, call: Call, fd: I32, stat: Ptr) -> None:
        """Type, flags and rights: ``layout.fdstat`` (24 bytes) at stat."""
        d = self._descriptors.get(fd)
        mode = d.stat().st_mode
        call.memory.write(stat, layout.fdstat(mode, d.fdflags, d.rights, d.inheriting))

    def fd_fdstat_set_flags(self, call: Call, fd: I32, flags: I32) -> None:
        """Set APPEND and NONBLOCK. Like fcntl(F_SETFL). INVAL: flags that cannot be changed."""
        descriptor = self._descriptors.get(fd, r.FD_FDSTAT_SET_FLAGS)
        if (flags ^ descriptor.fdflags) & ~(r.APPEND | r.NONBLOCK):
            raise invalid("fdflags")
        descriptor.set_flags(flags)

    def fd_fdstat_set_rights(
        self, call: Call, fd: I32, fs_rights_base: I64, fs_rights_inheriting: I64
    ) -> None:
        """Give up rights. NOTCAPABLE: some are not there to keep."""
        descriptor = self._descriptors.get(fd)
        if fs_rights_base & ~descriptor.rights or fs_rights_inheriting & ~descriptor.inheriting:
            raise NotCapable
        descriptor.rights = fs_rights_base
        descriptor.inheriting = fs_rights_inheriting

    # -- attributes -------------------------------------------------------------------------

    def fd_filestat_get(self, call: Call, fd: I32, buf: Ptr) -> None:
        """Attributes. Like fstat. ``layout.filestat`` (64 bytes; wasi_unstable 56) at buf."""
        status = self._descriptors.get(fd, r.FD_FILESTAT_GET).stat()
        call.memory.write(buf, self._filestat(status))

    def fd_filestat_set_size(self, call: Call, fd: I32, size: I64) -> None:
        """Set the size in bytes. Like ftruncate. INVAL: not open for writing."""
        self._descriptors.get(fd, r.FD_FILESTAT_SET_SIZE).truncate(size)

    def fd_filestat_set_times(
        self, call: Call, fd: I32, atim: I64, mtim: I64, fst_flags: I32
    ) -> None:
        """Set time stamps (ns). Like futimens. INVAL: a value and "now" at once; ROFS."""
        descriptor = self._descriptors.get(fd, r.FD_FILESTAT_SET_TIMES)
        descriptor.set_times(*times(self._host.clock, atim, mtim, fst_flags))

    # -- directories ------------------------------------------------------------------------

    def fd_prestat_get(self, call: Call, fd: I32, buf: Ptr) -> None:
        """Which kind of preopen, and the length of its name: ``layout.prestat`` (8 bytes) at buf.

        BADF also for what is not a preopen: that is how a guest's libc finds the end of them. So a
        socket to accept on, which comes before the directories, is a preopen of a type it skips.
        """
        if isinstance(self._descriptors.get(fd), Listener):
            call.memory.write(buf, layout.prestat(0, spec.PREOPENTYPE_OTHER))
            return
        call.memory.write(buf, layout.prestat(len(self._preopen(fd, errno.EBADF))))

    def fd_prestat_dir_name(self, call: Call, fd: I32, path: Ptr, path_len: Size) -> None:
        """The guest path of a preopened directory, without NUL, at path.

        NAMETOOLONG: path_len is less than its length. NOTDIR: it is not a preopen.
        """
        name = self._preopen(fd, errno.ENOTDIR)
        if len(name) > path_len:
            raise os_error(errno.ENAMETOOLONG)
        call.memory.write(path, name)

    def _preopen(self, fd: int, otherwise: int) -> bytes:
        descriptor = self._descriptors.get(fd)
        if not (isinstance(descriptor, Directory) and descriptor.preopen):
            raise os_error(otherwise)
        return os.fsencode(descriptor.root.mapping.guest)

    def fd_readdir(
        self, call: Call, fd: I32, buf: Ptr, buf_len: Ptr, cookie: I64, bufused: SizeAt
    ) -> None:
        """Read directory entries, from the one ``cookie`` stands for (0: the first).

        Writes ``layout.dirent``s, each with its name, one behind the other at buf; the last is cut
        off where the buffer ends. u32 bytes at bufused: less than buf_len at the end of the
        directory. NOTDIR: fd is a file.
        """
        directory = self._descriptors.get(fd)
        if not isinstance(directory, Directory):
            raise os_error(errno.ENOTDIR)
        self._descriptors.get(fd, r.FD_READDIR)
        entries = directory.entries(cookie)
        out = bytearray()
        for i in range(cookie, len(entries)):
            name, inode, mode = entries[i]
            out += layout.dirent(i + 1, inode, name, mode)
            if len(out) >= buf_len:
                break
        used = min(len(out), buf_len)
        call.memory.write(buf, out[:used])
        call.memory.set_u32(bufused, used)
