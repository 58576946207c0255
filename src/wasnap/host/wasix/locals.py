"""thread_local_*: values that each thread has of its own, of the first version of the ABI.

Older binaries import them; today's libc keeps such values in its own memory. What a key was created
with is for a destructor that the reference runtime calls at a thread's end: there is none here.
"""

from __future__ import annotations

import errno

from ..beneath import os_error
from ..protocol import Call
from ..wasip1.abi import I32, I64, Ptr
from ..world import Host


class Locals:
    """Thread-local values."""

    def __init__(self, host: Host) -> None:
        self._threads = host.threads

    def thread_local_create(self, call: Call, user_data: I64, key: Ptr) -> None:
        """A new key, under which all threads have 0: u32 at key."""
        call.memory.u32(key)
        call.memory.set_u32(key, self._threads.create_key())

    def thread_local_destroy(self, call: Call, key: I32) -> None:
        """Forget a key. INVAL: there is none of this number."""
        if not self._threads.forget_key(key):
            raise os_error(errno.EINVAL)

    def thread_local_set(self, call: Call, key: I32, value: I64) -> None:
        """The calling thread's value. INVAL: there is no such key."""
        values = self._threads.values(key)
        if values is None:
            raise os_error(errno.EINVAL)
        values[call.thread] = value

    def thread_local_get(self, call: Call, key: I32, value: Ptr) -> None:
        """It, or 0: u64 at value. INVAL: there is no such key."""
        values = self._threads.values(key)
        if values is None:
            raise os_error(errno.EINVAL)
        call.memory.set_u64(value, values.get(call.thread, 0))
