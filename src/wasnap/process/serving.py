"""Answers the requests on a desk, by having the saver take snapshots.

While the guest runs (``look``) the first request that waits has a snapshot prepared, and when that
is ready the guest is to be stopped; at once for a request that ends or pauses the process. Once the
guest stands still (``serve``) all that waits is served, one snapshot each. The last of them is
committed behind the guest's back, unless what follows it needs it committed.

Every request is answered once: with the id of a snapshot that is committed, or with why there is
none. Whatever fails, the program goes on; a failure is told once for each cause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from wasnap.engine import Family
from wasnap.errors import WasnapError
from wasnap.snapshot import Outcome, Phase, Saver
from wasnap.triggers import GO_ON, Desk, Request, Then

log = logging.getLogger(__name__)

_HARMLESS = (WasnapError, OSError, MemoryError)
"""What may go wrong with a snapshot. Anything else is a mistake of ours, and ends the process."""


class _Flight(msgspec.Struct):
    """A request whose snapshot is captured and not yet committed, and what was before."""

    request: Request
    activity_before: int
    began: float
    captured: float = 0.0


class Service:
    """For the supervisor of one process. ``stop_after``: a snapshot ends it, with exit code 0.

    ``wait``: the guest never goes on before a snapshot is committed. ``newest``: the snapshot that
    the process is in, its id and when it was taken (ns since 1970). ``label``: of snapshots whose
    request has none. ``on_snapshot``: called with each id while the guest stands still at it,
    ``committed``: whether or not it does.
    """

    def __init__(
        self,
        desk: Desk,
        saver: Saver,
        family: Family,
        *,
        newest: tuple[int, int] | None,
        label: str,
        stop_after: bool,
        wait: bool,
        on_snapshot: Callable[[int], None] | None,
        committed: Callable[[int], None] | None,
    ) -> None:
        self.saved_activity = 0
        """The guest's activity at the last snapshot."""
        self.newest = newest
        self.offers: list[Request] = []
        """Requests whose snapshot was taken at this stop: to be offered, then answered."""
        self.signals: list[str] = []
        """SIGINT ..., that the guest is to get when it goes on from this stop."""
        self._label = label
        self._desk = desk
        self._saver = saver
        self._family = family
        self._stop_after = stop_after
        self._on_snapshot = on_snapshot
        self._committed = committed
        self._wait = wait or stop_after or on_snapshot is not None
        self._prepared: Request | None = None
        self._flight: _Flight | None = None
        self._told: set[str] = set()

    def look(self) -> bool:
        """See what there is to do while the guest runs; whether it is to be stopped."""
        saver = self._saver
        outcome = saver.poll()
        if outcome is not None:
            self._landed(outcome)
        self._skip_timers()
        waiting = self._desk.waiting
        if any(request.then.urgent for request in waiting):
            return True
        if waiting and saver.phase is Phase.IDLE:
            first = self._prepared = waiting[0]
            goes_on = first.then.end is None and not self._stop_after
            saver.prepare(first.trigger, first.label or self._label, goes_on=goes_on)
        return bool(waiting) and saver.phase is Phase.READY

    def serve(self) -> Then:
        """Serve all that waits, the guest standing still; what is to follow."""
        end: int | None = None
        pause = False
        self.offers, self.signals = [], []
        for left in reversed(range(len(self._desk.waiting))):
            request = self._desk.next()
            assert request is not None
            then = request.then
            wait = left > 0 or then.urgent or self._wait or request.offer is not None
            taken = self._take(request, wait=wait)
            if then.signal:
                self.signals.append(then.signal)
                then = GO_ON
            if taken or then.anyway:
                pause = pause or then.pause
                if then.end is not None:
                    end = then.end
                elif taken and self._stop_after and end is None:
                    end = 0
        return Then(end, pause)

    def finish(self) -> None:
        """Wait for what is being committed. EndNow, which may come meanwhile, abandons it."""
        if self._saver.phase is Phase.COMMITTING:
            self._landed(self._saver.wait())

    def nudge(self) -> None:
        """From any thread: a signal's handler is due in the supervisor."""
        self._saver.nudge()

    def close(self, *, abandon: bool) -> bool:
        """Nothing is served any more. False if the disk keeps a snapshot; see ``Saver.close``."""
        return self._saver.close(abandon=abandon)

    def _take(self, request: Request, *, wait: bool) -> bool:
        """Capture a snapshot; False if that failed. ``wait``: until it is committed."""
        saver = self._saver
        self.finish()
        if self._prepared is not request:
            saver.cancel()
        self._prepared = None
        flight = _Flight(request, self.saved_activity, time.perf_counter())
        self.saved_activity = self._family.activity
        self._flight = flight
        label = request.label or self._label
        try:
            if wait:
                snapshot = saver.save(request.trigger, label)
                flight.captured = time.perf_counter()
                return self._landed(Outcome(snapshot, None))
            saver.capture(request.trigger, label)
        except Exception as error:
            return self._landed(Outcome(None, error))
        flight.captured = time.perf_counter()
        return True

    def _landed(self, outcome: Outcome) -> bool:
        """A snapshot has come to its end: answer who asked for it. Whether there is one."""
        flight, self._flight = self._flight, None
        error = outcome.error
        if outcome.snapshot is None:
            assert error is not None
            if flight is not None:
                self.saved_activity = flight.activity_before
                flight.request.fail(error)
            elif self._prepared is not None:
                self._desk.refuse(self._prepared, error)
                self._prepared = None
            if not isinstance(error, _HARMLESS):
                raise error
            self._tell(error, Then() if flight is None else flight.request.then)
            return False
        assert flight is not None
        self.newest = outcome.snapshot, time.time_ns()
        if self._told:
            self._told.clear()
            log.warning("snapshots can be written again")
        fields = {
            "snapshot": outcome.snapshot,
            "trigger": flight.request.trigger,
            "stopped_ms": round(1000 * (flight.captured - flight.began), 1),
            "written_ms": round(1000 * (time.perf_counter() - flight.began), 1),
        }
        log.debug(
            "snapshot %(snapshot)d (%(trigger)s): %(stopped_ms).1f ms, "
            "written in %(written_ms).1f ms",
            fields,
            extra={"fields": fields},
        )
        if self._on_snapshot is not None:
            self._on_snapshot(outcome.snapshot)
        if self._committed is not None:
            self._committed(outcome.snapshot)
        if flight.request.offer is None:
            flight.request.serve(outcome.snapshot)
        else:
            self.offers.append(flight.request)
        return True

    def _skip_timers(self) -> None:
        """The timer does not wait for a snapshot that is being written: its time comes again."""
        if self._saver.phase is Phase.IDLE:
            return
        for request in self._desk.waiting:
            if request.trigger == "timer" and request is not self._prepared:
                log.debug("no snapshot (timer): the last one is still being written")
                self._desk.refuse(request, WasnapError("the last snapshot is being written"))

    def _tell(self, error: BaseException, then: Then) -> None:
        """A snapshot failed: say so once for each cause."""
        reason = str(error)
        if reason not in self._told:
            self._told.add(reason)
            ends = then.anyway and then.end is not None
            what = "the process ends" if ends else "the program goes on"
            log.warning("no snapshot: %s; %s", reason, what)
