"""What a signal does to a process that has no handler for it.

The guest is such a process, and it lives in ours: what stops it stops us.
"""

from __future__ import annotations

import os
import signal

from .protocol import Exit

_STOPPING = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_IGNORED = frozenset((signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH))


def pause() -> None:
    """Stop this process, all its threads, until somebody continues it (SIGCONT).

    By SIGSTOP, also for SIGTSTP, which has no effect where no shell could continue the process.
    """
    os.kill(os.getpid(), signal.SIGSTOP)


def usual_effect(number: int) -> None:
    """Of a signal (this machine's number) on the guest that calls this. Raises Exit if it ends."""
    if number in _STOPPING:
        pause()
    elif number not in _IGNORED:
        raise Exit(128 + number)
