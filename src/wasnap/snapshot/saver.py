"""A snapshot's way into the journal, most of it while the guest runs.

Two threads take turns with it, the process's supervisor and the saver's own::

    supervisor                           the saver's thread
    prepare, the guest running  ------>  decode the program, which is to go on from a new place,
                                         and compile where it is likely to go on
                                         look what was written to; is it much, write it, and
                                         look again: until the rest is little, or does not get less
    ready: stop the guest       <------
    capture, the guest stopped:
      frames, tables, host
      look once more
      copy what is owed aside   ------>  compare with the journal, sum up, write, block by block
    let the guest go on                  records; sync files' history and journal; COMMIT; sync
    done: tell who asked        <------

So the guest stands still for what it wrote since the last look, at the speed of memory, unless that
is more than the staging area holds: then for what is more, at the speed of the disk. How much is
written before the stop does not matter for what the snapshot is: pages that were written to
afterwards are written again, in the same place (journal/pages.py).

A snapshot after which the guest does not go on before it is committed (``save``) needs no second
thread and no copy: the supervisor writes it from the guest's memory.

There is one snapshot at a time. Whoever wants the next one waits, or goes without.

If anything fails, on either side, the journal is as it was, and all pages that were taken are owed
again (sources.py).
"""

from __future__ import annotations

import contextlib
import enum
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from wasnap.errors import JournalError
from wasnap.journal import PAGE_SIZE, Journal, SnapshotWriter
from wasnap.snapshot.records import Captured, capture, records
from wasnap.snapshot.sources import PageSource
from wasnap.snapshot.staging import Staging
from wasnap.snapshot.world import World

log = logging.getLogger(__name__)

FEW_PAGES: Final = (16 << 20) // PAGE_SIZE
"""So many are copied in a few milliseconds: not worth writing them before the guest is stopped."""

ROUNDS_MAX: Final = 8
WORTH: Final = 0.7
"""A further round must leave at most this share of the pages, or the guest writes too quickly."""

_STEP_PAGES = 2048
_ABANDONED_SECONDS = 1.0
_HEAD_START_SECONDS = 0.005
"""For the guest to get going, before the saver's thread competes with it for the interpreter."""


class Phase(enum.Enum):
    """What the saver is at, as far as the supervisor has been told."""

    IDLE = "idle"
    PREPARING = "preparing"
    READY = "ready"
    COMMITTING = "committing"


class Outcome(NamedTuple):
    """A snapshot's id, or why there is none."""

    snapshot: int | None
    error: Exception | None


_Report: TypeAlias = Outcome | Phase
"""What the saver's thread tells: READY, or what has come of a snapshot."""


class Abandoned(Exception):
    """Nobody wants the snapshot any more."""


class _Copying(msgspec.Struct):
    """A snapshot that is copied aside; ``void``: that came to nothing.

    ``fits``: in the staging area, so that nobody waits for it to be written.
    """

    trigger: str
    label: str
    captured: Captured
    fits: bool
    void: bool = False


