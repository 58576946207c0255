"""Files that were removed or replaced, kept beside the log under the number of their entry.

A hard link where that can be had: then it is the very same file, with all that its other names, and
whoever has it open, still do to it. Else a copy, with mode and times.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator

from .entries import Identity, Times

_CHUNK = 1 << 20
_NO_RANGES = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def name(number: int) -> bytes:
    """What a kept file is called."""
    return b"%016x" % number


def identity(status: os.stat_result) -> Identity:
    """Device and inode."""
    return status.st_dev, status.st_ino


def segments(fd: int, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Parts of an open file, in order: start, end, and whether there is data and not a hole."""
    while start < end:
        try:
            data = min(end, os.lseek(fd, start, os.SEEK_DATA))
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from there on
                yield start, end, False
                return
            data = start  # this file system does not know
        if data > start:
            yield start, data, False
        if data < end:
            try:
                start = min(end, os.lseek(fd, data, os.SEEK_HOLE))
            except OSError:
                start = end
            yield data, start, True
        else:
            start = end


def copy(source: int, target: int, status: os.stat_result) -> None:
    """Content, mode and times of an open regular file into an empty one. Raises OSError."""
    ranges = hasattr(os, "copy_file_range")
    for start, end, there in segments(source, 0, status.st_size):
        while there and start < end:
            if ranges:
                try:
                    done = os.copy_file_range(source, target, end - start, start, start)
                except OSError as error:
                    if error.errno not in _NO_RANGES:
                        raise
                    ranges = False
                    continue
            else:
                data = os.pread(source, min(_CHUNK, end - start), start)
                done = os.pwrite(target, data, start) if data else 0
            if not done:
                break
            start += done
    os.ftruncate(target, status.st_size)
    with contextlib.suppress(OSError):  # only the superuser may, and only then it matters
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


class Kept:
    """The directory of kept files. Owns ``fileno``.

    ``links``: how many hard links of a file are in here.
    """

    def __init__(self, fileno: int, *, sync: bool) -> None:
        self.fileno = fileno
        self.links: Counter[Identity] = Counter()
        self._numbers: dict[Identity, list[int]] = {}
        self._sync = sync
        for entry in os.listdir(fileno):
            if re.fullmatch("[0-9a-f]{16}", entry):
                number = int(entry, 16)
                self._note(number, self.status(number))

    def _note(self, number: int, status: os.stat_result | None) -> None:
        if status is not None:
            self.links[identity(status)] += 1
            self._numbers.setdefault(identity(status), []).append(number)

    def number(self, wanted: Identity) -> int | None:
        """What a file is kept as, if it is."""
        numbers = self._numbers.get(wanted)
        return numbers[-1] if numbers else None

    def status(self, number: int) -> os.stat_result | None:
        """Of a kept file; None: there is none."""
        try:
            return os.stat(name(number), dir_fd=self.fileno, follow_symlinks=False)
        except OSError:
            return None

    def keep(self, number: int, directory: int, file: bytes, status: os.stat_result) -> bool:
        """Keep what is called ``file`` in an open ``directory``; whether that was possible."""
        if self.status(number) is not None:  # a copy, of when it was removed the first time
            return True
        try:
            os.link(
                file, name(number), src_dir_fd=directory, dst_dir_fd=self.fileno,
                follow_symlinks=False,
            )  # fmt: skip
        except OSError:
            return stat.S_ISREG(status.st_mode) and self._copy_in(number, directory, file)
        self._note(number, status)
        return True

    def _copy_in(self, number: int, directory: int, file: bytes) -> bool:
        try:
            source = os.open(file, _READ, dir_fd=directory)
        except OSError:
            return False
        try:
            self._note(number, self._copied(source, self.fileno, name(number)))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name(number), dir_fd=self.fileno)
            return False
        finally:
            os.close(source)
        return True

    def _copied(self, source: int, directory: int, file: bytes) -> os.stat_result:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(file, flags, 0o600, dir_fd=directory)
        try:
            copy(source, target, os.fstat(source))
            if self._sync:
                os.fsync(target)
            return os.fstat(target)
        finally:
            os.close(target)

    def is_link(self, number: int, wanted: Identity) -> bool:
        """Whether it is the very file, and not a copy."""
        status = self.status(number)
        return status is not None and identity(status) == wanted

    def set_times(self, number: int, times: Times) -> os.stat_result:
        """Of a kept file (access, modification: ns); its attributes then."""
        os.utime(name(number), ns=times, dir_fd=self.fileno, follow_symlinks=False)
        return os.stat(name(number), dir_fd=self.fileno, follow_symlinks=False)

    def give_back(self, number: int, directory: int, file: bytes) -> os.stat_result:
        """Make ``file`` in an open ``directory`` what was kept. Raises OSError; never replaces.

        A hard link moves there; of a copy, a copy is made, and it stays.
        """
        try:
            os.link(
                name(number), file, src_dir_fd=self.fileno, dst_dir_fd=directory,
                follow_symlinks=False,
            )  # fmt: skip
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise
            source = os.open(name(number), _READ, dir_fd=self.fileno)
            try:
                return self._copied(source, directory, file)
            finally:
                os.close(source)
        self.drop(number)
        return os.stat(file, dir_fd=directory, follow_symlinks=False)

    def open(self, number: int, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a kept file. Raises OSError."""
        return os.open(name(number), flags | _READ, dir_fd=self.fileno)

    def drop(self, number: int) -> None:
        """It is not needed any more; fine if it is not there."""
        status = self.status(number)
        if status is None:
            return
        os.unlink(name(number), dir_fd=self.fileno)
        found = identity(status)
        self.links[found] -= 1
        self._numbers[found].remove(number)
        if not self.links[found]:
            del self.links[found], self._numbers[found]

    def sweep(self, end: int) -> None:
        """Remove what was kept for entries at ``end`` and behind it: there are none."""
        for entry in os.listdir(self.fileno):
            if re.fullmatch("[0-9a-f]{16}", entry) and int(entry, 16) >= end:
                self.drop(int(entry, 16))


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
