"""Where requests wait until the process serves them.

Anybody may submit at any time: before the process runs, while it stands still, when it is over.
Each request is answered exactly once. A signal handler may submit while its own thread, or another,
is in here: no lock is ever held while anything else is called.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from wasnap.errors import ProcessEnded
from wasnap.triggers.request import Request


class Desk:
    """``wake`` is called after each submission: there is something to do."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.RLock()
        self._waiting: deque[Request] = deque()
        self._serving: list[Request] = []
        self._closed = False

    def submit(self, request: Request) -> None:
        """Put it on the desk; it fails with ProcessEnded if that is closed."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append(request)
        if closed:
            request.fail(_ended())
        else:
            self._wake()

    @property
    def waiting(self) -> list[Request]:
        """What is to be done, in the order it came."""
        return list(self._waiting)

    def next(self) -> Request | None:
        """The next one, taken off the desk; to be answered."""
        with self._lock:
            if not self._waiting:
                return None
            request = self._waiting.popleft()
            request.begun = True
            self._serving = [r for r in self._serving if not r.served] + [request]
        return request

    def refuse(self, request: Request, error: BaseException) -> None:
        """Fail one that waits."""
        with self._lock:
            found = request in self._waiting
            if found:
                self._waiting.remove(request)
        if found:
            request.fail(error)

    def close(self) -> None:
        """Nothing will be served any more: whoever waits is told."""
        with self._lock:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            left += [request for request in self._serving if not request.served]
        for request in left:
            request.fail(_ended())


def _ended() -> ProcessEnded:
    return ProcessEnded("the process ended")