class Saver:
    """Takes the snapshots of one process. All methods are for the supervisor.

    ``wake``: called, on the saver's thread, when there is something to ``poll``.
    """

    def __init__(
        self,
        world: World,
        journal: Journal,
        parent: int | None,
        wake: Callable[[], None],
        staging: Staging | None = None,
    ) -> None:
        self.phase = Phase.IDLE
        self._world = world
        self._journal = journal
        self._parent = parent
        self._wake = wake
        self._staging = staging or Staging()
        self._writer: SnapshotWriter | None = None
        self._hurry = False
        self._abandoned = False
        self._orders: queue.SimpleQueue[Callable[[], _Report] | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[_Report | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def prepare(self, trigger: str, label: str, *, goes_on: bool = True) -> None:
        """Begin a snapshot while the guest runs. It is READY in the end, or there is an outcome.

        ``goes_on``: the guest does afterwards.
        """
        assert self.phase is Phase.IDLE
        self.phase = Phase.PREPARING
        self._hurry = False
        self._order(lambda: self._prepare(trigger, label, goes_on))

    def capture(self, trigger: str, label: str) -> None:
        """Copy aside what makes the snapshot, prepared or not; the guest is stopped.

        When it returns the guest may go on, and an outcome follows. Raises Unsaveable, or whatever
        else kept the snapshot from being prepared or copied; then there is none.
        """
        captured = self._capture()
        owed = sum(source.owed for source in self._world.sources)
        copying = _Copying(trigger, label, captured, owed <= self._staging.pages_max)
        self.phase = Phase.COMMITTING
        self._order(lambda: self._commit(copying))
        try:
            self._staging.copy(self._world.sources)
        except BaseException as error:
            copying.void = True
            self._staging.finish()
            if isinstance(error, Exception):
                self.wait()
            raise
        self._staging.finish()

    def save(self, trigger: str, label: str) -> int:
        """Take the snapshot, prepared or not, and commit it; the guest is stopped. Its id.

        Raises why there is none: Unsaveable, JournalError (JournalWriteFailed), OSError.
        """
        captured = self._capture()
        self._hurry = False
        try:
            writer = self._begin(trigger, label)
            for source in self._world.sources:
                self._write(writer, source)
            return self._finish(writer, captured)
        except BaseException:
            self._take_back()
            raise
        finally:
            self.phase = Phase.IDLE

    def poll(self) -> Outcome | None:
        """Hear of what happened on the other thread; the outcome, if there is one."""
        while not self._reports.empty():
            report = self._reports.get()
            if report is not None:
                return self._heard(report)
        return None

    def wait(self) -> Outcome:
        """Wait for the outcome of what was captured."""
        assert self.phase is Phase.COMMITTING
        outcome = self._heard(self._report())
        assert outcome is not None
        return outcome

    def nudge(self) -> None:
        """From any thread: have a supervisor that waits look up, to run a signal's handler."""
        self._reports.put(None)

    def cancel(self) -> None:
        """Take back what was prepared and not captured."""
        self._settle()
        if self.phase is Phase.READY:
            self._take_back()
            self.phase = Phase.IDLE

    def close(self, *, abandon: bool = False) -> bool:
        """End the thread, if nothing is being committed. ``abandon``: take back what is, at once.

        False if the thread does not end, because the disk keeps it: then what it uses must stay.
        """
        if self._thread is None:
            return True
        if abandon:
            self._abandoned = self._hurry = True
            self._staging.finish()  # whoever copied may have been interrupted
        else:
            self.cancel()
        self._orders.put(None)
        self._thread.join(_ABANDONED_SECONDS if abandon else None)
        return not self._thread.is_alive()

    def _settle(self) -> Outcome | None:
        """End what is done while the guest runs; the outcome if that failed."""
        if self.phase is not Phase.PREPARING:
            return None
        self._hurry = True
        return self._heard(self._report())

    def _report(self) -> _Report:
        while (report := self._reports.get()) is None:
            pass
        return report

    def _heard(self, report: _Report) -> Outcome | None:
        if isinstance(report, Phase):
            self.phase = report
            return None
        self.phase = Phase.IDLE
        return report

    def _capture(self) -> Captured:
        """All but the pages; and what pages are owed. Nothing happens on the other thread now."""
        outcome = self._settle()
        if outcome is not None:
            assert outcome.error is not None
            raise outcome.error
        try:
            captured = capture(self._world)
            for source in self._world.sources:
                source.look(running=False)
        except BaseException:
            self.cancel()
            raise
        return captured

    def _order(self, what: Callable[[], _Report]) -> None:
        self._orders.put(what)
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="saver", daemon=True)
            thread.start()  # EndNow may come in here: then nobody knows it, and it has no orders
            self._thread = thread

    # -- on the saver's thread ---------------------------------------------------------------

    def _serve(self) -> None:
        while (what := self._orders.get()) is not None:
            self._reports.put(what())
            self._wake()
        self._take_back()

    def _prepare(self, trigger: str, label: str, goes_on: bool) -> _Report:
        """Write while the guest runs, until little is left to write."""
        try:
            if goes_on:
                self._world.get_ready(lambda: not self._hurry)
            owed = self._look()
            for _ in range(ROUNDS_MAX):
                if owed <= FEW_PAGES or self._hurry:
                    break
                writer = self._begin(trigger, label)
                for source in self._world.steady:
                    self._write(writer, source)
                before, owed = owed, self._look()
                log.debug("%d pages written while the guest ran, %d are left", before, owed)
                if owed > WORTH * before:
                    break
            self._staging.prepare(owed)
        except Exception as error:
            self._take_back()
            return Outcome(None, error)
        return Phase.READY

    def _commit(self, copying: _Copying) -> Outcome:
        """Write what was copied, and commit it."""
        error: Exception | None = None
        if copying.fits:
            time.sleep(_HEAD_START_SECONDS)
        for block in self._staging.copied():  # all of them, whatever happens
            try:
                if error is None and not self._abandoned:
                    assert block.source is not None
                    writer = self._begin(copying.trigger, copying.label)
                    _changed(writer, block.source, block.pages())
            except Exception as caught:
                error = caught
        try:
            if error is not None:
                raise error
            if copying.void or self._abandoned:
                raise Abandoned
            writer = self._begin(copying.trigger, copying.label)
            return Outcome(self._finish(writer, copying.captured), None)
        except Exception as caught:
            self._take_back()
            return Outcome(None, caught)

    # -- on either ---------------------------------------------------------------------------

    def _look(self) -> int:
        return sum(source.look(running=True) for source in self._world.steady)

    def _write(self, writer: SnapshotWriter, source: PageSource) -> None:
        """Write what is owed straight from the guest's memory, which may change meanwhile."""
        while not self._hurry and (runs := source.take(_STEP_PAGES)):
            window = source.window
            pages = ((first, window[first * PAGE_SIZE : end * PAGE_SIZE]) for first, end in runs)
            _changed(writer, source, pages)

    def _begin(self, trigger: str, label: str) -> SnapshotWriter:
        if self._writer is None:
            self._writer = self._journal.begin(self._parent, trigger, label=label)
        return self._writer

    def _finish(self, writer: SnapshotWriter, captured: Captured) -> int:
        """All that a snapshot has besides its pages."""
        for source in self._world.sources:
            _changed(writer, source, ())  # tells its size
        for record in records(self._world, captured):
            writer.record(record)
        self._world.host.settle_files()
        if self._abandoned:
            raise Abandoned
        snapshot = writer.commit()
        self._writer = None
        self._parent = snapshot
        for source in self._world.sources:
            source.saved()
        return snapshot

    def _take_back(self) -> None:
        """Whatever was written of a snapshot is void, and its pages are owed again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(JournalError):  # the next one tries again
                writer.abort()
        for source in self._world.sources:
            source.not_saved()


def _changed(
    writer: SnapshotWriter, source: PageSource, pages: Iterable[tuple[int, memoryview]]
) -> None:
    writer.changed(source.index, source.pages_total, pages, is64=source.is64, shared=source.shared)
