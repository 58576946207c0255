"""Sends a process signals at random moments, from a process of its own.

    cd tests; python -m triggers.sender PID SEED COUNT

Prints the moment (CLOCK_MONOTONIC, ns) before each SIGALRM. Each tenth signal is a SIGTSTP instead; a
SIGCONT follows after another one or two, and what it takes back (the kernel drops a SIGTSTP that
was not delivered yet) is nobody's loss.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from moments import wait_for_work

_WORK_NS_MAX = 4_000_000
"""Between two signals, of the process's own work; one that stands still is not waited for."""


def main(pid: int, seed: int, count: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        wait_for_work(pid, chance.randrange(_WORK_NS_MAX))
        if chance.random() < 0.1:
            os.kill(pid, signal.SIGTSTP)
        else:
            print(time.monotonic_ns())
            os.kill(pid, signal.SIGALRM)
        if chance.random() < 0.5:
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
