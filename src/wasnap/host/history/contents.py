"""Changes to the contents and times of open files.

Each is: note how to undo it, begin the file's row, the system call, settle the row. What lies behind
the size a file had at the newest point needs no saving: undoing cuts it off. The rest is saved in
blocks, once.

If a file's size afterwards is not what our change made it, somebody else was at it, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from .entries import Bytes, Hole, Lost
from .kept import segments
from .recorder import Recorder, Target, Touched

_BLOCK = 4096
_CHUNK = 1 << 20
_SPARSE = 1 << 16
"""From this size on it is worth asking where the holes are."""


class Contents:
    """The system calls that change an open file, noted."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def write(self, target: Target, views: Sequence[memoryview], offset: int | None = None) -> int:
        """writev(2), or pwritev(2) at ``offset``."""
        recorder = self._recorder
        with recorder.lock:
            touched = target.touched
            if touched is None or touched.interval != recorder.interval:
                touched = recorder.touch(target)
            now = touched.now
            if target.appends:
                start = now
            elif offset is None:
                start = os.lseek(target.fileno, 0, os.SEEK_CUR)
            else:
                start = offset
            end = start + sum(map(len, views))
            if start < touched.size:
                self._save(target, touched, start, end)
            row = touched.row
            if row is None or recorder.broken:
                return _write(target, views, offset)
            recorder.table.begin(row, max(now, end))
            expected = None
            try:
                done = _write(target, views, offset)
                expected = max(now, start + done) if done else now
            finally:
                self._settle(target, touched, row, expected)
            return done

    def truncate(self, target: Target, size: int) -> None:
        """ftruncate(2)"""
        self.change(target, lambda: os.ftruncate(target.fileno, size), lambda now: size, cut=size)

    def empty(self, target: Target) -> None:
        """O_TRUNC of a file that is open already, perhaps for reading only."""
        path = b"/proc/self/fd/%d" % target.fileno
        self.change(target, lambda: os.truncate(path, 0), lambda now: 0, cut=0)

    def allocate(self, target: Target, offset: int, length: int) -> None:
        """posix_fallocate(3)"""
        end = offset + length
        self.change(
            target,
            lambda: os.posix_fallocate(target.fileno, offset, length),
            lambda now: max(now, end),
        )

    def change(
        self,
        target: Target,
        call: Callable[[], None],
        after: Callable[[int], int] = lambda size: size,
        *,
        cut: int | None = None,
    ) -> None:
        """Any other system call: ``after`` says what the size becomes, ``cut`` from where on
        contents are lost."""
        recorder = self._recorder
        with recorder.lock:
            touched = target.touched
            if touched is None or touched.interval != recorder.interval:
                touched = recorder.touch(target)
            if cut is not None and cut < touched.size:
                self._save(target, touched, cut, touched.size)
            row = touched.row
            if row is None or recorder.broken:
                call()
                return
            goal = after(touched.now)
            recorder.table.begin(row, goal)
            expected = None
            try:
                call()
                expected = goal
            finally:
                self._settle(target, touched, row, expected)

    def _settle(self, target: Target, touched: Touched, row: int, expected: int | None) -> None:
        status = os.fstat(target.fileno)
        size = touched.now = status.st_size
        self._recorder.table.settle(row, size, status.st_mtime_ns)
        if size != expected and expected is not None:
            self._recorder.foreign(touched)

    def _save(self, target: Target, touched: Touched, start: int, end: int) -> None:
        """Note what these bytes are, as far as the file had them at the newest point."""
        end = min(end, touched.size)
        if touched.row is None or touched.spans.covers(start, end):
            return
        recorder = self._recorder
        start -= start % _BLOCK
        end = min(end + -end % _BLOCK, touched.size)
        root, path = recorder.place(target, touched)
        fd = target.fileno
        if not target.readable:
            try:
                fd = os.open(b"/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                recorder.append(Lost(root, path, f"it may not be read: {error.strerror}"))
                return
        try:
            for a, b in touched.spans.add(start, end):
                parts = segments(fd, a, b) if b - a >= _SPARSE else [(a, b, True)]
                for first, last, there in parts:
                    if not there:
                        hole = Hole(root, path, touched.identity, first, last - first)
                        recorder.append(hole)
                        continue
                    for at in range(first, last, _CHUNK):
                        data = os.pread(fd, min(_CHUNK, last - at), at)
                        recorder.append(Bytes(root, path, touched.identity, at), data)
        except OSError as error:
            recorder.fail(error)
        finally:
            if fd != target.fileno:
                os.close(fd)


def _write(target: Target, views: Sequence[memoryview], offset: int | None) -> int:
    if offset is None:
        return os.writev(target.fileno, views)
    return os.pwritev(target.fileno, views, offset)
