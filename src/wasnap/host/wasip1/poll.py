"""poll_oneoff: wait for clocks and descriptors.

The moment the wait began is the call's progress, in the guest's monotonic time, which stands still
while the guest is not there: after a stop or a resume the wait goes on with what was left of it.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import contextlib
from errno import EINTR

from .. import rights as r
from ..beneath import os_error
from ..descriptors import Descriptor, NotCapable
from ..protocol import OUTSIDE, Call, Stop, Suspended
from ..world import Host
from . import errno, layout, spec
from .abi import Ptr, Size, SizeAt
from .layout import Subscription

_WAIT_NS_MAX = 24 * 3600 * 1_000_000_000
"""We look again after this: some ways of waiting take no longer timeouts."""


class Poll:
    """Waiting."""

    _subscriptions = staticmethod(layout.subscriptions)

    def __init__(self, host: Host) -> None:
        self._host = host

    def poll_oneoff(
        self, call: Call, in_: Ptr, out: Ptr, nsubscriptions: Size, nevents: SizeAt
    ) -> None:
        """Wait until at least one of the subscriptions has happened. Like poll.

        in_: nsubscriptions ``layout.subscriptions``. Writes a ``layout.event`` (32 bytes) for each
        that has happened, one behind the other at out, and their number, u32, at nevents. What is
        wrong with one subscription (BADF; INVAL, a clock) is the errno of its event.
        INTR: a signal's handler ran while it waited (WASIX).
        INVAL: there are no subscriptions, or one is of an unknown type.
        """
        if call.interrupted:
            raise os_error(EINTR)
        memory = call.memory
        if nsubscriptions == 0:
            raise errno.invalid("no subscriptions")
        wanted = list(self._subscriptions(memory, in_, nsubscriptions))
        if any(s.kind > spec.EVENTTYPE_FD_WRITE for s in wanted):
            raise errno.invalid("event type")
        memory.view(out, nsubscriptions * layout.EVENT_SIZE)
        memory.u32(nevents)
        call.about_to(*self._occasions(wanted))
        events = self._wait(call, wanted)
        call.memory.write(out, b"".join(events))
        call.memory.set_u32(nevents, len(events))

    def _occasions(self, wanted: list[Subscription]) -> tuple[str, ...]:
        """Waiting for input is reading it, as far as triggers are concerned."""
        occasions: dict[str, None] = {}
        for s in wanted:
            if s.kind == spec.EVENTTYPE_FD_READ:
                with contextlib.suppress(OSError, NotCapable):
                    occasions.update(dict.fromkeys(self._descriptor(s).reading))
        occasions.pop(OUTSIDE, None)
        return *occasions, OUTSIDE

    def _wait(self, call: Call, wanted: list[Subscription]) -> list[bytes]:
        clock = self._host.clock
        now = clock.monotonic()
        start: int = call.progress["start"] if call.progress else now
        while True:
            events: list[bytes] = []
            reads: list[int] = []
            writes: list[int] = []
            waiting: list[tuple[Subscription, Descriptor]] = []
            clocks: list[tuple[int, Subscription]] = []
            for s in wanted:
                if s.kind == spec.EVENTTYPE_CLOCK:
                    left = self._left(s, start, now)
                    if left is None:
                        events.append(layout.event(s.userdata, spec.ERRNO_INVAL, s.kind))
                    else:
                        clocks.append((left, s))
                    continue
                try:
                    descriptor = self._descriptor(s)
                except OSError as error:
                    events.append(layout.event(s.userdata, errno.of(error), s.kind))
                    continue
                except NotCapable:
                    events.append(layout.event(s.userdata, spec.ERRNO_NOTCAPABLE, s.kind))
                    continue
                held = descriptor.has_input and s.kind == spec.EVENTTYPE_FD_READ
                if held or not descriptor.waits:
                    events.append(_ready(s, descriptor))
                    continue
                waiting.append((s, descriptor))
                (reads if s.kind == spec.EVENTTYPE_FD_READ else writes).append(descriptor.fileno)
            timeout = 0 if events else min((left for left, _ in clocks), default=None)
            try:
                ready_reads, ready_writes = clock.wait(call, reads, writes, timeout)
            except Stop:
                raise Suspended({"start": start}) from None
            for s, descriptor in waiting:
                ready = ready_reads if s.kind == spec.EVENTTYPE_FD_READ else ready_writes
                if descriptor.fileno in ready:
                    events.append(_ready(s, descriptor))
            now = clock.monotonic() if clocks else now
            for _, s in clocks:
                if self._left(s, start, now) == 0:
                    events.append(layout.event(s.userdata, spec.ERRNO_SUCCESS, s.kind))
            if events:
                return events

    def _descriptor(self, s: Subscription) -> Descriptor:
        right = r.FD_READ if s.kind == spec.EVENTTYPE_FD_READ else r.FD_WRITE
        return self._host.descriptors.get(s.fd, right | r.POLL_FD_READWRITE)

    def _left(self, s: Subscription, start: int, now: int) -> int | None:
        """ns until the clock's time comes, at most; None: this clock cannot be waited for."""
        if s.clock not in (spec.CLOCKID_REALTIME, spec.CLOCKID_MONOTONIC):
            return None
        if not s.flags & spec.SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME:
            left = start + s.timeout - now
        elif s.clock == spec.CLOCKID_MONOTONIC:
            left = s.timeout - now
        else:
            left = s.timeout - self._host.clock.realtime()
        return min(max(0, left), _WAIT_NS_MAX)


def _ready(s: Subscription, descriptor: Descriptor) -> bytes:
    """The event of a descriptor that is ready. nbytes of a write is not known: 1, at least.

    A pipe or socket that is ready to be read and has nothing in it: the other end is gone.
    """
    if s.kind == spec.EVENTTYPE_FD_WRITE:
        return layout.event(s.userdata, spec.ERRNO_SUCCESS, s.kind, 1)
    nbytes = descriptor.available()
    descriptor.polled()
    hangup = nbytes == 0 and descriptor.has_peer
    flags = spec.EVENTRWFLAGS_FD_READWRITE_HANGUP if hangup else 0
    return layout.event(s.userdata, spec.ERRNO_SUCCESS, s.kind, nbytes, flags)
