"""proc_*: what processes are called, forking, waiting for children, and how one ends.

Other programs are in programs.py.
"""

from __future__ import annotations

import errno

from ..beneath import os_error
from ..processes import Ended
from ..protocol import FORKED, Call, Exit, Unwind
from ..wasip1 import process, spec
from ..wasip1.abi import I32, Ptr
from ..world import Host
from . import layout

_ANY = 0xFFFF_FFFF
_NON_BLOCKING = 1 << 0


class Process(process.Process):
    """One process, and its children."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)

    def proc_exit2(self, call: Call, rval: I32) -> None:
        """As ``proc_exit``; but after ``proc_fork_env`` the child ends, and the process goes on from here."""
        if not self._host.processes.acted(self._host, rval):
            raise Exit(rval)

    def proc_id(self, call: Call, pid: Ptr) -> None:
        """The number of this process: u32 at pid."""
        call.memory.set_u32(pid, self._host.shown_process)

    def proc_parent(self, call: Call, pid: I32, parent: Ptr) -> None:
        """The number of a process's parent, 0 if it has none: u32 at parent. SRCH: there is no such
        process."""
        call.memory.set_u32(parent, self._host.processes.parent(pid))

    def proc_fork(self, call: Call, copy_memory: I32, pid: Ptr) -> None:
        """A child that goes on here with a copy of all memory, and of the calling thread alone. The
        other threads stand still for the copy: it is of one moment.

        u32 at pid: the child's number, in the child 0. copy_memory: 0 if the parent is to wait until
        the child ends or is another program (vfork); what the child writes stays its own even then.
        AGAIN: there cannot be one more. NOTSUP: a value that cannot be saved is alive.
        """
        call.memory.u32(pid)
        progress = call.progress
        if progress is None:
            if not call.may_stop():
                raise os_error(errno.ENOTSUP)
            raise Unwind
        if progress == FORKED:
            call.memory.set_u32(pid, 0)
            return
        processes = self._host.processes
        number: int | None = progress.get("lent")
        if number is None:
            lent = not copy_memory & 0xFF
            with call.still():
                child = processes.add(self._host, call.thread)
                number = child.process
                if lent:
                    processes.lend(child)
                try:
                    call.fork(number, child.provider)
                except BaseException:
                    processes.drop(child)
                    raise
            if not lent:
                call.memory.set_u32(pid, number)
                return
        processes.wait_for_return(self._host, call, number)
        call.memory.set_u32(pid, number)

    def proc_fork_env(self, call: Call, pid: Ptr) -> None:
        """Act as a new child: u32 at pid, its number. A libc makes vfork of it, by setjmp and longjmp.

        The guest goes on as it is, in the same memory, with the child's number, descriptors and working
        directory: a copy of its own, which it gets back when the child ends (``proc_exit2``) or is
        another program (``proc_exec3`` and its kin): both then return. NOTSUP: it acts as one already,
        or has other threads. AGAIN: there cannot be one more.
        """
        call.memory.u32(pid)
        if self._host.acting is not None or not call.alone():
            raise os_error(errno.ENOTSUP)
        call.memory.set_u32(pid, self._host.processes.act(self._host, call.thread).process)

    def proc_join(self, call: Call, pid: Ptr, flags: I32, status: Ptr) -> None:
        """Wait for a child to end. Like waitpid.

        pid: a ``layout.option_pid``, which child, or any; it becomes the number of the one that has
        ended, or 0 where none has and flags has NON_BLOCKING (bit 0). ``layout.join_status`` (6
        bytes) at status. CHILD: there is none, or not this one. INVAL: not an option.
        """
        memory = call.memory
        memory.view(status, layout.JOIN_STATUS_SIZE)
        wanted = layout.read_option_pid(memory, pid)
        wait = not flags & _NON_BLOCKING
        found = self._host.processes.join(self._host, call, wanted, wait=wait)
        number, ended = found or (0, None)
        layout.write_option_pid(memory, pid, number)
        memory.write(status, layout.join_status(ended))


class Older:
    """What the ABI had once, by the same names."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def proc_join(self, call: Call, pid: Ptr, code: Ptr) -> None:
        """Wait for a child to end: u32 number at pid, all ones for any; u32 exit code at code.

        CHILD: there is none, or not this one.
        """
        memory = call.memory
        memory.u32(code)
        wanted = memory.u32(pid)
        number = None if wanted == _ANY else wanted
        try:
            found = self._host.processes.join(self._host, call, number, wait=True)
        except ChildProcessError:
            found = None
        number, ended = found or (_ANY, Ended(spec.ERRNO_CHILD))
        memory.set_u32(pid, number)
        memory.set_u32(code, ended.code)
        if found is None:
            raise os_error(errno.ECHILD)
