"""Signals to the guest, from its own threads and processes and from outside, its handlers and its alarms;
and what happens where it has none.

A signal is kept for its thread until that is unwound and asks what to run (``protocol.Interrupter``):
then the guest's *callback* is called with its number, an export that its libc names and that finds
the handler. The thread that sends a signal to itself unwinds for it, so that the handler has run when
the call returns; any other is interrupted, and a call that it waits in gives EINTR or is made again.

- A signal comes once, however often it is sent before its handler begins, and not while its handler
  runs; another may interrupt that.
- If the callback is no export, all signals wait (a libc blocks them so). If none was ever named, a
  signal has its usual effect on a process without handlers; SIGKILL and SIGSTOP always have.
- Alarms, and what comes from outside (``deliver``), go to the main thread. Alarms are kept as moments
  of the guest's monotonic time.

Whether there is a handler for a signal, only the guest's libc knows; its callback is called for all.
wasix-libc says so by what it does next: where there is none, the callback itself blocks all signals,
and then prints a line and aborts, whatever the signal is. A handler is called through a table. So
when the callback blocks signals by a call that is none through a table, it is left as if it had
returned, and the signal has its usual effect: an end by its own exit code, a stop that can be
continued. (Signals that tell of a fault, SIGABRT and its like, are left to the libc.)

A child begins with the callback and nothing that waits; another program in a process's place with
what waits, the alarms, and no callback. What others send goes to the main thread.

All guest processes live in ours: what stops one of them stops us.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from .clock import Clock
from .protocol import ELSEWHERE, INTERRUPTER, Call, Exit, HostFunction, Interruption, Unwind

_STOPPING = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_IGNORED = frozenset((signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH))
_UNHANDLED = frozenset(("SIGKILL", "SIGSTOP"))
SIGCHLD: Final = 17
"""WASIX's number."""
_SIGPIPE: Final = 13
BROKEN_PIPE: Final = {"broken pipe": True}
"""The progress of a call that sent SIGPIPE and has nothing left but to say so."""
_TIMER_S_MAX = 24 * 3600

# fmt: off
NAMES = (
    "NONE", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
    "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "POLL", "PWR", "SYS",
)
# fmt: on
"""WASIX's signals: the name's index is the number. From 16 on not preview1's.

Source: https://github.com/wasix-org/wasix-libc, libc-bottom-half/headers/public/wasi/api_wasix.h
"""

