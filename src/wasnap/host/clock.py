"""The guest's clocks, in nanoseconds.

The monotonic clock is this machine's plus an offset chosen at a resume, so that the guest sees no
jump over the time it was not running, and sleeps go on with what was left of them. The CPU clocks
go on likewise. The realtime clock tells the truth.

``FakeClock`` advances by a fixed step with each reading and jumps over waits, so that a run under
the harness repeats exactly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from .protocol import CLOCK_AHEAD_NS_MAX, Call

Ready: TypeAlias = tuple[list[int], list[int]]


class SystemClockState(msgspec.Struct, frozen=True, tag="system"):
    """The guest's clocks at the snapshot."""

    monotonic_ns: int
    cpu_ns: int


class FakeClockState(msgspec.Struct, frozen=True, tag="fake"):
    """The moment at the snapshot, since ``epoch_ns`` of the realtime clock."""

    now_ns: int
    step_ns: int
    epoch_ns: int


ClockState: TypeAlias = SystemClockState | FakeClockState


class Clock(Protocol):
    """What the host functions need of time. All in ns."""

    def realtime(self) -> int:
        """Since 1970-01-01T00:00:00Z."""

    def monotonic(self) -> int:
        """Since any moment; never goes back, nor on while the guest is not there."""

    def cpu(self) -> int:
        """CPU time of the process."""

    def thread_cpu(self) -> int:
        """CPU time of the thread."""

    def resolution(self) -> int:
        """Of all of them."""

    def offset(self) -> int | None:
        """How far ``monotonic`` is ahead of this machine's clock; None: it is not this machine's,
        nor is the realtime clock."""

    def wait(
        self, call: Call, reads: Sequence[int], writes: Sequence[int], timeout_ns: int | None
    ) -> Ready:
        """``Call.wait`` in this clock's time."""

    def park(self, call: Call, done: Callable[[], bool], timeout_ns: int | None) -> None:
        """``Call.park`` in this clock's time."""

    def capture(self) -> ClockState: ...


class SystemClock:
    """This machine's clocks."""

    def __init__(self) -> None:
        self._offset = 0
        self._cpu_offset = 0
        self._thread_cpu_offset = 0

    def realtime(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns() + self._offset

    def cpu(self) -> int:
        return time.process_time_ns() + self._cpu_offset

    def thread_cpu(self) -> int:
        return time.thread_time_ns() + self._thread_cpu_offset

    def resolution(self) -> int:
        return max(1, round(time.get_clock_info("monotonic").resolution * 1e9))

    def offset(self) -> int:
        return self._offset

    def wait(
        self, call: Call, reads: Sequence[int], writes: Sequence[int], timeout_ns: int | None
    ) -> Ready:
        return call.wait(reads, writes, timeout_ns)

    def park(self, call: Call, done: Callable[[], bool], timeout_ns: int | None) -> None:
        call.park(done, timeout_ns)

    def capture(self) -> SystemClockState:
        """The guest may have been told a time that is ahead of ours: see ``protocol.Shortcut``."""
        monotonic_ns = self.monotonic() + CLOCK_AHEAD_NS_MAX
        return SystemClockState(monotonic_ns=monotonic_ns, cpu_ns=self.cpu())

    @classmethod
    def restore(cls, state: SystemClockState) -> SystemClock:
        """Clocks that go on from ``state``."""
        clock = cls()
        clock._offset = state.monotonic_ns - time.monotonic_ns()
        clock._cpu_offset = state.cpu_ns - time.process_time_ns()
        clock._thread_cpu_offset = state.cpu_ns  # the guest's threads are new: theirs are near 0
        return clock


class FakeClock:
    """Time that passes by being looked at: ``step_ns`` each reading, and the length of waits."""

    def __init__(
        self, step_ns: int = 1_000_000, epoch_ns: int = 1_700_000_000_000_000_000, now_ns: int = 0
    ) -> None:
        self._now = now_ns
        self._step = step_ns
        self._epoch = epoch_ns
        self._lock = threading.Lock()

    def realtime(self) -> int:
        return self._epoch + self.monotonic()

    def monotonic(self) -> int:
        return self._pass(self._step)

    cpu = monotonic
    thread_cpu = monotonic

    def resolution(self) -> int:
        return self._step

    def offset(self) -> None:
        return None

    def wait(
        self, call: Call, reads: Sequence[int], writes: Sequence[int], timeout_ns: int | None
    ) -> Ready:
        """A wait for time alone takes none: it only lets a stop through."""
        alone = not reads and not writes
        ready = call.wait(reads, writes, 0 if alone and timeout_ns is not None else timeout_ns)
        if timeout_ns is not None and not any(ready):
            self._pass(timeout_ns)
        return ready

    def park(self, call: Call, done: Callable[[], bool], timeout_ns: int | None) -> None:
        """Other threads need real time to come."""
        if not call.park(done, timeout_ns) and timeout_ns is not None:
            self._pass(timeout_ns)

    def _pass(self, nanoseconds: int) -> int:
        with self._lock:
            self._now += nanoseconds
            return self._now

    def capture(self) -> FakeClockState:
        return FakeClockState(now_ns=self._now, step_ns=self._step, epoch_ns=self._epoch)

    @classmethod
    def restore(cls, state: FakeClockState) -> FakeClock:
        """A clock that goes on from ``state``."""
        return cls(state.step_ns, state.epoch_ns, state.now_ns)


def restore(state: ClockState) -> Clock:
    """The clock that was captured as ``state``."""
    if isinstance(state, FakeClockState):
        return FakeClock.restore(state)
    return SystemClock.restore(state)
