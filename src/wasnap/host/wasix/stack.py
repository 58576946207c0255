"""stack_checkpoint and stack_restore: setjmp and longjmp (``host/stacks.py``)."""

from __future__ import annotations

import errno

from wasnap.errors import GuestTrap

from ..beneath import os_error
from ..protocol import Call, Unwind
from ..wasip1.abi import I64, Ptr
from ..world import Host
from . import layout


class Stack:
    """Going back to where a call stack was copied. What lies in memory stays as it is."""

    def __init__(self, host: Host) -> None:
        self._stacks = host.stacks
        self._futexes = host.futexes

    def stack_checkpoint(self, call: Call, snapshot: Ptr, value: Ptr) -> None:
        """Copy the call stack: a ``layout.stack_snapshot`` at snapshot, u64 0 at value.

        It returns once more, with another value, each time that the copy is restored. NOTSUP: a
        value that cannot be saved is alive.
        """
        call.memory.view(snapshot, layout.STACK_SNAPSHOT_SIZE)
        call.memory.u64(value)
        if call.progress is None:
            if not call.may_stop():
                raise os_error(errno.ENOTSUP)
            raise Unwind
        number = self._stacks.keep(call, snapshot, value)
        layout.write_stack_snapshot(call.memory, snapshot, snapshot, number)
        call.memory.set_u64(value, 0)

    def stack_restore(self, call: Call, snapshot: Ptr, val: I64) -> None:
        """Go back to the copy that a ``layout.stack_snapshot`` names; val, or 1 for 0, is the value.

        It has no result, so what cannot be done ends the guest: a copy that was replaced by a newer
        one at its address, another thread's, or one of a handler that has returned.
        """
        kept = self._stacks.find(call, *layout.read_stack_snapshot(call.memory, snapshot))
        if kept is None or kept.copy.depth > call.depth or not call.may_stop():
            raise GuestTrap("it called wasix_32v1.stack_restore for a stack that is not kept")
        if call.progress is None:
            raise Unwind
        self._futexes.forget(call.thread, kept.copy.depth)
        call.memory.set_u64(kept.result, val or 1)
        call.replace_stack(kept.copy, (0,))
