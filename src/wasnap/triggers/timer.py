"""A snapshot every so many seconds, counted from the end of the one before.

Counting from the end keeps a process with slow snapshots running: it never does nothing else. A
guest that has only waited since its last snapshot gets no other.
"""

from __future__ import annotations

import threading

from wasnap.triggers.request import Around, Request


class Timer:
    """``seconds`` between the end of one snapshot and the request for the next."""

    def __init__(self, seconds: float) -> None:
        self.name = "timer"
        self.seconds = seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def arm(self, around: Around) -> None:
        """Begin to count."""
        self._ended.clear()
        thread = threading.Thread(
            target=self._run, args=(around,), name="snapshot timer", daemon=True
        )
        thread.start()
        self._thread = thread

    def disarm(self) -> None:
        """Count no more. Requests must have been answered, or this waits until they are."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, around: Around) -> None:
        while not self._ended.wait(self.seconds):
            if around.changed():
                request = Request("timer")
                around.submit(request)
                request.wait()
