"""Waiting for a word of shared memory to change: ``memory.atomic.wait`` and ``notify``.

The instructions would block inside the engine, out of reach of a stop, so the transform makes calls
of them (``instrument/abi.py``: ``FUTEX_CALLS``); addresses have been checked by then.

A waiter is one thread at one word. Comparing the word and joining the queue is one step under one
lock, and so is waking: whoever changes the word and then notifies cannot miss a thread that saw the
old value. A stop interrupts the waiting and leaves the waiter in its place in the queue: threads
that are not yet stopped may still wake it, and when the process goes on, or is resumed, no other can
get ahead of it. Its progress is its deadline, in the guest's monotonic time, which stands still
while the guest is not there.

Invariants: a thread has at most one waiter at each depth of interruptions, as a signal's handler may
wait, too; ``_waiters`` is in the order in which they joined; a waiter stays there until its thread
has seen that it was woken, or gave up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import msgspec

from .clock import Clock
from .protocol import Call, HostFunction, Stop, Suspended

MODULE: Final = "wasnap.host"
"""Not for guests: the engine asks for these functions."""
WOKEN, NOT_EQUAL, TIMED_OUT = 0, 1, 2
_WAIT_NS_MAX = 24 * 3600 * 1_000_000_000
"""We look again after this: some ways of waiting take no longer timeouts."""
_I32, _I64 = b"\x7f", b"\x7e"


class WaiterState(msgspec.Struct, frozen=True):
    """A thread that waits, or was woken and has not noticed yet; where: memory and address.
    ``depth``: of interruptions that it is inside of."""

    thread: int
    memory: int
    address: int
    woken: bool
    depth: int = 0


class _Waiter(msgspec.Struct):
    thread: int
    depth: int
    place: tuple[int, int]
    call: Call | None = None
    woken: bool = False

    def is_woken(self) -> bool:
        return self.woken


class Futexes:
    """One process's waiters. ``clock()``: the guest's, which may be another after a resume."""

    def __init__(self, clock: Callable[[], Clock]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiters: dict[tuple[int, int], _Waiter] = {}

    def functions(self) -> dict[tuple[str, str], HostFunction]:
        """By (module, name)."""
        place = _I32 + _I64
        found = (
            ("notify", place + _I32, self.notify),
            ("wait32", place + _I32 + _I64, self.wait32),
            ("wait64", place + _I64 + _I64, self.wait64),
        )
        return {
            (MODULE, name): HostFunction(MODULE, name, params, _I32, call, alone=False)
            for name, params, call in found
        }

    def wait32(self, call: Call, memory: int, address: int, expected: int, timeout: int) -> int:
        """``memory.atomic.wait32``; ``timeout``: ns, negative (as a signed number) for ever."""
        return self.wait(call, memory, address, 4, expected, _nanoseconds(timeout))

    def wait64(self, call: Call, memory: int, address: int, expected: int, timeout: int) -> int:
        """``memory.atomic.wait64``."""
        return self.wait(call, memory, address, 8, expected, _nanoseconds(timeout))

    def notify(self, call: Call, memory: int, address: int, count: int) -> int:
        """``memory.atomic.notify``: wake the first ``count`` that wait there; how many there were."""
        place = (memory, address)
        woken = 0
        with self._lock:  # so long their calls are sure to live
            for waiter in self._waiters.values():
                if woken == count:
                    break
                if waiter.place == place and not waiter.woken:
                    waiter.woken = True
                    woken += 1
                    if waiter.call is not None:
                        waiter.call.unpark()
        return woken

    def wait(
        self,
        call: Call,
        memory: int,
        address: int,
        width: int,
        expected: int,
        timeout_ns: int | None,
    ) -> int:
        """Wait while the word of ``width`` bytes is ``expected``: WOKEN, NOT_EQUAL or TIMED_OUT."""
        clock = self._clock()
        key = (call.thread, call.depth)
        if call.progress is None:
            with self._lock:
                if call.memories[memory].atomic(address, width) != expected:
                    return NOT_EQUAL
                waiter = _Waiter(*key, (memory, address), call)
                self._waiters[key] = waiter
            deadline = None if timeout_ns is None else clock.monotonic() + timeout_ns
        else:
            deadline = call.progress["deadline"]
            with self._lock:
                waiter = self._waiters[key]
                waiter.call = call
        try:
            while True:
                left = None if deadline is None else max(0, deadline - clock.monotonic())
                clock.park(call, waiter.is_woken, left and min(left, _WAIT_NS_MAX))
                over = deadline is not None and clock.monotonic() >= deadline
                with self._lock:
                    if waiter.woken or over:
                        del self._waiters[key]
                        return WOKEN if waiter.woken else TIMED_OUT
        except Stop:
            raise Suspended({"deadline": deadline}) from None

    def forget(self, thread: int, depth: int) -> None:
        """A thread left interruptions deeper than ``depth``, whatever it waited for there."""
        with self._lock:
            for key in [key for key in self._waiters if key[0] == thread and key[1] > depth]:
                del self._waiters[key]

    def forked(self, thread: int) -> list[WaiterState]:
        """Those of one thread (what it waits for outside of its signal's handler), which is the
        main thread of another process."""
        with self._lock:
            mine = [waiter for waiter in self._waiters.values() if waiter.thread == thread]
            return [WaiterState(0, *w.place, w.woken, w.depth) for w in mine]

    def capture(self) -> list[WaiterState]:
        """In the order in which they joined. All guest threads are stopped."""
        return [WaiterState(w.thread, *w.place, w.woken, w.depth) for w in self._waiters.values()]

    def restore(self, state: list[WaiterState]) -> None:
        """Wait for their threads, which come back to complete their calls."""
        self._waiters = {
            (w.thread, w.depth): _Waiter(w.thread, w.depth, (w.memory, w.address), None, w.woken)
            for w in state
        }


def _nanoseconds(timeout: int) -> int | None:
    return None if timeout >> 63 else timeout
