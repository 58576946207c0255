"""The history of files of one journal: made, opened, read, gone back in."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from wasnap.errors import CannotResume, JournalError

from .contents import Contents
from .kept import Kept
from .log import DamagedLog, Log
from .names import Names
from .plan import Plan
from .recorder import Base, HistoryState, Recorder
from .table import Table
from .undo import Undo

log = logging.getLogger("wasnap.host.history")

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NoHistory(Exception):
    """There is no history that can be used; the message says why."""


class History:
    """An open history; it belongs to the one process that writes to the journal.

    ``contents``, ``names``: the system calls that are noted. Made by ``create`` or ``open``.
    """

    def __init__(self, path: Path, bases: Sequence[Base], *, new: bool, id: bytes, sync: bool):
        fileno = os.open(path, _FLAGS)
        try:
            file = Log.create(path / "log", id) if new else Log.open(path / "log")
            try:
                table = Table(path / "table", file.id, new=new)
            except BaseException:
                file.close()
                raise
        except BaseException:
            os.close(fileno)
            raise
        self.path = path
        self._recorder = Recorder(file, table, Kept(fileno, sync=sync), bases, sync=sync)
        self.contents = Contents(self._recorder)
        self.names = Names(self._recorder)

    @classmethod
    def create(cls, path: Path, bases: Sequence[Base], *, sync: bool) -> History:
        """A new one; one that is there is removed. Raises JournalError, which says what to do."""
        new = path.with_name(f".{path.name}.new")
        old = path.with_name(f".{path.name}.old")
        try:
            for stale in (new, old):
                _remove(stale)
            new.mkdir(0o700)
            history = cls(new, bases, new=True, id=os.urandom(16), sync=sync)
            if _is_there(path):
                _must_be_history(path)
                os.rename(path, old)
            os.rename(new, path)
            _remove(old)
        except OSError as error:
            raise JournalError(
                f"{path}, where changes to files are noted, cannot be made: {error.strerror}",
                "remove what is there, or give another --journal",
            ) from error
        history.path = path
        history._recorder.begin_life([], "")
        history._recorder.last_point = history._recorder.log.end
        return history

    @classmethod
    def open(cls, path: Path, id: bytes, bases: Sequence[Base], *, sync: bool) -> History:
        """The one that is there, if it is the one called ``id``. Nothing is touched. Raises
        NoHistory."""
        try:
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                raise NoHistory(f"{path} is not a directory")
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise NoHistory(f"others own {path} or may write to it")
            history = cls(path, bases, new=False, id=id, sync=sync)
        except OSError as error:
            raise NoHistory(f"{path} cannot be read: {error.strerror}") from None
        except DamagedLog as damage:
            raise NoHistory(f"{path} cannot be used: {damage}") from None
        if history._recorder.log.id != id:
            history.close()
            raise NoHistory(f"{path} belongs to another journal")
        return history

    @staticmethod
    def move_aside(path: Path) -> None:
        """Make room for a new one, and lose nothing. Raises JournalError."""
        if not _is_there(path):
            return
        for number in range(1, 1000):
            aside = path.with_name(f"{path.name}.{number}")
            if not _is_there(aside):
                try:
                    os.rename(path, aside)
                except OSError as error:
                    raise JournalError(f"{path} cannot be moved: {error.strerror}") from error
                log.warning("%s was of no use here; it is %s now", path, aside)
                return

    # -- while the guest runs ---------------------------------------------------------------

    def number(self, base: Base) -> int:
        """A mapped directory's number in the log."""
        return self._recorder.numbers[id(base)]

    def point(self) -> HistoryState:
        """A snapshot is being taken, while all guest threads are stopped: its place."""
        return self._recorder.point()

    def settle(self) -> None:
        """Before the snapshot that ``point`` was for is committed, from any thread: returns when
        its place is on the device, if that is asked for. Raises OSError."""
        self._recorder.settle()

    def visible(self, status: os.stat_result) -> os.stat_result:
        """Attributes of a file as they would be without the hard links that are kept of it."""
        ours = self._recorder.kept.links.get((status.st_dev, status.st_ino), 0)
        if not ours:
            return status
        fields = list(status)
        fields[3] = max(0, status.st_nlink - ours)
        more = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return os.stat_result(fields, more)

    # -- going back -------------------------------------------------------------------------

    def plan(self, state: HistoryState) -> Plan:
        """What going back to a snapshot comes to. Touches nothing."""
        recorder = self._recorder
        return Plan(recorder.log, recorder.table, recorder.kept, recorder.bases, state)

    def begin(self, plan: Plan) -> None:
        """Go on noting from the end of the log, whatever it says."""
        recorder = self._recorder
        end = recorder.log.end
        if os.fstat(recorder.log.fd).st_size > end:
            recorder.log.cut(end)
        recorder.kept.sweep(end)
        recorder.table.renumber(plan.devices)
        recorder.broken = recorder.table.broken
        if recorder.broken:
            recorder.point()
        recorder.begin_life(*plan.roots)
        if recorder.log.end == plan.state.position:
            recorder.last_point = recorder.log.end

    def rewind(self, plan: Plan) -> None:
        """Do what the plan says, after ``begin``. Raises CannotResume if the system refuses; what
        was done until then is noted, and nothing is lost."""
        undo = Undo(self._recorder, plan)
        try:
            undo.run()
        except OSError as error:
            raise CannotResume(
                f"{undo.at} cannot be put back as it was: {error.strerror}",
                "make that possible and resume again: it goes on from there",
            ) from error

    def close(self) -> None:
        """Give everything back."""
        self._recorder.close()


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _must_be_history(path: Path) -> None:
    """Nothing but a history is ever removed."""
    try:
        Log.open(path / "log").close()
    except (OSError, DamagedLog):
        if not path.is_dir() or path.is_symlink() or os.listdir(path):
            raise JournalError(
                f"{path} is not a history of files: it is not replaced",
                "remove what is there, or give another --journal",
            ) from None


def _remove(path: Path) -> None:
    """Remove a history, and nothing that is not part of one."""
    if not _is_there(path):
        return
    for name in os.listdir(path):
        if re.fullmatch("log|table|[0-9a-f]{16}", name):
            os.unlink(path / name)
    with contextlib.suppress(OSError):
        os.rmdir(path)
