"""What an older ABI of WASIX has otherwise: programs built before 2023 import it.

- ``thread_spawn`` of five parameters: the host, not the libc, points ``__stack_pointer`` to the
  thread's stack; it begins in the export ``_start_thread``.
- ``thread_local_*``: values of a thread by key. Destructors, which the export
  ``_thread_local_destroy`` would run when a thread ends, are not run.
- ``sock_accept`` of four parameters is ``sock_accept_v2``.
- addresses of IPv6 are smaller (``layout.endpoint``).

Source: https://github.com/wasix-org/wasix-libc before ``thread_spawn_v2``
"""

from __future__ import annotations

from typing import Final

from ..protocol import Call
from ..wasip1.abi import I32, I64
from ..wasip1.errno import invalid
from ..world import Host
from .sock import Sock

ENTRY: Final = "_start_thread"
_KEYS_MAX: Final = 1 << 16


class Older:
    """By the names of today."""

    def __init__(self, host: Host) -> None:
        self._threads = host.threads
        self._sock = Sock(host)

    def thread_spawn(
        self,
        call: Call,
        user_data: I64,
        stack_base: I64,
        stack_start: I64,
        reactor: I32,
        tid: I32,
    ) -> None:
        """Start a thread in ``_start_thread`` with the two halves of user_data, the lower first. u32 number at tid.

        stack_base: where its stack begins (it grows down). AGAIN: there cannot be one more.
        """
        call.memory.u32(tid)
        for thread, key in list(self._threads.locals):
            if thread and not call.lives(thread):
                del self._threads.locals[thread, key]
        halves = (user_data & 0xFFFF_FFFF, user_data >> 32)
        number = self._threads.start_with(call, lambda _: halves, stack_base & 0xFFFF_FFFF)
        call.memory.set_u32(tid, number)

    def thread_local_create(self, call: Call, user_data: I64, result: I32) -> None:
        """A key: u32 at result. user_data would be for its destructor. INVAL: too many."""
        call.memory.u32(result)
        keys = self._threads.keys
        if len(keys) >= _KEYS_MAX:
            raise invalid("too many keys")
        key = next(n for n in range(1, len(keys) + 2) if n not in keys)
        keys.add(key)
        call.memory.set_u32(result, key)

    def thread_local_destroy(self, call: Call, key: I32) -> None:
        """Forget a key, and what all threads have for it. INVAL: there is none."""
        self._check(key)
        self._threads.keys.discard(key)
        self._threads.locals = {
            where: value for where, value in self._threads.locals.items() if where[1] != key
        }

    def thread_local_set(self, call: Call, key: I32, val: I64) -> None:
        """This thread's value. INVAL: there is no such key."""
        self._check(key)
        self._threads.locals[call.thread, key] = val

    def thread_local_get(self, call: Call, key: I32, result: I32) -> None:
        """This thread's value: u64 at result; 0 if it has set none. INVAL: there is no such key."""
        self._check(key)
        call.memory.set_u64(result, self._threads.locals.get((call.thread, key), 0))

    def _check(self, key: int) -> None:
        if key not in self._threads.keys:
            raise invalid("key")

    def sock_accept(self, call: Call, fd: I32, flags: I32, result: I32, addr: I32) -> None:
        """See ``Sock.sock_accept_v2``."""
        self._sock.sock_accept_v2(call, fd, flags, result, addr)
