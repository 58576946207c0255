"""Signals: proc_raise, proc_signal, thread_signal, proc_raise_interval, callback_signal.

The numbers are ``host/signals.py``'s. A signal 0 only asks whether there is somebody to get one. A signal to the
process goes to the thread that sends it, an alarm to the main thread.
"""

from __future__ import annotations

import errno

from .. import threads
from ..beneath import os_error
from ..protocol import Call
from ..signals import NAMES, Signal
from ..wasip1.abi import I32, I64, Ptr, SizeAt
from ..wasip1.errno import invalid
from ..world import Host

SIGNALS = (
    "callback_signal",
    "proc_raise",
    "proc_raise_interval",
    "proc_signal",
    "thread_signal",
)
"""What a program imports that has to do with them."""


class Signals:
    """Signals."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._signals = host.signals

    def callback_signal(self, call: Call, name: Ptr, name_len: Ptr) -> None:
        """Name the export that is called with each signal's number, an i32. Returns nothing.

        If there is no such export, signals wait until there is.
        """
        text = call.memory.read(name, name_len).decode("utf-8", "replace")
        if call.progress is None:
            self._signals.set_callback(call, text)
        elif call.progress:
            self._signals.settle(call)

    def thread_signal(self, call: Call, tid: I32, sig: I32) -> None:
        """Send a signal to a thread. Like pthread_kill. INVAL: no such signal. SRCH: no such thread."""
        main = tid in (threads.MAIN, threads.MAIN_TO_ITSELF)
        self._send(call, 0 if main else tid, sig)

    def proc_signal(self, call: Call, pid: I32, sig: I32) -> None:
        """Send a signal to a process. Like kill. SRCH: there is no such process."""
        if pid == self._host.shown_process:
            self._send(call, call.thread, sig)
        elif call.progress is None:
            self._host.processes.signal(pid, sig, _name(sig))

    def proc_raise(self, call: Call, sig: I32) -> None:
        """Send a signal to oneself. Like raise."""
        self._send(call, call.thread, sig)

    def proc_raise_interval(self, call: Call, sig: I32, interval: I64, repeat: I32) -> None:
        """Have a signal come to the process after ``interval`` ns, once or, if repeat is not 0, again
        and again. 0 ns: not any more. One for each signal."""
        name = _name(sig)
        if name is None:
            raise invalid("signal")
        self._signals.set_alarm(sig, name, interval, repeat=bool(repeat & 0xFF))

    def proc_signals_sizes_get(self, call: Call, count: SizeAt) -> None:
        """How many signals the program was started with another disposition for: u32."""
        call.memory.set_u32(count, len(self._host.dispositions) // 2)

    def proc_signals_get(self, call: Call, buf: Ptr) -> None:
        """Those: a ``signal_disposition`` each, u8 signal and u8 disposition (0 default, 1 ignore)."""
        call.memory.write(buf, self._host.dispositions)

    def _send(self, call: Call, thread: int, sig: int) -> None:
        name = _name(sig)
        if thread != call.thread and not call.lives(thread):
            raise os_error(errno.ESRCH)
        if name is not None and call.progress is None:
            self._signals.send(call, Signal(sig, name, thread))


def _name(sig: int) -> str | None:
    """SIGHUP ...; None for 0. INVAL: no such signal."""
    if sig >= len(NAMES):
        raise invalid("signal")
    return f"SIG{NAMES[sig]}" if sig else None
