"""A stopped guest as plain data, and what a guest reports.

``EngineState`` holds everything but the contents of the memories, which are too big to copy: the
snapshot reads those in place (``Guest.memories``) and hands them back as ``MemoryImage``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wasnap.errors import GuestTrap
from wasnap.host.protocol import Made


class Entry(msgspec.Struct, frozen=True):
    """An export to be run. ``args``: raw values (unsigned ints with the value's bits)."""

    export: str
    args: tuple[int, ...] = ()


class PendingCall(msgspec.Struct, frozen=True):
    """A host call that a stop interrupted; to be completed before the guest goes on.

    ``args`` as the host function gets them; ``progress`` as it left them in ``Suspended``.
    """

    module: str
    name: str
    args: tuple[int | float | bytes, ...]
    progress: dict[str, Any]


class Interrupted(msgspec.Struct, frozen=True):
    """What a guest thread was at when it was made to call an export, and will go on with.

    - ``frames``: its call frames, as they lay in the control memory from ``frames_base`` on;
    - ``refs``: function indices of the function references that live in them, -1 for null;
    - ``pending``, ``entries``, ``entry``: as in ``ThreadState``;
    - ``stack_pointer``: what ``__stack_pointer`` was, if the module exports it;
    - ``again``: ``pending`` had been interrupted before, and is to hear of it whatever interrupts it now.
    """

    frames: bytes
    refs: list[int]
    pending: PendingCall | None
    entries: tuple[Entry, ...]
    entry: int
    stack_pointer: int | None = None
    again: bool = False


class ThreadState(msgspec.Struct, frozen=True):
    """A stopped guest thread.

    - ``stack``: bytes 16 .. ``fp`` of the control memory: static area and frames;
    - ``fp``: the end of the frames, an address in the control memory;
    - ``tables``: by export name (``wasnap.t<i>``, ``wasnap.refs``), function indices, -1 for null;
    - ``entries``, ``entry``: what runs one after the other, and the index of what is running;
    - ``thread``: its number, 0 for the main thread;
    - ``begun``: False for one that was spawned while the others stopped, and has not run yet;
    - ``interrupted``: what goes on when the present entries are over, the outermost first.
    """

    stack: bytes
    fp: int
    tables: dict[str, list[int]]
    pending: PendingCall | None
    entries: tuple[Entry, ...]
    entry: int
    thread: int = 0
    begun: bool = True
    interrupted: tuple[Interrupted, ...] = ()


class EngineState(msgspec.Struct, frozen=True):
    """A stopped guest. ``memories``: sizes in bytes; ``threads``: the main thread first."""

    memories: tuple[int, ...]
    threads: tuple[ThreadState, ...]

    @property
    def main(self) -> ThreadState:
        """The main thread."""
        return self.threads[0]


class Exited(msgspec.Struct, frozen=True):
    """The guest called ``proc_exit`` (a host function raised ``Exit``). ``signal``: see there."""

    code: int
    signal: int = 0


class Replaced(msgspec.Struct, frozen=True):
    """The guest executed another program (a host function raised ``Exec``)."""

    made: Made


class Finished(msgspec.Struct, frozen=True):
    """The last entry returned; ``results`` are raw values."""

    results: tuple[int, ...]


class Stopped(msgspec.Struct, frozen=True):
    """The guest is unwound: it can be captured, and it can proceed."""


class Trapped(msgspec.Struct, frozen=True):
    """The guest trapped."""

    trap: GuestTrap


class Failed(msgspec.Struct, frozen=True):
    """Something on our side failed: a host function raised what it should not, or the like."""

    error: BaseException


Event = Exited | Finished | Stopped | Trapped | Failed | Replaced
