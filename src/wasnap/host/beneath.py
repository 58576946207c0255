"""Opening paths so that nothing outside a directory can be reached.

The idea: a guest path is resolved relative to an open directory, and resolution as a whole must
stay beneath it, whatever ``..``, symbolic links, or links swapped while we look, say. On Linux the
kernel does it in one system call (``openat2`` with ``RESOLVE_BENEATH``); elsewhere, and where a
container forbids that call, ``walk`` does it component by component without following anything the
kernel resolves for us.

Operations on a *name* (create, remove, rename) resolve the parent directory this way and hand the
kernel only the last component, which it never follows for these operations.

Rejected: comparing ``realpath`` with a prefix (a race between check and use).

Invariants: paths are bytes without NUL; leaving the directory, absolute paths and links to absolute
paths give EPERM, as other runtimes do. Every descriptor is close-on-exec.

Source: openat2(2), https://man7.org/linux/man-pages/man2/openat2.2.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

SYS_OPENAT2 = 437  # the same on all architectures that have it
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
LINKS_MAX = 40
"""Symbolic links followed in one resolution before ELOOP (the kernel's own number)."""

O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)
"""Only a place in the tree: enough for fstat, and to be a parent directory."""

_ATTEMPTS = 128
"""openat2 gives EAGAIN when a rename anywhere raced with a ``..``: worth another try. On a machine that
renames all the time we walk in the end."""


def storable(time_ns: int) -> int:
    """A file's time as records hold it: outside the years 1677 to 2554 it is one of their ends."""
    return min(max(time_ns, -(1 << 63)), (1 << 64) - 1)


def os_error(number: int) -> OSError:
    """An OSError with the usual text."""
    return OSError(number, os.strerror(number))


@lru_cache(maxsize=256)
def _open_how(flags: int, mode: int) -> bytes:
    """``struct open_how``: u64 flags, u64 mode, u64 resolve."""
    mode = mode if flags & os.O_CREAT else 0
    return struct.pack("QQQ", flags | os.O_CLOEXEC, mode, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)


def _bind_openat2() -> Callable[[int, bytes, int, int], int] | None:
    """``open_beneath`` by the kernel, or None where it cannot be had."""
    if not sys.platform.startswith("linux"):
        return None
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    )
    syscall.restype = ctypes.c_long
    get_errno = ctypes.get_errno

    def openat2(at: int, path: bytes, flags: int, mode: int = 0o666) -> int:
        how = _open_how(flags, mode)
        for _ in range(_ATTEMPTS):
            fd = syscall(SYS_OPENAT2, at, path, how, 24)
            if fd >= 0:
                return int(fd)
            number = get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):
                raise os_error(errno.EPERM if number == errno.EXDEV else number)
        return walk(at, path, flags, mode)

    try:
        probe = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        os.close(openat2(probe, b".", O_PATH))
    except OSError:
        return None
    finally:
        os.close(probe)
    return openat2


def walk(at: int, path: bytes, flags: int, mode: int = 0o666) -> int:
    """``open_beneath`` without the kernel's help: one component at a time, links read by us.

    Each directory on the way stays open, so ``..`` goes back to the one we came through and not to
    whatever is above it by now.
    """
    if not path:
        raise os_error(errno.ENOENT)
    if path.startswith(b"/"):
        raise os_error(errno.EPERM)
    trail = [at]
    pending = path.split(b"/")[::-1]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if len(trail) == 1:
                    raise os_error(errno.EPERM)
                os.close(trail.pop())
                continue
            last = not pending
            if flags & os.O_CREAT and not last and not any(pending):  # only slashes are left
                raise os_error(errno.EISDIR)
            try:
                target: bytes | None = os.readlink(name, dir_fd=trail[-1])
            except OSError as error:
                creates = last and flags & os.O_CREAT and error.errno == errno.ENOENT
                if error.errno != errno.EINVAL and not creates:
                    raise
                target = None
            if target is not None and not (last and flags & os.O_NOFOLLOW):
                if last and flags & os.O_CREAT and flags & os.O_EXCL:
                    raise os_error(errno.EEXIST)
                links += 1
                if links > LINKS_MAX:
                    raise os_error(errno.ELOOP)
                if target.startswith(b"/"):
                    raise os_error(errno.EPERM)
                pending.extend(target.split(b"/")[::-1])
                continue
            if last:
                return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=trail[-1])
            step = os.O_DIRECTORY | os.O_NOFOLLOW | O_PATH
            trail.append(os.open(name, step, dir_fd=trail[-1]))
        if flags & os.O_CREAT:
            raise os_error(errno.EEXIST if flags & os.O_EXCL else errno.EISDIR)
        return os.open(b".", flags & ~os.O_NOFOLLOW, dir_fd=trail[-1])
    finally:
        for fd in trail[1:]:
            os.close(fd)


open_beneath: Callable[..., int] = _bind_openat2() or walk
"""``open_beneath(at, path, flags, mode=0o666) -> descriptor``. Raises OSError."""


def is_dots(path: bytes) -> bool:
    """Whether the last component is ``.`` or ``..``: a place, not a name."""
    return path.rstrip(b"/").rpartition(b"/")[2] in (b".", b"..")


@contextmanager
def parent(at: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """The directory that holds the last component of ``path``, and that component.

    The component keeps its trailing slashes (the kernel knows what they mean). It may be ``..``:
    operations on names refuse that themselves, after we made sure that it lies beneath.
    """
    if not path:
        raise os_error(errno.ENOENT)
    if path.startswith(b"/"):
        raise os_error(errno.EPERM)
    if is_dots(path):
        os.close(open_beneath(at, path, O_PATH | os.O_DIRECTORY))
    cut = path.rstrip(b"/").rfind(b"/") + 1
    if not cut:
        yield at, path
        return
    fd = open_beneath(at, path[:cut], O_PATH | os.O_DIRECTORY)
    try:
        yield fd, path[cut:]
    finally:
        os.close(fd)


def stat_beneath(at: int, path: bytes, *, follow: bool) -> os.stat_result:
    """``fstatat`` that stays beneath."""
    if path and b"/" not in path and path not in (b".", b".."):
        status = os.stat(path, dir_fd=at, follow_symlinks=False)
        if not follow or not stat.S_ISLNK(status.st_mode):
            return status
    fd = open_beneath(at, path, O_PATH | (0 if follow else os.O_NOFOLLOW))
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)
