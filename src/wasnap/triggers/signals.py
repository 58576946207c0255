"""Signals to this process: snapshot, then stop with the exit code a shell gives for that signal.

Python runs signal handlers on the main thread, between two of its instructions; the process's
supervisor waits there, and the guest runs elsewhere, so a signal is heard at once. A handler only
submits a request. A signal that comes again before its snapshot is there means "now": the handler
raises ``EndNow`` into the supervisor, and what was being written is taken back.

Outside of the main thread (``Process.run`` in a thread of a larger program) signals are not ours:
arming does nothing.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from wasnap.triggers.request import Request, Submit

NUMBERS = {"sigint": signal.SIGINT, "sigterm": signal.SIGTERM}


class EndNow(BaseException):
    """The user does not want to wait for the snapshot: ``code`` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by signal {code - 128}")
        self.code = code


class Signal:
    """``name``: sigint or sigterm."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = NUMBERS[name]
        self._before: Any = None
        self._submit: Submit | None = None
        self._asked = False

    def arm(self, submit: Submit) -> None:
        """Handle the signal, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._submit = submit
            self._asked = False
            self._before = signal.signal(self.number, self._handle)

    def disarm(self) -> None:
        """Leave the signal to who handled it before."""
        if self._submit is not None:
            self._submit = None
            signal.signal(self.number, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = 128 + number
        if self._asked or self._submit is None:
            raise EndNow(code)
        self._asked = True
        self._submit(Request(self.name, then=code))