_FAULTS = frozenset(("ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "XCPU", "XFSZ", "SYS"))


def pause() -> None:
    """Stop this process, all its threads, until somebody continues it (SIGCONT).

    By SIGSTOP, also for SIGTSTP, which has no effect where no shell could continue the process. To
    this thread: one sent to the process is the main thread's, and any other would run on until that
    has heard of it.
    """
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def usual_effect(number: int, name: str, stop: Callable[[], None]) -> None:
    """Of a signal, by the guest's number, on the guest that calls this. Raises Exit if it ends.

    ``stop``: ``pause``, and whatever is to be done around it.
    """
    ours = getattr(signal, name)
    if ours in _STOPPING:
        stop()
    elif ours not in _IGNORED:
        raise Exit(128 + ours, number)


class Signal(msgspec.Struct, frozen=True):
    """``number``: the guest's; ``name``: SIGINT ...; ``thread``: whom it is for."""

    number: int
    name: str
    thread: int


class Alarm(msgspec.Struct, frozen=True):
    """``moment``: when it comes, ns of the guest's monotonic time; ``every``: and then again, ns;
    0: once."""

    number: int
    name: str
    moment: int
    every: int


class SignalsState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``waiting``: in the order in which they came; ``announced``: those of them for which the
    triggers were asked already."""

    callback: str | None = None
    waiting: list[Signal] = []
    announced: list[Signal] = []
    alarms: list[Alarm] = []


class Signals:
    """Those of one process. A ``protocol.Interrupter``. ``clock()``: the guest's. ``stop``: see
    ``usual_effect``.

    ``old_style``: its libc is one whose callback flushes the output, so that it must not come in the
    midst of anything, and that can wait for a child only for good: it gets no signal in loops, and
    none for the end of a child. ``elsewhere``: they are not the first process's.
    """

    def __init__(self, clock: Callable[[], Clock], stop: Callable[[], None]) -> None:
        self.old_style = False
        self.elsewhere = False
        self._clock = clock
        self._stop = stop
        self._lock = threading.Lock()
        self._callback: str | None = None
        self._waiting: list[Signal] = []
        self._announced: list[Signal] = []
        self._alarms: dict[int, Alarm] = {}
        self._interrupt: Callable[[int], bool] | None = None
        self._timer: threading.Timer | None = None

    def functions(self) -> dict[tuple[str, str], HostFunction]:
        """By (module, name)."""
        function = HostFunction(*INTERRUPTER, b"", b"", lambda _: None, interrupter=self)
        return {INTERRUPTER: function}

    # -- for the guest -----------------------------------------------------------------------

    def set_callback(self, call: Call, name: str) -> None:
        """Name the export that is called. Raises Unwind if there may be something to call it for;
        or, with progress, if that may mean that a signal has its usual effect: ``settle`` it then.
        Not to be called again."""
        with self._lock:
            self._callback = name
            threads = {waiting.thread for waiting in self._waiting}
        for thread in threads - {call.thread}:
            call.interrupt(thread)
        if call.depth and call.may_stop() and not call.exports(name):
            raise Unwind({"blocked": True})
        if call.thread in threads:
            self._unwind(call)

    def settle(self, call: Call) -> None:
        """Signals were blocked inside the callback: was it because there is no handler? The call is
        being completed. Raises Exit if its effect is an end."""
        inside = call.interruption()
        if inside is None or inside.by_table:
            return
        export, (number, *_) = inside.what
        name = NAMES[number] if number < len(NAMES) else "NONE"
        if name in _FAULTS or name == "NONE":
            return
        with self._lock:
            self._callback = export
        call.abandon()
        usual_effect(number, f"SIG{name}", self._stop)

    def handles(self, name: str) -> bool:
        """Whether the guest is to get a signal that comes from outside, SIGINT ...: any thread may
        ask."""
        return self._callback is not None and name not in _UNHANDLED

    def deliver(self, name: str) -> None:
        """Have a signal come from outside; from the supervisor. It is no occasion: whoever sends it
        has had a snapshot."""
        what = Signal(NAMES.index(name.removeprefix("SIG")), name, 0)
        with self._lock:
            for told in (self._waiting, self._announced):
                if what not in told:
                    told.append(what)
            interrupt = self._interrupt
        if interrupt is not None:
            interrupt(0)

    def send(self, call: Call, what: Signal) -> None:
        """Raises ProcessLookupError if that thread has ended; Unwind if it is the caller: not to be
        called again then."""
        if what.thread != call.thread and not call.lives(what.thread):
            raise ProcessLookupError
        with self._lock:
            if what not in self._waiting:
                self._waiting.append(what)
        if what.thread == call.thread:
            self._unwind(call)
        else:
            call.interrupt(what.thread)

    def broken_pipe(self, call: Call) -> None:
        """The caller wrote to a pipe that nobody reads. Raises Unwind, then to be called again with
        the progress ``BROKEN_PIPE``."""
        try:
            self.send(call, Signal(_SIGPIPE, "SIGPIPE", call.thread))
        except Unwind:
            raise Unwind(BROKEN_PIPE) from None

    def receive(self, number: int, name: str) -> None:
        """From outside of the process, for its main thread. Called by threads of other processes,
        or where none runs."""
        with self._lock:
            what = Signal(number, name, 0)
            if what not in self._waiting:
                self._waiting.append(what)
            interrupt = self._interrupt
        if interrupt is not None:
            interrupt(0)

    def set_alarm(self, number: int, name: str, interval_ns: int, *, repeat: bool) -> None:
        """Have a signal come after this time, once or again and again; 0: not any more."""
        with self._lock:
            self._alarms.pop(number, None)
            if interval_ns:
                moment = self._clock().monotonic() + interval_ns
                self._alarms[number] = Alarm(number, name, moment, interval_ns if repeat else 0)
            self._arm()

    def _unwind(self, call: Call) -> None:
        if call.may_stop():
            raise Unwind
        call.interrupt(call.thread)

    def occasion(self, name: str) -> str:
        """What it is called that a signal, SIGHUP ..., is about to have its effect."""
        return name.lower() + ELSEWHERE * self.elsewhere

    # -- for the engine ----------------------------------------------------------------------

    def next(
        self, call: Call, inside: Sequence[Interruption], has: Callable[[str], bool]
    ) -> Interruption | None:
        """See ``protocol.Interrupter``."""
        with self._lock:
            mine = [waiting for waiting in self._waiting if waiting.thread == call.thread]
            callback = self._callback
        for what in mine:
            wanted = None
            if callback is not None and what.name not in _UNHANDLED:
                wanted = (callback, (what.number,))
                if not has(callback) or wanted in inside:
                    continue
            # A trigger has seen to its effect.
            over = what in self._announced and not self.elsewhere
            self._announce(call, what)
            with self._lock:
                self._waiting.remove(what)
                self._announced.remove(what)
            if wanted is not None:
                return wanted
            if not over:
                usual_effect(what.number, what.name, self._stop)
        return None

    def _announce(self, call: Call, what: Signal) -> None:
        with self._lock:
            if what in self._announced:
                return
            self._announced.append(what)
        call.about_to(self.occasion(what.name))

    @property
    def in_loops(self) -> bool:
        """See ``protocol.Interrupter``."""
        return not self.old_style

    def restarts(self, args: tuple[int, ...]) -> bool:
        """See ``protocol.Interrupter``: of a child's end, which most programs ignore, calls do not
        hear. Whether there is a handler, only the libc knows."""
        return args == (SIGCHLD,)

    def begin(self, interrupt: Callable[[int], bool]) -> None:
        """See ``protocol.Interrupter``."""
        with self._lock:
            self._interrupt = interrupt
            threads = {waiting.thread for waiting in self._waiting}
            self._arm()
        for thread in threads:
            interrupt(thread)

    def end(self) -> None:
        """See ``protocol.Interrupter``."""
        with self._lock:
            self._interrupt = None
            self._arm()

    # -- alarms ------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Have ``_fire`` called when the next alarm comes, if the guest runs. Under the lock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alarms and self._interrupt is not None:
            moment = min(alarm.moment for alarm in self._alarms.values())
            seconds = max(0, moment - self._clock().monotonic()) / 1e9
            self._timer = threading.Timer(min(seconds, _TIMER_S_MAX), self._fire)
            self._timer.daemon = True
            self._timer.start()

    def _fire(self) -> None:
        with self._lock:
            interrupt = self._interrupt
            if interrupt is None or self._timer is not threading.current_thread():
                return
            now = self._clock().monotonic()
            for alarm in [alarm for alarm in self._alarms.values() if alarm.moment <= now]:
                what = Signal(alarm.number, alarm.name, 0)
                if what not in self._waiting:
                    self._waiting.append(what)
                del self._alarms[alarm.number]
                if alarm.every:
                    missed = (now - alarm.moment) // alarm.every
                    moment = alarm.moment + (missed + 1) * alarm.every
                    self._alarms[alarm.number] = msgspec.structs.replace(alarm, moment=moment)
            self._arm()
        interrupt(0)

    # -- other processes ---------------------------------------------------------------------

    def forked(self) -> SignalsState:
        """What a child begins with: no signal that waits, and no alarm."""
        with self._lock:
            return SignalsState(self._callback)

    def executed(self) -> SignalsState:
        """What another program in the place of this one begins with; it has a main thread only."""
        with self._lock:
            waiting = [msgspec.structs.replace(what, thread=0) for what in self._waiting]
            return SignalsState(None, list(dict.fromkeys(waiting)), [], list(self._alarms.values()))

    # -- snapshots ---------------------------------------------------------------------------

    def capture(self) -> SignalsState:
        """All guest threads are stopped."""
        with self._lock:
            return SignalsState(
                self._callback,
                list(self._waiting),
                list(self._announced),
                list(self._alarms.values()),
            )

    def restore(self, state: SignalsState) -> None:
        """Before the guest runs."""
        self._callback = state.callback
        self._waiting = list(state.waiting)
        self._announced = list(state.announced)
        self._alarms = {alarm.number: alarm for alarm in state.alarms}
