"""Where requests wait until the process serves them.

Anybody may submit at any time: before the process runs, while it stands still, when it is over.
Each request is answered exactly once. A signal handler may submit while its own thread, or another,
is in here: no lock is ever held while anything else is called.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from wasnap.errors import ProcessEnded
from wasnap.triggers.request import Request


class Desk:
    """``wake`` is called after each submission: there is something to do."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.RLock()
        self._waiting: deque[Request] = deque()
        self._serving: Request | None = None
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
    def waiting(self) -> bool:
        """Whether there is something to do."""
        return bool(self._waiting)

    def take(self) -> Iterator[Request]:
        """Those that wait now, one after the other; each is to be answered before the next."""
        for _ in range(len(self._waiting)):
            with self._lock:
                self._serving = self._waiting.popleft()
                self._serving.begun = True
            yield self._serving
            self._serving = None

    def close(self) -> None:
        """Nothing will be served any more: whoever waits is told."""
        with self._lock:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            if self._serving is not None and not self._serving.served:
                left.append(self._serving)
        for request in left:
            request.fail(_ended())


def _ended() -> ProcessEnded:
    return ProcessEnded("the process ended")
