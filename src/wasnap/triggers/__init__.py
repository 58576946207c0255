"""Triggers decide when a snapshot is taken, and what follows it; never how.

A trigger is armed with a function that takes a ``Request`` and returns at once: it lies on the
process's ``Desk`` until the guest's next stop, is served then, and tells whoever waits for it.

    timer      every so many seconds                      timer.py
    sigint     Ctrl-C: snapshot, then stop with 130       signals.py
    sigterm    snapshot, then stop with 143               signals.py
    explicit   ``Process.snapshot``, from another thread  request.py
    safepoint  at chosen safepoints of a counted program: the harness's
"""

from __future__ import annotations

from collections.abc import Iterable

from wasnap.errors import UsageError
from wasnap.triggers.desk import Desk
from wasnap.triggers.request import Request, Submit, Trigger
from wasnap.triggers.signals import EndNow, Signal
from wasnap.triggers.timer import Timer

NAMES = ("timer", "sigint", "sigterm", "explicit")
DEFAULTS = ("timer", "sigint", "sigterm")
"""What a process with a journal has if the user names none."""

TIMER_SECONDS = 10.0

__all__ = [
    "DEFAULTS",
    "NAMES",
    "TIMER_SECONDS",
    "Desk",
    "EndNow",
    "Request",
    "Signal",
    "Submit",
    "Timer",
    "Trigger",
    "make",
]


def make(names: Iterable[str], timer_seconds: float | None = None) -> list[Trigger]:
    """The triggers of these names; one that sets a timer's interval wants the timer, too.

    Raises UsageError for a name that is not one, or an interval that is not above 0.
    """
    wanted = list(dict.fromkeys(names))
    if timer_seconds is not None:
        if not timer_seconds > 0:
            raise UsageError("the snapshot timer needs a number of seconds above 0")
        if "timer" not in wanted:
            wanted.append("timer")
    triggers: list[Trigger] = []
    for name in wanted:
        if name == "timer":
            triggers.append(Timer(TIMER_SECONDS if timer_seconds is None else timer_seconds))
        elif name in ("sigint", "sigterm"):
            triggers.append(Signal(name))
        elif name != "explicit":  # that one needs no arming
            raise UsageError(f"there is no trigger {name!r}", f"there are {', '.join(NAMES)}")
    return triggers
