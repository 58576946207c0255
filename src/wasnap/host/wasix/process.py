"""proc_*: what a process is called, and how it ends."""

from __future__ import annotations

import errno
from typing import NoReturn

from ..beneath import os_error
from ..protocol import Call, Exit
from ..wasip1 import process
from ..wasip1.abi import I32
from ..world import Host

PID = 1
"""There is one process, and its parent is nobody: 0."""


class Process(process.Process):
    """One process."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)

    def proc_exit2(self, call: Call, rval: I32) -> NoReturn:
        """As ``proc_exit``: they differ in processes that were forked."""
        raise Exit(rval)

    def proc_id(self, call: Call, pid: I32) -> None:
        """The number of this process: u32 at pid."""
        call.memory.set_u32(pid, PID)

    def proc_parent(self, call: Call, pid: I32, parent: I32) -> None:
        """The number of a process's parent: u32 at parent. SRCH: there is no such process."""
        if pid != PID:
            raise os_error(errno.ESRCH)
        call.memory.set_u32(parent, 0)
