"""proc_*, sched_yield and random_get: the small ones.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

import errno
import time
from typing import NoReturn

from ..beneath import os_error
from ..protocol import Call, Exit
from ..world import Host
from .abi import I32


class Process:
    """Ending, yielding, randomness."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def proc_exit(self, call: Call, rval: I32) -> NoReturn:
        """End the process with exit code ``rval``. Does not return, writes nothing."""
        raise Exit(rval)

    def proc_raise(self, call: Call, sig: I32) -> None:
        """Send a signal to oneself. NOTSUP: preview1 has no way to receive one."""
        raise os_error(errno.EOPNOTSUPP)

    def sched_yield(self, call: Call) -> None:
        """Let other threads run. Writes nothing, never fails."""
        time.sleep(0)

    def random_get(self, call: Call, buf: I32, buf_len: I32) -> None:
        """Fill buf_len bytes at buf with random data. FAULT."""
        self._host.random.fill(call.memory.view(buf, buf_len))
