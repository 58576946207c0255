"""What an older ABI of WASIX has otherwise: programs built before 2023 import it.

- ``thread_spawn`` of five parameters: the host, not the libc, points ``__stack_pointer`` to the
  thread's stack; it begins in the export ``_start_thread``.
- ``sock_accept`` of four parameters is ``sock_accept_v2``.
- addresses of IPv6 are smaller (``layout.endpoint``).

Source: https://github.com/wasix-org/wasix-libc before ``thread_spawn_v2``
"""

from __future__ import annotations

from typing import Final

from ..protocol import Call
from ..wasip1.abi import I32, I64, Ptr
from ..world import Host
from .sock import Sock

ENTRY: Final = "_start_thread"


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
        tid: Ptr,
    ) -> None:
        """Start a thread in ``_start_thread`` with the two halves of user_data, the lower first. u32 number at tid.

        stack_base: where its stack begins (it grows down). AGAIN: there cannot be one more.
        """
        call.memory.u32(tid)
        halves = (user_data & 0xFFFF_FFFF, user_data >> 32)
        number = self._threads.start_with(call, lambda _: halves, stack_base & 0xFFFF_FFFF)
        call.memory.set_u32(tid, number)

    def sock_accept(self, call: Call, fd: I32, flags: I32, result: Ptr, addr: Ptr) -> None:
        """See ``Sock.sock_accept_v2``."""
        self._sock.sock_accept_v2(call, fd, flags, result, addr)
