"""Occasions: what the guest is about to do, and whether somebody wants a snapshot before it.

A host function announces itself (``call.about_to(STDIN)``) before it does anything. If a trigger
watches for that, and wishes, ``Stop`` is raised: the call is recorded as not begun, the snapshot
taken, and the call done when the process continues, here or after a resume. Then it does not ask
again: a call that is being completed announces nothing but that it idles.

``been`` is saved: the first time of something is the first time in the life of the process, however
often it is resumed, counted from when somebody first watched for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .protocol import IDLE, Call, Stop

log = logging.getLogger(__name__)

Wish: TypeAlias = Callable[[], bool]
"""Whether it has asked for a snapshot, which is then taken first."""


class _Watch(NamedTuple):
    wish: Wish
    once: bool


class Occasions:
    """A ``protocol.Audience``; one for a process. ``idle_ns``: see there."""

    def __init__(self) -> None:
        self.idle_ns: int | None = None
        self.been: set[str] = set()
        self._watches: dict[str, _Watch] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()  # guest threads ask at the same time

    def watch(self, occasion: str, wish: Wish, *, once: bool = False) -> None:
        """Ask ``wish`` when the guest is about to do this, each time or once. Before it runs."""
        self._watches[occasion] = _Watch(wish, once)

    def awaited(self, occasion: str) -> bool:
        """Whether anybody will be asked when it comes."""
        watch = self._watches.get(occasion)
        return watch is not None and not (watch.once and occasion in self.been)

    def hear(self, call: Call, occasions: tuple[str, ...]) -> None:
        """See ``protocol.Audience``. One snapshot for all of them, by the first that wishes."""
        if not self._watches:
            return
        stop = False
        with self._lock:
            for occasion in occasions:
                if not self.awaited(occasion):
                    continue
                wish, once = self._watches[occasion]
                again = call.progress is not None and occasion != IDLE  # begun before the snapshot
                if not again and not call.may_stop():
                    self._tell(occasion)
                    continue
                if once:
                    self.been.add(occasion)
                stop = stop or (not again and wish())
        if stop:
            raise Stop

    def _tell(self, occasion: str) -> None:
        if occasion not in self._told:
            self._told.add(occasion)
            log.warning("no snapshot (%s): a value that cannot be saved is alive", occasion)
