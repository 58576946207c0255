"""Signals from outside that are no triggers: they go to the guest, or have their usual effect.

A guest that handles its signals (``Around.handles``) gets them, without a snapshot. Any other dies or
stops of them like every process, and this file is there for its terminal: a screen that the guest drew
on, or a raw mode, is taken back before.

    SIGINT, SIGTERM                       whoever handled them before: the command ends with 130, 143
    SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
    SIGALRM                               the process dies of them
    SIGTSTP                               it stands still until SIGCONT
    SIGCONT, SIGWINCH                     nothing

A signal that was ignored when the process began (nohup) stays ignored. Where the guest has neither
handlers nor a terminal nothing of this is needed, and ``arm`` is not called.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

from wasnap.triggers.request import Around
from wasnap.triggers.signals import is_main

_HEARD = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
)
_HARMLESS = (signal.SIGCONT, signal.SIGWINCH)


class Others:
    """``triggers``: names of those that are triggers, and handled there. ``wake``: called when there is
    something in ``due``; ``leave``: gives the user's terminal back, at once.

    ``due``: SIGINT ... for the guest, in the order in which they came. ``pause``: whether the process
    is to be stopped.
    """

    def __init__(
        self, triggers: Collection[str], wake: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        self.due: deque[str] = deque()
        self.pause = False
        self._triggers = triggers
        self._wake = wake
        self._leave = leave
        self._around: Around | None = None
        self._before: dict[int, Any] = {}

    def arm(self, around: Around) -> None:
        """Handle them, if this is the main thread."""
        if not is_main():
            return
        self._around = around
        for number in _HEARD:
            if number.name.lower() in self._triggers:
                continue
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN and before is not None:
                self._before[number] = before
                signal.signal(number, self._handle)

    def disarm(self) -> None:
        """Leave them to who handled them before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        assert self._around is not None
        name = signal.Signals(number).name
        before = self._before.get(number, signal.SIG_DFL)
        if self._around.handles(name):
            self.due.append(name)
            self._wake()
        elif callable(before):
            before(number, frame)
        elif number == signal.SIGTSTP:
            self.pause = True
            self._wake()
        elif number not in _HARMLESS:
            self._leave()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
