"""Triggers decide when a snapshot is taken, and what follows it; never how.

A trigger is armed with what is ``Around`` it: a function that takes a ``Request`` and returns at
once. The request lies on the process's ``Desk`` until the guest's next stop, is served then, and
tells whoever waits for it. Each trigger's exact meaning stands in docs/triggers.md.

    timer              every so many seconds                      timer.py
    idle               the guest waits                            occasions.py
    stdin, listen, nondeterministic
                       the guest is about to do it                occasions.py
    sigint, sigterm, sigalrm, sigtstp, sigstop
                       from anywhere, also from the guest         signals.py
    (signals that are no triggers                                 others.py)
    explicit           the guest, another thread, a command       needs no arming
    safepoint          at chosen safepoints of a counted program: the harness's

A trigger is named ``NAME`` or ``NAME:SETTINGS``: ``idle:SECONDS``, ``stdin:every``,
``stdin:every:SECONDS``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from wasnap.errors import UsageError
from wasnap.host.protocol import EXPLICIT, IDLE, LISTEN, OUTSIDE, STDIN
from wasnap.triggers.after import After
from wasnap.triggers.desk import Desk
from wasnap.triggers.occasions import First, Idle
from wasnap.triggers.others import Others
from wasnap.triggers.request import GO_ON, Around, Estate, Request, Submit, Then, Trigger
from wasnap.triggers.signals import NUMBERS, EndNow, Signal, ears
from wasnap.triggers.timer import Timer

_FIRSTS = (STDIN, LISTEN, OUTSIDE)
NAMES = ("timer", IDLE, *_FIRSTS, *NUMBERS, EXPLICIT)
DEFAULTS = ("timer", "sigint", "sigterm")
"""What a process with a journal has if the user names none."""

TIMER_SECONDS = 10.0
IDLE_SECONDS = 0.1
EVERY_SECONDS = 1.0

__all__ = [
    "DEFAULTS",
    "GO_ON",
    "NAMES",
    "TIMER_SECONDS",
    "After",
    "Around",
    "Desk",
    "EndNow",
    "Estate",
    "Others",
    "Request",
    "Signal",
    "Submit",
    "Then",
    "Timer",
    "Trigger",
    "ears",
    "make",
]


def make(
    names: Iterable[str], timer_seconds: float | None = None, grace: float | None = None
) -> list[Trigger]:
    """The triggers of these names; one that sets a timer's interval wants the timer, too.

    ``grace``: see ``Signal``. Raises UsageError for a name that is not one, settings that make no
    sense, or seconds that are none.
    """
    wanted: dict[str, str] = {}
    for text in names:
        name, _, settings = text.partition(":")
        if wanted.setdefault(name, settings) != settings:
            raise UsageError(f"the trigger {name} is asked for in two ways", "choose one")
    if timer_seconds is not None:
        if not 0 < timer_seconds < math.inf:
            raise UsageError("the snapshot timer needs a number of seconds above 0")
        wanted.setdefault("timer", "")
    if grace is not None and not 0 <= grace < math.inf:
        raise UsageError("the grace needs a number of seconds")
    triggers: list[Trigger] = []
    for name, settings in wanted.items():
        if name == "timer" and not settings:
            triggers.append(Timer(TIMER_SECONDS if timer_seconds is None else timer_seconds))
        elif name == IDLE:
            triggers.append(Idle(_seconds(name, settings, IDLE_SECONDS)))
        elif name in _FIRSTS:
            triggers.append(First(name, _interval(name, settings)))
        elif name in NUMBERS and not settings:
            triggers.append(Signal(name, grace))
        elif name not in NAMES:
            raise UsageError(f"there is no trigger {name!r}", f"there are {', '.join(NAMES)}")
        elif settings:
            raise UsageError(f"the trigger {name} has no settings", f"write {name}")
    return triggers


def _interval(name: str, settings: str) -> float | None:
    """``every`` or ``every:SECONDS``; None: once."""
    if not settings:
        return None
    word, _, seconds = settings.partition(":")
    if word != "every":
        raise UsageError(
            f"{name}:{settings} is no trigger",
            f"write {name}, {name}:every or {name}:every:SECONDS",
        )
    return _seconds(name, seconds, EVERY_SECONDS)


def _seconds(name: str, text: str, default: float) -> float:
    """A number of seconds, 0 or more."""
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{name}: {text} is not a number of seconds")
    return seconds
