"""Occasions: what the guest is about to do, and whether somebody wants a snapshot before it.

A host function announces itself (``call.about_to(STDIN)``) before it does anything. If a trigger
watches for that, and wishes, ``Stop`` is raised: the call is recorded as not begun, the snapshot
taken, and the call done when the process continues, here or after a resume. Then it does not ask
again: a call that is being completed announces nothing.

``been`` is saved: the first time of something is the first time in the life of the process, however
often it is resumed, counted from when somebody first watched for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from .protocol import LISTEN, OUTSIDE, STDIN, Call, Stop

log = logging.getLogger(__name__)

Wish: TypeAlias = Callable[[str, bool], bool]
"""``wish(occasion, first)``: whether it has asked for a snapshot, which is then taken first."""

_FIRSTS = frozenset((STDIN, LISTEN, OUTSIDE))
"""Of these it matters whether they have been."""


class Occasions:
    """A ``protocol.Audience``; one for a process. ``idle_ns``: see there."""

    def __init__(self) -> None:
        self.idle_ns: int | None = None
        self.been: set[str] = set()
        self._wishes: dict[str, Wish] = {}
        self._told: set[str] = set()

    def watch(self, occasion: str, wish: Wish) -> None:
        """Ask ``wish`` whenever the guest is about to do this. Before the guest runs."""
        self._wishes[occasion] = wish

    @property
    def watched(self) -> bool:
        """Whether anybody watches for anything."""
        return bool(self._wishes)

    def hear(self, call: Call, occasions: tuple[str, ...]) -> None:
        """See ``protocol.Audience``. One snapshot for all of them, by the first that wishes."""
        stop = False
        for occasion in occasions:
            wish = self._wishes.get(occasion)
            if wish is None:
                continue
            if call.progress is not None and occasion in _FIRSTS:
                self.been.add(occasion)  # it had begun when the snapshot was taken
            elif not call.may_stop():
                self._tell(occasion)
            else:
                first = occasion not in self.been
                if occasion in _FIRSTS:
                    self.been.add(occasion)
                stop = stop or wish(occasion, first)
        if stop:
            raise Stop

    def _tell(self, occasion: str) -> None:
        if occasion not in self._told:
            self._told.add(occasion)
            log.warning("no snapshot (%s): a value that cannot be saved is alive", occasion)
