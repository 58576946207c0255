"""Guest threads: ``wasi.thread-spawn``, and the numbers that threads have.

Source: https://github.com/WebAssembly/wasi-threads: a thread is a new instance of the module over
the same memory, which begins in the export ``wasi_thread_start``. Numbers go from 1 to 2**29 - 2; the
main thread has none (0 here; ``MAIN`` for WASIX). They are given in turn, so that a number comes again late.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import msgspec

from .protocol import Call, HostFunction

MODULE: Final = "wasi"
ENTRY: Final = "wasi_thread_start"
NUMBER_MAX: Final = 0x1FFF_FFFE
MAIN: Final = 0x1FFF_FFFF
"""What WASIX calls the main thread: its libc takes 0 for no thread at all."""
MAIN_TO_ITSELF: Final = 0x3FFF_FFFF
"""What wasix-libc calls the main thread, without asking (its ``raise`` does)."""
WAIT_NS_MAX: Final = 24 * 3600 * 1_000_000_000
"""We look again after this: some ways of waiting take no longer timeouts."""
_I32 = b"\x7f"
WIDE: Final = b"\x7e"
"""What `thread-spawn` takes where memory has 64-bit addresses."""
_EAGAIN: Final = 6
"""WASI's number for it."""


class ThreadsState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``last``: the number that was given last. ``last_key``, ``keys``: of the keys of values that
    each thread has of its own (WASIX); ``values``: key, thread, value.
    """

    last: int = 0
    last_key: int = 0
    keys: list[int] = []
    values: list[tuple[int, int, int]] = []


class Threads:
    """The threads of one process, as far as the host knows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._last_key = 0
        self._values: dict[int, dict[int, int]] = {}

    def functions(self) -> dict[tuple[str, str], HostFunction]:
        """By (module, name)."""
        name = "thread-spawn"
        spawn = HostFunction(MODULE, name, _I32, _I32, self.spawn, alone=False, spawns=ENTRY)
        return {(MODULE, name): spawn}

    def spawn(self, call: Call, start_arg: int) -> int:
        """Start a thread with this argument: its number, or a negative one: it cannot be had."""
        try:
            return self.start(call, start_arg)
        except OSError:
            return -_EAGAIN

    def start(self, call: Call, start_arg: int) -> int:
        """Start a thread with this argument: its number. Raises OSError (EAGAIN)."""
        return self.start_with(call, lambda number: (number, start_arg))

    def start_with(
        self,
        call: Call,
        args: Callable[[int], tuple[int, ...]],
        stack_pointer: int | None = None,
    ) -> int:
        """Start a thread with what its number gives for arguments: the number. Raises OSError
        (EAGAIN)."""
        while True:
            with self._lock:
                self._last = number = self._last % NUMBER_MAX + 1
            for values in self._values.values():
                values.pop(number, None)  # of one that ended
            try:
                call.spawn(number, args(number), stack_pointer)
            except FileExistsError:  # one that lives since 2**29 others
                continue
            return number

    def create_key(self) -> int:
        """A new one, for a value that each thread has of its own."""
        self._last_key += 1
        self._values[self._last_key] = {}
        return self._last_key

    def forget_key(self, key: int) -> bool:
        """False: there is no such key."""
        return self._values.pop(key, None) is not None

    def values(self, key: int) -> dict[int, int] | None:
        """By thread, of those that have set theirs; None: there is no such key."""
        return self._values.get(key)

    def forked(self, thread: int) -> ThreadsState:
        """What one thread has, which is the main thread of another process. Numbers go on: the copy
        of the memory may say which threads had locked something, and none of those is there."""
        values = [
            (key, 0, threads[thread]) for key, threads in self._values.items() if thread in threads
        ]
        return ThreadsState(self._last, self._last_key, list(self._values), values)

    def capture(self) -> ThreadsState:
        """All guest threads are stopped."""
        values = [
            (key, thread, value)
            for key, threads in self._values.items()
            for thread, value in threads.items()
        ]
        return ThreadsState(self._last, self._last_key, list(self._values), values)

    def restore(self, state: ThreadsState) -> None:
        """Go on numbering."""
        self._last = state.last
        self._last_key = state.last_key
        self._values = {key: {} for key in state.keys}
        for key, thread, value in state.values:
            self._values[key][thread] = value
