"""Journal files as places in a directory: opening, locking, and making a new one all at once.

The lock is an exclusive flock on the journal file itself, so it goes with the process. Because a
new journal is renamed into place, whoever gets the lock must look whether the path still leads to
the file it locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

from wasnap.errors import JournalError, JournalLocked, JournalWriteFailed, MissingFile
from wasnap.journal.layout import FILE_MAGIC
from wasnap.journal.storage import Storage

_WORD = FILE_MAGIC.rstrip(b"\n")


def open_file(path: Path, *, writable: bool) -> int:
    """A descriptor of the regular file at ``path``, which must be there."""
    try:
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_NONBLOCK)
    except OSError as error:
        raise _not_opened(path, error, writable=writable) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise JournalError(f"{path} is not a regular file", "name the journal file itself")
    return fd


def looks_like_journal(path: Path) -> bool:
    """Whether the file begins as journals do. MissingFile, JournalError if it cannot be read."""
    fd = open_file(path, writable=False)
    try:
        return os.pread(fd, len(_WORD), 0) == _WORD
    finally:
        os.close(fd)


def lock(fd: int, path: Path) -> None:
    """Takes the writer's lock. JournalLocked says who has it, if the system tells."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise JournalError(
                f"{path} cannot be locked: {error.strerror}", "keep it on another file system"
            ) from error
        pid = holder(fd)
        who = f"process {pid}" if pid else "another process"
        raise JournalLocked(
            f"{who} is writing to {path}", "wait until it ends, or give another --journal"
        ) from error
    if not leads_to(path, fd):
        raise JournalLocked(f"another process has just replaced {path}", "try again")


def holder(fd: int) -> int | None:
    """The process that holds a flock on the file (Linux: /proc/locks), or None if that cannot be
    said.
    """
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and device in fields and int(fields[4]) > 0:
            return int(fields[4])
    return None


def leads_to(path: Path, fd: int) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def create(
    path: Path,
    write: Callable[[Storage], None],
    make_storage: Callable[[int], Storage],
    *,
    overwrite: bool,
) -> Storage:
    """A locked new file at ``path`` with all that ``write`` wrote, synced; or an error and no new
    file.

    An existing file must be empty, unless ``overwrite``.
    """
    path = Path(os.path.realpath(path))
    fresh = not path.exists()
    guard = _open_or_make(path)
    try:
        lock(guard, path)
        if os.fstat(guard).st_size and not overwrite:
            raise JournalError(f"{path} is not empty", "resume it, or say --fresh to start anew")
        try:
            return _replace(path, write, make_storage)
        except BaseException as error:
            if fresh:
                path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise JournalWriteFailed(
                f"the journal {path} cannot be made: {error.strerror}",
                "give another one, in a directory with room where you may write",
            ) from error
    finally:
        os.close(guard)


def replace(
    path: Path, write: Callable[[Storage], None], make_storage: Callable[[int], Storage]
) -> Storage:
    """A locked new file with all that ``write`` wrote, synced, in place of the journal at ``path``:
    with its owner and mode. Whatever is raised, the journal is whole: as it was, or the new one.

    MissingFile, JournalError, JournalLocked; OSError; and what ``write`` raises.
    """
    path = Path(os.path.realpath(path))
    guard = open_file(path, writable=True)
    try:
        lock(guard, path)
        return _replace(path, write, make_storage, like=os.fstat(guard))
    finally:
        os.close(guard)


def _replace(
    path: Path,
    write: Callable[[Storage], None],
    make_storage: Callable[[int], Storage],
    like: os.stat_result | None = None,
) -> Storage:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # whoever left it there does not hold the lock any more
    storage = make_storage(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        if like is not None:
            _make_like(storage.fd, like, path)
        write(storage)
        storage.sync()
        lock(storage.fd, new)
        os.rename(new, path)
        _sync_directory(path.parent)
    except BaseException:
        storage.close()
        new.unlink(missing_ok=True)
        raise
    return storage


def _make_like(fd: int, like: os.stat_result, path: Path) -> None:
    """Whose a journal is decides which directories a resume may use, so that must not change."""
    try:
        os.fchown(fd, like.st_uid, like.st_gid)
    except PermissionError:
        raise JournalError(
            f"{path} belongs to somebody else, and would belong to you",
            "make a new file: --output",
        ) from None
    os.fchmod(fd, stat.S_IMODE(like.st_mode))


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _open_or_make(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise _not_opened(path, error, writable=True) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise JournalError(f"{path} is not a regular file", "name a file for the journal")
    return fd


def _not_opened(path: Path, error: OSError, *, writable: bool) -> JournalError | MissingFile:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return MissingFile(f"{path} is not there", "check the name of the journal")
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return JournalError(f"{path} is not a regular file", "name the journal file itself")
    if writable and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return JournalError(
            f"{path} may not be written: {error.strerror}",
            "change its permissions, or work on a copy of it",
        )
    return JournalError(f"{path} cannot be opened: {error.strerror}", "check its permissions")
