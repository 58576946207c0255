"""Signals to this process: a snapshot, and then what the signal is for.

    sigint   snapshot, then end with 130          sigtstp  snapshot, then stop until SIGCONT
    sigterm  snapshot, then end with 143          sigstop  the same; asked for by ``ask`` alone, for
    sigalrm  snapshot, and go on                           no process hears of a real SIGSTOP

That is for a guest without handlers (``Around.handles``). One that has them gets the signal after the
snapshot, and decides.

A signal that the guest sends itself has its usual effect after the snapshot: SIGALRM ends it, too
(142). Where that is another process than the first, the effect is on that one alone. What becomes of
those that are no triggers is in ``others.py``.

Python runs signal handlers on the main thread, between two of its instructions; the process's
supervisor waits there, and the guest runs elsewhere. A handler only submits a request. SIGINT or
SIGTERM that comes again before its snapshot is there, or before it has ended the process, means
"now": the handler raises ``EndNow`` into the supervisor, and what was being written is taken back. So
does the end of ``grace``, which a SIGINT that the guest handles has not.

The system may hand a signal to any thread, and it may come just before the main thread begins to
wait: then Python notes it, and nothing wakes the main thread to run the handler. ``Ears`` do: they
are told of each signal by the C handler itself, and call a function that ends the supervisor's wait.

Outside of the main thread (``Process.run`` in a thread of a larger program) signals are not ours:
arming does nothing but watch the guest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from wasnap.host.protocol import ELSEWHERE
from wasnap.triggers.request import Around, Request, Then

NUMBERS = {
    "sigint": signal.SIGINT,
    "sigterm": signal.SIGTERM,
    "sigalrm": signal.SIGALRM,
    "sigtstp": signal.SIGTSTP,
    "sigstop": signal.SIGSTOP,
}
_ENDING = ("sigint", "sigterm")
_PAUSING = ("sigtstp", "sigstop")


class EndNow(BaseException):
    """Nobody wants to wait for the snapshot any longer: ``code`` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by signal {code - 128}")
        self.code = code


class Signal:
    """``name``: one of ``NUMBERS``. ``grace``: seconds in which SIGINT and SIGTERM end the process,
    with or without a snapshot; None: they wait for it.
    """

    def __init__(self, name: str, grace: float | None = None) -> None:
        self.name = name
        self.number = NUMBERS[name]
        self.grace = grace
        self._around: Around | None = None
        self._handles = False
        self._before: Any = None
        self._request: Request | None = None
        self._deadline: threading.Timer | None = None
        self._over = False

    def arm(self, around: Around) -> None:
        """Handle the signal, if this is the main thread; watch the guest in any case."""
        self._around = around
        self._request = None
        around.occasions.watch(self.name, self._raised)
        around.occasions.watch(self.name + ELSEWHERE, self._raised_elsewhere)
        if self.number != signal.SIGSTOP and is_main():
            self._handles = True
            self._before = signal.signal(self.number, self._handle)

    def disarm(self) -> None:
        """Leave the signal to who handled it before."""
        if self._handles:
            self._handles = False
            signal.signal(self.number, self._before)
        if self._deadline is not None:
            self._deadline.cancel()

    @property
    def armed(self) -> bool:
        """Whether ``ask`` may be called."""
        return self._around is not None

    def ask(self) -> Request:
        """Do as if the signal had come; from any thread. What waits already is not doubled."""
        assert self._around is not None, "asked of an armed trigger"
        if self._request is None or self._request.begun or self._request.served:
            self._request = Request(self.name, then=self._then(self.grace is not None))
            self._around.submit(self._request)
        return self._request

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.name not in _ENDING:
            self.ask()
            return
        handled = self._handled()
        again = self._request is not None and not (handled and self._request.served)
        if again or self._over:
            raise EndNow(128 + number)
        limited = self.grace is not None and not (handled and number == signal.SIGINT)
        if limited and self._deadline is None:
            self._deadline = threading.Timer(self.grace or 0, self._again)
            self._deadline.daemon = True
            self._deadline.start()
        if self.ask().served:  # the guest is over already: nothing to wait for
            raise EndNow(128 + number)

    def _handled(self) -> bool:
        assert self._around is not None
        return self._around.handles(self.name.upper())

    def _again(self) -> None:
        """The grace is over."""
        self._over = True
        signal.pthread_kill(threading.main_thread().ident or 0, self.number)

    def _raised(self) -> bool:
        """The guest sends the signal to itself; it is served behind those of others."""
        assert self._around is not None
        then = self._then(anyway=True)
        if then.signal:
            then = Then(wait=True)  # it has it already
        elif self.name == "sigalrm":
            then = Then(end=128 + self.number, anyway=True)
        self._around.submit(Request(self.name, then=then))
        return True

    def _raised_elsewhere(self) -> bool:
        """A guest process other than the first is sent the signal, which concerns nobody else."""
        assert self._around is not None
        self._around.submit(Request(self.name, then=Then(wait=True)))
        return True

    def _then(self, anyway: bool) -> Then:
        if self._handled():
            return Then(signal=self.name.upper())
        if self.name in _ENDING:
            return Then(end=128 + self.number, anyway=anyway)
        return Then(pause=self.name in _PAUSING, anyway=True)


@contextlib.contextmanager
def ears(heard: Callable[[], None]) -> Iterator[None]:
    """While in here, call ``heard``, on a thread of its own, after each signal that has a handler.

    Does nothing outside of the main thread.
    """
    if not is_main():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while os.read(reader, 4096):
            heard()
        os.close(reader)

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)  # ends the thread


def is_main() -> bool:
    """Whether this thread is the one on which signals are heard."""
    return threading.current_thread() is threading.main_thread()
