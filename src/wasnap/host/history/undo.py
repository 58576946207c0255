"""Undoing for real: each step of a plan, as a change that is noted itself.

So a death in the midst of it is only more history, and what was undone can be had again. When all
steps are done, a Back entry says so: whoever walks the log later goes around all that. Where no
snapshot stands behind the position there is nobody who could want it, and it is cut off instead:
a process that is killed and resumed a thousand times leaves no trace of that.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

import msgspec

from wasnap.host.beneath import open_beneath

from .contents import Contents
from .entries import (
    KEPT,
    Back,
    Bytes,
    File,
    Gone,
    Hole,
    Identity,
    Made,
    Moved,
    Stamped,
    Times,
)
from .kept import identity, segments
from .names import Names
from .plan import OnFile, Plan, Step, aliases
from .recorder import Base, Recorder, Touched

_ZEROS = bytes(1 << 16)
_MARK_BYTES = 16 << 20
"""So much is done twice, at most, by whoever goes on after a death in the midst of undoing."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Open:
    """A file that is being put back; a ``Target``."""

    readable = writable = True
    appends = False

    def __init__(self, fileno: int, place: tuple[int, bytes]) -> None:
        self.fileno = fileno
        self.place = place
        self.touched: Touched | None = None

    def where(self) -> tuple[int, bytes]:
        return self.place


