"""path_*: what is done with a name beneath an open directory.

Every function fails with BADF if a descriptor is not open, NOTDIR if it is not a directory,
NOTCAPABLE if a right it needs was given up, FAULT if a pointer leaves the memory, PERM if the path
is absolute or leads out of the directory, INVAL if there is a NUL in it, NOENT if it is empty, ROFS
if it changes a read-only mapping, and with what the operating system says; the comments name what
is particular. Paths are bytes (a file's name need not be UTF-8).

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import errno
from typing import Any

from .. import rights as r
from ..beneath import os_error
from ..descriptors import NotCapable
from ..mapped import Directory, Want
from ..protocol import Call
from ..world import Host
from . import layout, spec
from .abi import I32, I64, Ptr, SizeAt, read_path
from .errno import invalid
from .times import times

_FOLLOW = spec.LOOKUPFLAGS_SYMLINK_FOLLOW
_OFLAGS = spec.OFLAGS_CREAT | spec.OFLAGS_DIRECTORY | spec.OFLAGS_EXCL | spec.OFLAGS_TRUNC
_FDFLAGS = r.APPEND | r.DSYNC | r.NONBLOCK | r.RSYNC | r.SYNC


class Path:
    """Names."""

    _filestat = staticmethod(layout.filestat)

    def __init__(self, host: Host) -> None:
        self._host = host
        self._descriptors = host.descriptors

    def _directory(self, fd: int, right: int) -> Any:
        """What is open there: a ``Directory``, or, in WASIX, what has its methods."""
        directory = self._descriptors.get(fd)
        if not isinstance(directory, Directory):
            raise os_error(errno.ENOTDIR)
        if right & ~directory.rights:
            raise NotCapable
        return directory

    @staticmethod
    def _follows(lookupflags: int) -> bool:
        if lookupflags & ~_FOLLOW:
            raise invalid("lookupflags")
        return bool(lookupflags)

    def path_open(
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
        opened_fd: Ptr,
    ) -> None:
        """Open a file or directory; u32 descriptor at opened_fd. Like openat.

        dirflags: bit 0 follows a final symbolic link (else LOOP). oflags: CREAT, DIRECTORY (else
        NOTDIR), EXCL (else EXIST), TRUNC. The rights to read and write decide what it is opened
        for. INVAL: unknown flags, or CREAT with DIRECTORY. NOTCAPABLE: the directory's inheriting
        rights allow no writing, but CREAT or TRUNC is asked.
        """
        directory = self._directory(fd, r.PATH_OPEN)
        if oflags & ~_OFLAGS or fdflags & ~_FDFLAGS:
            raise invalid("flags")
        create = bool(oflags & spec.OFLAGS_CREAT)
        truncate = bool(oflags & spec.OFLAGS_TRUNC)
        must_be_directory = bool(oflags & spec.OFLAGS_DIRECTORY)
        if must_be_directory and (create or truncate):
            raise invalid("CREAT or TRUNC with DIRECTORY")
        if create and not directory.rights & r.PATH_CREATE_FILE:
            raise NotCapable
        if truncate and not directory.rights & r.PATH_FILESTAT_SET_SIZE:
            raise NotCapable
        if fs_rights_base & r.TRANSFER & ~directory.inheriting:
            raise NotCapable
        name = read_path(call.memory, path, path_len)
        call.memory.u32(opened_fd)  # a bad pointer must not leave an open file behind
        want = Want(
            follow=self._follows(dirflags),
            create=create,
            directory=must_be_directory,
            exclusive=bool(oflags & spec.OFLAGS_EXCL),
            truncate=truncate,
            readable=bool(fs_rights_base & r.FD_READ),
            writable=bool(fs_rights_base & r.FD_WRITE),
            fdflags=fdflags,
        )
        call.memory.set_u32(opened_fd, self._descriptors.add(directory.open(name, want)))

    def path_filestat_get(
        self, call: Call, fd: I32, flags: I32, path: Ptr, path_len: Ptr, buf: Ptr
    ) -> None:
        """Attributes. Like fstatat; flags bit 0 follows a final symbolic link.

        ``layout.filestat`` (64 bytes; wasi_unstable 56) at buf.
        """
        directory = self._directory(fd, r.PATH_FILESTAT_GET)
        name = read_path(call.memory, path, path_len)
        status = directory.stat_at(name, follow=self._follows(flags))
        call.memory.write(buf, self._filestat(status))

    def path_filestat_set_times(
        self,
        call: Call,
        fd: I32,
        flags: I32,
        path: Ptr,
        path_len: Ptr,
        atim: I64,
        mtim: I64,
        fst_flags: I32,
    ) -> None:
        """Set time stamps (ns). Like utimensat. INVAL: a value and "now" at once."""
        directory = self._directory(fd, r.PATH_FILESTAT_SET_TIMES)
        name = read_path(call.memory, path, path_len)
        access, modification = times(self._host.clock, atim, mtim, fst_flags)
        directory.set_times_at(name, access, modification, follow=self._follows(flags))

    def path_create_directory(self, call: Call, fd: I32, path: Ptr, path_len: Ptr) -> None:
        """Create a directory. Like mkdirat. EXIST."""
        directory = self._directory(fd, r.PATH_CREATE_DIRECTORY)
        directory.make_directory(read_path(call.memory, path, path_len))

    def path_remove_directory(self, call: Call, fd: I32, path: Ptr, path_len: Ptr) -> None:
        """Remove an empty directory. Like unlinkat(AT_REMOVEDIR). NOTEMPTY, NOTDIR."""
        directory = self._directory(fd, r.PATH_REMOVE_DIRECTORY)
        directory.remove_directory(read_path(call.memory, path, path_len))

    def path_unlink_file(self, call: Call, fd: I32, path: Ptr, path_len: Ptr) -> None:
        """Remove a name of what is not a directory. Like unlinkat. ISDIR, NOTDIR (a slash)."""
        directory = self._directory(fd, r.PATH_UNLINK_FILE)
        directory.unlink(read_path(call.memory, path, path_len))

    def path_rename(
        self,
        call: Call,
        fd: I32,
        old_path: Ptr,
        old_path_len: Ptr,
        new_fd: I32,
        new_path: Ptr,
        new_path_len: Ptr,
    ) -> None:
        """Give another name, replacing what had it. Like renameat. XDEV, NOTEMPTY, ISDIR."""
        source = self._directory(fd, r.PATH_RENAME_SOURCE)
        target = self._directory(new_fd, r.PATH_RENAME_TARGET)
        old = read_path(call.memory, old_path, old_path_len)
        source.rename(old, target, read_path(call.memory, new_path, new_path_len))

    def path_link(
        self,
        call: Call,
        old_fd: I32,
        old_flags: I32,
        old_path: Ptr,
        old_path_len: Ptr,
        new_fd: I32,
        new_path: Ptr,
        new_path_len: Ptr,
    ) -> None:
        """Give a second name. Like linkat. EXIST, PERM (a directory), XDEV.

        INVAL: following a symbolic link is asked for, which no widely used runtime does.
        """
        source = self._directory(old_fd, r.PATH_LINK_SOURCE)
        target = self._directory(new_fd, r.PATH_LINK_TARGET)
        if self._follows(old_flags):
            raise invalid("SYMLINK_FOLLOW")
        old = read_path(call.memory, old_path, old_path_len)
        source.link(old, target, read_path(call.memory, new_path, new_path_len))

    def path_symlink(
        self,
        call: Call,
        old_path: Ptr,
        old_path_len: Ptr,
        fd: I32,
        new_path: Ptr,
        new_path_len: Ptr,
    ) -> None:
        """Create a symbolic link to old_path. Like symlinkat. EXIST; PERM: old_path is absolute."""
        directory = self._directory(fd, r.PATH_SYMLINK)
        target = read_path(call.memory, old_path, old_path_len)
        directory.symlink(target, read_path(call.memory, new_path, new_path_len))

    def path_readlink(
        self,
        call: Call,
        fd: I32,
        path: Ptr,
        path_len: Ptr,
        buf: Ptr,
        buf_len: Ptr,
        bufused: SizeAt,
    ) -> None:
        """The target of a symbolic link, cut off at buf_len bytes, without NUL, at buf.

        Like readlinkat. u32 bytes at bufused. INVAL: not a link; PERM: its target is absolute.
        """
        directory = self._directory(fd, r.PATH_READLINK)
        target = directory.read_link(read_path(call.memory, path, path_len))[:buf_len]
        call.memory.write(buf, target)
        call.memory.set_u32(bufused, len(target))
