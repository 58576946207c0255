"""One wish for a snapshot, on its way from a trigger to the process and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeAlias


class Request:
    """``trigger``: its name in the journal. ``then``: the exit code to stop with, None to go on.

    Served exactly once: with the id of the snapshot, or with why there is none.
    """

    def __init__(self, trigger: str, *, label: str = "", then: int | None = None) -> None:
        self.trigger = trigger
        self.label = label
        self.then = then
        self._served = threading.Event()
        self._id: int | None = None
        self._error: BaseException | None = None

    def serve(self, snapshot: int) -> None:
        """The snapshot is committed."""
        self._id = snapshot
        self._served.set()

    def fail(self, error: BaseException) -> None:
        """There will be none."""
        self._error = error
        self._served.set()

    @property
    def served(self) -> bool:
        """Whether the answer is there."""
        return self._served.is_set()

    def result(self, timeout: float | None = None) -> int:
        """Wait for the id. Raises what ``fail`` was given, or TimeoutError."""
        if not self._served.wait(timeout):
            raise TimeoutError("the snapshot is not there yet")
        if self._error is not None:
            raise self._error
        assert self._id is not None
        return self._id

    def wait(self) -> None:
        """Wait for the answer, whatever it is."""
        self._served.wait()


Submit: TypeAlias = Callable[[Request], None]
"""Takes a request from any thread, or from a signal handler, and returns at once."""


class Trigger(Protocol):
    """Something that submits requests between ``arm`` and ``disarm``, both called by one thread."""

    def arm(self, submit: Submit) -> None: ...
    def disarm(self) -> None: ...