class Undo:
    """Does what a plan says."""

    def __init__(self, recorder: Recorder, plan: Plan) -> None:
        self._recorder = recorder
        self._contents = Contents(recorder)
        self._names = Names(recorder)
        self._plan = plan
        self._aliases: dict[Identity, Identity] = {}
        """What files are called now -> what the entries that are being undone call them."""
        self._open: _Open | None = None
        self.at = ""
        """What is being put back, in words, in case it fails."""

    def run(self) -> None:
        """All of it. Raises OSError; whatever was done is noted then, and can be gone on with."""
        plan, recorder = self._plan, self._recorder
        marked = recorder.log.end
        try:
            for step in plan.steps:
                self._undo(step)
                if recorder.log.end - marked > _MARK_BYTES and not plan.incomplete:
                    self._close()
                    self._back(step.stored.position)
                    marked = recorder.log.end
        finally:
            self._close()
        if recorder.broken:
            return
        if plan.points or plan.incomplete or self._aliases:
            self._back(plan.state.position)
        elif recorder.log.end != plan.state.position:
            recorder.log.cut(plan.state.position)
            recorder.kept.sweep(plan.state.position)
            recorder.last_point = recorder.log.end
            recorder.begin_life(plan.state.roots, plan.state.boot)
        recorder.restart()

    def _back(self, to: int) -> None:
        plan = self._plan
        entry = Back(to, list(self._aliases.items()), list(plan.differences), list(plan.elsewhere))
        self._recorder.append(entry)
        self._recorder.restart()

    def _undo(self, step: Step) -> None:
        entry = step.stored.entry
        if isinstance(entry, OnFile):
            self.at = step.roots.shown(entry.root, entry.path)
            self._put_back(step, entry)
            return
        self._close()
        match entry:
            case Made() as made:
                self._unmake(step, made)
            case Gone() as gone:
                self._make_again(step, gone)
            case Moved() as moved:
                self._move_back(step, moved)
            case Back():
                self._jump(step)

    def _jump(self, step: Step) -> None:
        others = aliases(step)
        found = {now: others.get(then, then) for now, then in self._aliases.items()}
        self._aliases = {**others, **found}

    # -- names ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _parent(self, step: Step, root: int, path: bytes) -> Iterator[tuple[Base, int, bytes]]:
        self.at = step.roots.shown(root, path)
        base = self._base(step, root)
        directory, _, name = path.rpartition(b"/")
        fd = open_beneath(base.fileno, directory or b".", _DIRECTORY)
        try:
            yield base, fd, name
        finally:
            os.close(fd)

    @staticmethod
    def _base(step: Step, root: int) -> Base:
        base = step.roots.base(root)
        assert base is not None, "the plan has no such steps"
        return base

    def _unmake(self, step: Step, made: Made) -> None:
        with self._parent(step, made.root, made.path) as (base, at, name):
            if step.phantom:
                self._note_times(base, at)
            elif stat.S_ISDIR(made.mode):
                self._names.remove_directory(base, at, name)
            else:
                self._names.unlink(base, at, name, made.kept)
            _set_times(at, made.parent)

    def _note_times(self, base: Base, directory: int) -> None:
        """A directory's times are going to be set, and no other entry says what they were."""
        place = self._names.place(base, directory)
        self._names.set_times(place, lambda: os.fstat(directory), lambda: None)

    def _make_again(self, step: Step, gone: Gone) -> None:
        with self._parent(step, gone.root, gone.path) as (base, at, name):
            if step.never:
                self._drop(step, gone, at, name)
            else:
                self._give_back(step, gone, base, at, name)
                _set_times(at, gone.parent)

    def _move_back(self, step: Step, moved: Moved) -> None:
        replaced = moved.replaced
        with self._parent(step, moved.to_root, moved.to_path) as (to_base, to_at, to_name):
            if step.never:
                if replaced is not None:
                    self._drop(step, replaced, to_at, to_name)
                return
            with self._parent(step, moved.root, moved.path) as (base, at, name):
                if step.phantom:
                    self._note_times(base, at)
                    self._note_times(to_base, to_at)
                else:
                    self._names.rename(to_base, to_at, to_name, base, at, name)
                if replaced is not None:
                    self._give_back(step, replaced, to_base, to_at, to_name)
                _set_times(at, moved.parent)
            _set_times(to_at, moved.to_parent)

    def _give_back(self, step: Step, gone: Gone, base: Base, at: int, name: bytes) -> None:
        if gone.kept:
            if self._recorder.kept.status(gone.kept) is None:  # the plan tells of that
                return
        elif not stat.S_ISDIR(gone.mode) and not stat.S_ISLNK(gone.mode):
            return  # a phantom
        then = step.roots.now(gone.identity)
        now = self._names.give_back(base, at, name, msgspec.structs.replace(gone, identity=then))
        self._aliases.pop(now, None)
        if now != then and stat.S_ISREG(gone.mode):
            self._aliases[now] = then

    def _drop(self, step: Step, gone: Gone, at: int, name: bytes) -> None:
        """What was kept of something that never went; what an older entry kept stays."""
        kept = self._recorder.kept
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
        if gone.kept == step.stored.position or kept.is_link(gone.kept, identity(status)):
            kept.drop(gone.kept)

    # -- contents ---------------------------------------------------------------------------

    def _put_back(self, step: Step, entry: OnFile) -> None:
        if isinstance(entry, Stamped):
            self._close()
            self._set_times(step, entry)
            return
        file = self._file(step, entry)
        match entry:
            case File():
                if os.fstat(file.fileno).st_size != entry.size:
                    self._contents.truncate(file, entry.size)
                with contextlib.suppress(
                    PermissionError
                ):  # somebody else's file, that we may write
                    self._contents.change(file, lambda: os.utime(file.fileno, ns=entry.times))
            case Bytes():
                data = memoryview(self._recorder.log.data(step.stored))
                self._write(file, data, entry.offset)
            case Hole():
                end = min(entry.offset + entry.length, os.fstat(file.fileno).st_size)
                for start, stop, there in segments(file.fileno, entry.offset, end):
                    for at in range(start, stop if there else start, len(_ZEROS)):
                        self._write(file, memoryview(_ZEROS)[: stop - at], at)

    def _write(self, file: _Open, data: memoryview, offset: int) -> None:
        while data:
            done = self._contents.write(file, [data], offset)
            data = data[done:]
            offset += done

    def _file(self, step: Step, entry: OnFile) -> _Open:
        """The file an entry is about; it stays open as long as its entries follow each other."""
        place = (entry.root, entry.path)
        if entry.root != KEPT:
            number = self._recorder.numbers[id(self._base(step, entry.root))]
            place = (number, entry.path)
        if self._open is not None and self._open.place == place:
            return self._open
        self._close()
        flags = os.O_RDWR | os.O_CLOEXEC
        if entry.root == KEPT:
            fileno = self._recorder.kept.open(int(entry.path, 16), os.O_RDWR)
        else:
            base = self._base(step, entry.root)
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK
            fileno = open_beneath(base.fileno, entry.path, flags)
        self._open = _Open(fileno, place)
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open.fileno)
            self._open = None

    def _set_times(self, step: Step, entry: Stamped) -> None:
        with self._parent(step, entry.root, entry.path) as (base, at, name):
            self._names.set_times(
                (self._recorder.numbers[id(base)], entry.path),
                lambda: os.stat(name or b".", dir_fd=at, follow_symlinks=False),
                lambda: os.utime(name or b".", ns=entry.times, dir_fd=at, follow_symlinks=False),
            )


def _set_times(directory: int, times: Times) -> None:
    with contextlib.suppress(PermissionError):  # somebody else's directory, that we may write to
        os.utime(directory, ns=times)
