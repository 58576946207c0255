"""thread_*: starting, ending and joining guest threads, sleeping."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from .. import threads
from ..beneath import os_error
from ..protocol import Call, Exit, Stop, Suspended, ThreadExit
from ..wasip1.abi import I32, I64, Ptr, SizeAt
from ..wasip1.layout import POINTER_SIZE
from ..world import Host
from . import layout


class Threads:
    """Threads. The main one is called ``threads.MAIN``, the others by their numbers."""

    _pointer_size = POINTER_SIZE

    def __init__(self, host: Host) -> None:
        self._host = host

    def thread_spawn_v2(self, call: Call, args: Ptr, tid: Ptr) -> None:
        """Start a thread in the export ``wasi_thread_start`` with its number and ``args``.

        args: a ``thread_start`` (16 pointers), which the guest's libc reads. u32 number at tid. AGAIN:
        there cannot be one more.
        """
        call.memory.view(args, layout.THREAD_START_POINTERS * self._pointer_size)
        call.memory.u32(tid)
        call.memory.set_u32(tid, self._host.threads.start(call, args))

    def thread_id(self, call: Call, tid: Ptr) -> None:
        """The calling thread: u32 at tid."""
        call.memory.set_u32(tid, call.thread or threads.MAIN)

    def thread_join(self, call: Call, tid: I32) -> None:
        """Wait until a thread has ended; also one that never was. DEADLK: it is this one."""
        number = 0 if tid == threads.MAIN else tid
        if number == call.thread:
            raise os_error(errno.EDEADLK)
        self._host.clock.park(call, lambda: not call.lives(number), None)

    def thread_exit(self, call: Call, rval: I32) -> NoReturn:
        """End this thread. The process ends with its last thread; rval is of no use."""
        if call.thread:
            raise ThreadExit
        self._host.clock.park(call, call.alone, None)
        raise Exit(0)

    def thread_sleep(self, call: Call, duration: I64) -> None:
        """Wait for so many ns. INTR: a signal's handler ran meanwhile."""
        if call.interrupted:
            raise os_error(errno.EINTR)
        clock = self._host.clock
        now = clock.monotonic()
        until: int = call.progress["until"] if call.progress else now + duration
        try:
            while (left := until - now) > 0:
                clock.wait(call, [], [], min(left, threads.WAIT_NS_MAX))
                now = clock.monotonic()
        except Stop:
            raise Suspended({"until": until}) from None

    def thread_parallelism(self, call: Call, parallelism: SizeAt) -> None:
        """How many threads run at the same time here: u32."""
        call.memory.set_u32(parallelism, len(os.sched_getaffinity(0)))
