"""What a guest thread was at when it was made to call an export: put aside, and put back.

A thread is interrupted where it is unwound: at a safepoint, or in a host call that gave up waiting.
Then its frames lie in the control memory as plain data. They are taken from there, with the call that
is pending and the entries that run, the export is called as if it were the first, and when it
returns all is put back and goes on as after any stop. What interrupts can itself be interrupted, and
a stop in it is a stop like any other: what was put aside is part of the state.

The guest's stack in its memory stays where it is: an export that is called goes on below
``__stack_pointer``. At the header of a loop, where the function may be one that calls nothing, there
may be values below it (the compiler's *red zone*), so that the pointer is moved down by as much.
A module that does not export it is not interrupted there, but when it next waits.

Globals are not put aside: what interrupts shares them. But for the stack pointer, which is as it was
when what interrupts is over, also if it did not return.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from wasnap.engine import ffi, native
from wasnap.engine.edge import Edge
from wasnap.engine.objects import check
from wasnap.engine.stack import Stack
from wasnap.engine.state import Entry, Interrupted
from wasnap.engine.tables import Tables
from wasnap.host.protocol import Interruption, StackCopy
from wasnap.instrument import abi
from wasnap.wasm.types import I64

_RED_ZONE = 128
"""Bytes: LLVM's, for wasm."""


class StackPointer:
    """The global ``__stack_pointer``: an i32, or an i64 where memory has 64-bit addresses."""

    def __init__(self, context: native.Context, extern: Any) -> None:
        self._context = context
        self._global = extern

    def get(self) -> int:
        return native.global_value(self._context, self._global)[1]

    def set(self, address: int) -> None:
        type_, _ = native.global_value(self._context, self._global)
        value = ffi.wasmtime_val_t(kind=int(type_ == I64))  # WASMTIME_I32, WASMTIME_I64
        value.of.i64 = ctypes.c_int64(address).value  # its lower half is an i32
        check(
            ffi.wasmtime_global_set(self._context, ctypes.byref(self._global), ctypes.byref(value))
        )


class Interruptions:
    """What one thread has put aside, the outermost first."""

    def __init__(
        self, stack: Stack, tables: Tables, edge: Edge, pointer: StackPointer | None
    ) -> None:
        self._stack = stack
        self._tables = tables
        self._edge = edge
        self._pointer = pointer
        self._aside: list[Interrupted] = []

    def __bool__(self) -> bool:
        return bool(self._aside)

    @property
    def has_pointer(self) -> bool:
        """Whether the stack pointer is known."""
        return self._pointer is not None

    def inside(self, present: Entry) -> list[Interruption]:
        """What interrupts at the moment, outermost first; ``present`` is the innermost."""
        if not self._aside:
            return []
        entries = [was.entries[was.entry] for was in self._aside[1:]]
        return [(entry.export, entry.args) for entry in (*entries, present)]

    def push(self, entries: tuple[Entry, ...], entry: int, *, aside: bool) -> None:
        """Put all aside. Raises Unsaveable. ``aside``: move the stack pointer."""
        references = self._tables.references(abi.REFS, self._stack.live_references)
        pointer = None if self._pointer is None else self._pointer.get()
        pending, call = self._edge.pending, self._edge.call
        again = pending is not None and call.interrupted
        call.interrupted = False
        frames = self._stack.take()
        self._aside.append(Interrupted(frames, references, pending, entries, entry, pointer, again))
        if aside and pointer is not None and self._pointer is not None:
            self._pointer.set(pointer - _RED_ZONE)
        self._edge.pending = None
        self._edge.call.depth = len(self._aside)

    def pop(self, *, interrupts: bool) -> tuple[tuple[Entry, ...], int]:
        """Put the last back; the entries that ran. ``interrupts``: a call that waited hears of it."""
        was = self._aside.pop()
        self._stack.put(was.frames, len(was.refs))
        self._tables.set_references(abi.REFS, was.refs)
        if was.stack_pointer is not None and self._pointer is not None:
            self._pointer.set(was.stack_pointer)
        self._edge.pending = was.pending
        self._edge.call.depth = len(self._aside)
        self._edge.call.interrupted = was.again or (interrupts and was.pending is not None)
        return was.entries, was.entry

    def copy(self) -> StackCopy:
        """Of the present frames, which stay. Raises Unsaveable."""
        count = self._stack.live_references
        references = self._tables.references(abi.REFS, count)
        frames = self._stack.take()
        self._stack.put(frames, count)
        pointer = None if self._pointer is None else self._pointer.get()
        return StackCopy(frames, references, len(self._aside), pointer)

    def replace(self, copy: StackCopy) -> tuple[tuple[Entry, ...], int] | None:
        """Have these frames in place of the present ones, and of what was put aside since. The
        entries that ran; None: the present ones. Raises LookupError."""
        depth = len(self._aside)
        if copy.depth > depth:
            raise LookupError("the stack is gone that was copied")
        self._stack.put(copy.frames, len(copy.refs))
        self._tables.set_references(abi.REFS, copy.refs)
        if copy.stack_pointer is not None and self._pointer is not None:
            self._pointer.set(copy.stack_pointer)
        if copy.depth == depth:
            return None
        was = self._aside[copy.depth]
        self.restore(self._aside[: copy.depth])
        return was.entries, was.entry

    def clear(self) -> None:
        """Nothing that was put aside goes on."""
        self.restore(())

    def capture(self) -> tuple[Interrupted, ...]:
        return tuple(self._aside)

    def restore(self, state: Sequence[Interrupted]) -> None:
        """What was captured; the rest of the thread is restored by ``machine.py``."""
        self._aside = list(state)
        self._edge.call.depth = len(self._aside)
