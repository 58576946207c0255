"""futex_*: the waiters are those of ``memory.atomic.wait`` (``host/futex.py``), the words memory 0's."""

from __future__ import annotations

from ..futex import TIMED_OUT
from ..protocol import Call
from ..wasip1.abi import I32, Ptr
from ..wasip1.errno import invalid
from ..world import Host
from . import layout

_WORD = 4
_ALL = 0xFFFF_FFFF


class Futex:
    """Waiting for a word of memory, and waking who waits there."""

    def __init__(self, host: Host) -> None:
        self._futexes = host.futexes

    def futex_wait(self, call: Call, futex: Ptr, expected: I32, timeout: Ptr, woken: Ptr) -> None:
        """Wait while the u32 at futex is ``expected``, until somebody wakes us. Like FUTEX_WAIT.

        timeout: ``layout.option_timestamp`` (ns from now). u8 at woken: 0 if the time was over,
        1 otherwise, also if the word was another. INVAL: futex is not a multiple of 4.
        """
        memory = call.memory
        timeout_ns = layout.option_timestamp(memory, timeout)
        memory.u8(woken)
        if futex % _WORD:
            raise invalid("futex")
        result = self._futexes.wait(call, 0, futex, _WORD, expected, timeout_ns)
        memory.set_u8(woken, result != TIMED_OUT)

    def futex_wake(self, call: Call, futex: Ptr, woken: Ptr) -> None:
        """Wake the first that waits there. u8 at woken: whether there was one."""
        self._wake(call, futex, 1, woken)

    def futex_wake_all(self, call: Call, futex: Ptr, woken: Ptr) -> None:
        """Wake all that wait there. u8 at woken: whether there was one."""
        self._wake(call, futex, _ALL, woken)

    def _wake(self, call: Call, futex: int, count: int, woken: int) -> None:
        call.memory.u8(woken)
        call.memory.set_u8(woken, self._futexes.notify(call, 0, futex, count) > 0)
