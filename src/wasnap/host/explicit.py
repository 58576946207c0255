"""``wasnap.snapshot``: a program that knows of us asks for a snapshot of itself.

    (import "wasnap" "snapshot" (func (result i32)))
    __attribute__((import_module("wasnap"), import_name("snapshot"))) int wasnap_snapshot(void);

It returns when the snapshot is committed, and once more in each process that is resumed from it: a
WASI errno, 0 in both cases, so that the two cannot drift apart.

| errno | what |
|---|---|
| SUCCESS | there is a snapshot of this moment |
| NOTSUP | the process has no journal |
| BUSY | a value that cannot be saved is alive, here or in a caller |
| IO | it could not be taken or written; stderr says why |
"""

from __future__ import annotations

from collections.abc import Callable

from .protocol import Call, HostFunction, Stop

MODULE = "wasnap"
_I32 = b"\x7f"
SUCCESS, BUSY, IO, NOTSUP = 0, 10, 29, 58
"""WASI's errno values."""


class Explicit:
    """``ask`` submits a request and gives a function that waits for the answer: whether there is a
    snapshot now. None: there is no journal.
    """

    def __init__(self) -> None:
        self.ask: Callable[[], Callable[[], bool]] | None = None
        self._answers: dict[int, Callable[[], bool]] = {}  # by guest thread

    def functions(self) -> dict[tuple[str, str], HostFunction]:
        """By (module, name)."""
        function = HostFunction(MODULE, "snapshot", b"", _I32, self.snapshot)
        return {(MODULE, "snapshot"): function}

    def snapshot(self, call: Call) -> int:
        """Ask, stop, and tell when the process continues; an errno."""
        if call.progress is not None:
            answer = self._answers.pop(call.thread, None)
            taken = answer is None or answer()  # None: a process that was resumed from it
            return SUCCESS if taken else IO
        if self.ask is None:
            return NOTSUP
        if not call.may_stop():
            return BUSY
        self._answers[call.thread] = self.ask()
        raise Stop
