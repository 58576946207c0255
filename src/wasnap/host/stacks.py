"""Copies of call stacks, to go back to: what setjmp and longjmp of WASIX are made of.

A copy is known by the address of the guest's record (its jmp_buf) and by a number that is written
into it; a new copy at the same address takes the old one's place, so that there are never more than
the guest has records. Going back to a copy that was replaced, or to another thread's, is refused. To
one whose function has returned it is not: C forbids it, and what then happens is as undefined here.
"""

from __future__ import annotations

import msgspec

from .protocol import Call, StackCopy

_PRUNE_MIN = 256


class KeptStack(msgspec.Struct, frozen=True):
    """``address``: of the guest's record; ``number``: in it; ``result``: where its call puts the
    value."""

    thread: int
    address: int
    number: int
    result: int
    copy: StackCopy


class StacksState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``last``: the number that was given last."""

    last: int = 0
    kept: list[KeptStack] = []


class Stacks:
    """Those of one process. Its functions run alone (``HostFunction.alone``)."""

    def __init__(self) -> None:
        self._last = 0
        self._kept: dict[tuple[int, int], KeptStack] = {}
        self._prune_at = _PRUNE_MIN

    def keep(self, call: Call, address: int, result: int) -> int:
        """Keep the calling thread's stack, which is unwound; its number. Raises Unsaveable."""
        self._last += 1
        kept = KeptStack(call.thread, address, self._last, result, call.copy_stack())
        self._kept[call.thread, address] = kept
        if len(self._kept) > self._prune_at:
            self._kept = {key: k for key, k in self._kept.items() if call.lives(k.thread)}
            self._prune_at = max(_PRUNE_MIN, 2 * len(self._kept))
        return self._last

    def find(self, call: Call, address: int, number: int) -> KeptStack | None:
        """What the calling thread kept under this address and number."""
        kept = self._kept.get((call.thread, address))
        return kept if kept is not None and kept.number == number else None

    def forked(self, thread: int) -> StacksState:
        """Those of one thread, which is the main thread of another process."""
        mine = [kept for kept in self._kept.values() if kept.thread == thread]
        return StacksState(self._last, [msgspec.structs.replace(k, thread=0) for k in mine])

    def capture(self) -> StacksState:
        """All guest threads are stopped."""
        return StacksState(self._last, list(self._kept.values()))

    def restore(self, state: StacksState) -> None:
        """Those that were captured."""
        self._last = state.last
        self._kept = {(kept.thread, kept.address): kept for kept in state.kept}
