"""Triggers that the guest itself sets off, by what it is about to do (``host/occasions.py``).

``First``: before the guest reads its standard input, listens, or gets an answer from outside; once,
or every time that is at least ``interval`` seconds after the last snapshot of this trigger. ``Idle``:
while it waits. The snapshot is taken inside the call, which is done after it.
"""

from __future__ import annotations

import time

from wasnap.host.protocol import IDLE
from wasnap.triggers.request import Around, Request

NANOSECONDS = 1_000_000_000


class First:
    """``name``: stdin, listen or nondeterministic. ``interval``: seconds; None: once only."""

    def __init__(self, name: str, interval: float | None = None) -> None:
        self.name = name
        self.interval = interval
        self._next = 0.0

    def arm(self, around: Around) -> None:
        """Watch."""

        def wish() -> bool:
            if time.monotonic() < self._next:
                return False
            self._next = time.monotonic() + (self.interval or 0)
            around.submit(Request(self.name))
            return True

        around.occasions.watch(self.name, wish, once=self.interval is None)

    def disarm(self) -> None:
        """Nothing: the guest is over."""


class Idle:
    """``seconds``: how long a wait lasts before it counts as idleness.

    One snapshot for each wait, and none if the guest has not run since the last snapshot.
    """

    def __init__(self, seconds: float) -> None:
        self.name = IDLE
        self.seconds = seconds
        self._activity = -1

    def arm(self, around: Around) -> None:
        """Watch."""

        def wish() -> bool:
            activity = around.activity()
            if activity == self._activity or not around.changed():
                return False
            self._activity = activity  # one try each, also if it fails
            around.submit(Request(IDLE))
            return True

        around.occasions.idle_ns = round(self.seconds * NANOSECONDS)
        around.occasions.watch(IDLE, wish)

    def disarm(self) -> None:
        """Nothing: the guest is over."""
