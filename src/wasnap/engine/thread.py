"""A guest thread: a machine on an OS thread of its own, which does what it is ordered and reports.

The OS thread is made with the first order, with a stack deep enough for the guest. Orders are given
while it stands still, and only by ``guest.py``, under its lock; asking for a stop is for any thread.
"""

from __future__ import annotations

import enum
import queue
import threading
from collections.abc import Callable

from wasnap.engine import config
from wasnap.engine.call import Wake
from wasnap.engine.machine import Machine
from wasnap.engine.state import Event, Failed

_stack_size = threading.Lock()


class Step(enum.Enum):
    """Where a guest thread stands. READY: it has not run yet."""

    READY = "ready"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


Order = Callable[[], Event]
Report = Callable[["GuestThread", Event], bool]
"""Called by the thread with what came of an order; whether there may be more of them."""


class GuestThread:
    """``machine`` and ``wake`` belong to it. ``step`` is changed under its guest's lock alone."""

    def __init__(self, machine: Machine, wake: Wake, report: Report, name: str) -> None:
        self.machine = machine
        self.step = Step.READY
        self._wake = wake
        self._report = report
        self._name = name
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._os_thread: threading.Thread | None = None

    @property
    def number(self) -> int:
        """0 for the main thread."""
        return self.machine.thread

    def ask(self) -> None:
        """Ask it to stop at its next safepoint."""
        self.machine.control.stop = True
        self._wake.set()

    def prepare(self, countdown: int) -> None:
        """Before the next order: nothing is asked for; stop at the so-manieth safepoint."""
        if countdown and self.step is Step.STOPPED and self.machine.at_loop():
            countdown += 1
        self.machine.control.stop = False
        self.machine.control.countdown = countdown
        self._wake.clear()

    def again(self) -> None:
        """Go on: it was alone in stopping. Its countdown goes on, too."""
        countdown = self.machine.control.countdown
        if countdown and self.machine.at_loop():
            countdown += 1
        self.machine.control.stop = False
        self.machine.control.countdown = countdown
        self._wake.clear()
        self.order(self.machine.go_on)

    def order(self, what: Order) -> None:
        """Have it do this. Raises RuntimeError where there can be no more threads."""
        if self._os_thread is None:
            thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            with _stack_size:  # it is the process's, and read when a thread starts
                before = threading.stack_size(config.THREAD_STACK)
                try:
                    thread.start()
                finally:
                    threading.stack_size(before)
            self._os_thread = thread
        self.step = Step.RUNNING
        self._orders.put(what)

    def _serve(self) -> None:
        """The OS thread: do what is ordered, report what came of it."""
        while (what := self._orders.get()) is not None:
            try:
                event = what()
            except BaseException as error:
                event = Failed(error)
            if not self._report(self, event):
                self.free()
                return

    def dismiss(self, timeout: float | None) -> bool:
        """There will be no more orders; False if it has not ended within ``timeout`` seconds."""
        if self._os_thread is None:
            return True
        self._orders.put(None)
        self._os_thread.join(timeout)
        return not self._os_thread.is_alive()

    def free(self) -> None:
        """Free what it has, once nobody asks it for anything any more."""
        self.machine.close()
        self._wake.close()
