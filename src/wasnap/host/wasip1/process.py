"""proc_*, sched_yield and random_get: the small ones.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import time
from typing import NoReturn

from ..protocol import OUTSIDE, Call, Exit
from ..signals import usual_effect
from ..world import Host
from . import spec
from .abi import I32, Ptr
from .errno import invalid


class Process:
    """Ending, yielding, randomness."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def proc_exit(self, call: Call, rval: I32) -> NoReturn:
        """End the process with exit code ``rval``. Does not return, writes nothing."""
        raise Exit(rval)

    def proc_raise(self, call: Call, sig: I32) -> None:
        """Send a signal to oneself, with its usual effect on a process that handles none.

        Like raise. A trigger for it (sigint, sigterm, sigalrm, sigtstp, sigstop) has its snapshot
        before; the resumed process goes on behind the call. INVAL: no such signal.
        """
        if sig >= len(spec.SIGNAL_NAMES):
            raise invalid("signal")
        signals = self._host.signals
        over = call.progress is not None and not signals.elsewhere
        if sig == 0 or over:  # a question only; or it has had its effect, on all processes
            return
        name = f"SIG{spec.SIGNAL_NAMES[sig]}"
        call.about_to(signals.occasion(name))
        usual_effect(sig, name, self._host.pause)

    def sched_yield(self, call: Call) -> None:
        """Let other threads run. Writes nothing, never fails."""
        time.sleep(0)

    def random_get(self, call: Call, buf: Ptr, buf_len: Ptr) -> None:
        """Fill buf_len bytes at buf with random data. FAULT."""
        call.about_to(OUTSIDE)
        self._host.random.fill(call.memory.view(buf, buf_len))
