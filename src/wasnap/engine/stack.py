"""The guest's call stack as it lies in the control memory, and how it goes on.

Frames stand from ``info.frames_base`` to the global ``wasnap.fp``, innermost first; each begins
with its site and its size (u32, u32). Records of saved exceptions stand between them; they are
skipped.

To go on, each frame's header becomes a link to the next inner one: its address, and the slot of its
continuation in the table ``wasnap.slots`` plus one (0: there is none, this is the innermost). Then
``wasnap.fp`` is set to the outermost frame, whose continuation is called.

A continuation is instantiated once for each guest, however often its site comes up again: a store
never frees an instance.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from struct import Struct
from typing import NamedTuple

from wasnap.engine import ffi, native, tables, values
from wasnap.engine.code import HOT, Continuation, Program, successor
from wasnap.engine.control import Control
from wasnap.engine.objects import check
from wasnap.engine.state import ThreadState
from wasnap.errors import CannotResume
from wasnap.instrument import abi

_HEADER = Struct("<II")
_SLOTS_MIN = 64

Resolve = Callable[[str, str], native.Extern]


class Frame(NamedTuple):
    """A call frame: its address in the control memory, its site's number, its size in bytes."""

    address: int
    site: int
    size: int


class Stack:
    """The call stack of one guest; for its thread, and for others only while it is stopped.

    ``resolve(module, name)`` gives the guest's own imports, ``hot(name)`` the hot module's exports.
    """

    def __init__(
        self,
        context: native.Context,
        program: Program,
        control: Control,
        hot: Callable[[str], native.Extern],
        resolve: Resolve,
    ) -> None:
        self._context = context
        self._program = program
        self._control = control
        self._hot = hot
        self._resolve = resolve
        self._base = program.info.frames_base
        self._fp = hot(abi.FRAME_POINTER).of.global_
        self._slots = tables.new(context, _SLOTS_MIN, None)
        self._slot_of: dict[int, int] = {}
        self._resume_of: dict[int, native.Function] = {}

    @property
    def fp(self) -> int:
        """``wasnap.fp``: the end of the frames, an address in the control memory."""
        value = ffi.wasmtime_val_t()
        ffi.wasmtime_global_get(self._context, ctypes.byref(self._fp), ctypes.byref(value))
        return int(value.of.i32) & 0xFFFFFFFF

    @fp.setter
    def fp(self, address: int) -> None:
        value = ffi.wasmtime_val_t(kind=0)  # WASMTIME_I32
        value.of.i32 = ctypes.c_int32(address).value
        check(ffi.wasmtime_global_set(self._context, ctypes.byref(self._fp), ctypes.byref(value)))

    def capture(self) -> bytes:
        """The static area and the frames: bytes 16 .. fp of the control memory."""
        return self._control.memory.read(abi.STATIC_AREA, self.fp - abi.STATIC_AREA)

    def restore(self, stack: bytes, fp: int) -> None:
        """Put the static area and the frames back into a fresh instance."""
        if fp < self._base or len(stack) != fp - abi.STATIC_AREA:
            raise CannotResume("the snapshot's call stack is not one of this program's")
        self._control.memory.grow_to(fp)
        self._control.memory.write(abi.STATIC_AREA, stack)
        self.fp = fp

    @property
    def live_references(self) -> int:
        """How many function references live in the frames."""
        return self._control.memory.u32(abi.STATIC_AREA)

    def take(self) -> bytes:
        """The frames; they are then gone."""
        taken = self._control.memory.read(self._base, self.fp - self._base)
        self.put(b"", 0)
        return taken

    def put(self, frames: bytes, references: int) -> None:
        """Have these frames, with so many references in them, in place of what there is."""
        end = self._base + len(frames)
        self._control.memory.grow_to(end)
        self._control.memory.write(self._base, frames)
        self._control.memory.set_u32(abi.STATIC_AREA, references)
        self.fp = end

    def frames(self) -> list[Frame]:
        """The call frames, innermost first. Only before ``link``."""
        end = self.fp
        return _frames(self._control.memory.view(0, end), 0, self._base, end)

    def prepare(self, frames: Sequence[Frame]) -> dict[int, Continuation]:
        """Have a continuation instantiated for each of the frames' sites; those by site."""
        found = self._program.continuations({frame.site for frame in frames})
        for number in found:
            self._resume(number, found)
        return found

    def put_results(
        self, frame: Frame, continuation: Continuation, results: tuple[values.Value, ...]
    ) -> None:
        """Give the innermost frame the results of the call it stands at."""
        site = continuation.site
        packed = values.packed_struct(site.results).pack(*results)
        self._control.memory.write(frame.address + site.results_offset, packed)

    def link(self, frames: Sequence[Frame]) -> native.Function:
        """Turn the frames into what continuations expect; the function that goes on with them."""
        view = self._control.memory.view(0, self.fp)
        pack = _HEADER.pack_into
        inner, slot = self._base, 0
        for address, site, _ in frames:
            pack(view, address, inner, slot)
            inner, slot = address, self._slot_of[site] + 1
        self.fp = inner
        return self._resume_of[frames[-1].site]

    def _resume(self, number: int, found: dict[int, Continuation]) -> native.Function:
        """The function that goes on from a site; instantiated when first asked for."""
        if number in self._resume_of:
            return self._resume_of[number]
        externs = []
        for entry in found[number].imports:
            next_site = successor(entry)
            if entry.module != HOT or not entry.name.startswith(abi.PREFIX):
                extern = self._resolve(entry.module, entry.name)
            elif next_site is not None:
                extern = ffi.wasmtime_extern_t(native.KIND_FUNC)
                extern.of.func = self._resume(next_site, found)
            elif entry.name == abi.SLOTS:
                extern = ffi.wasmtime_extern_t(native.KIND_TABLE)
                extern.of.table = self._slots
            else:
                extern = self._hot(entry.name)
            externs.append(extern)
        instance = native.instantiate(self._context, found[number].module, externs)
        extern = native.export(self._context, instance, abi.RESUME)
        assert extern is not None, "a continuation module exports resume"
        function = ffi.wasmtime_func_t.from_buffer_copy(extern.of.func)
        slot = len(self._slot_of)
        size = ffi.wasmtime_table_size(self._context, ctypes.byref(self._slots))
        if slot == size:
            tables.grow(self._context, self._slots, size)
        tables.set_element(self._context, self._slots, slot, tables.reference(function))
        self._slot_of[number] = slot
        self._resume_of[number] = function
        return function


def frames_of(state: ThreadState, frames_base: int) -> list[Frame]:
    """The call frames of a captured guest thread, innermost first."""
    return _frames(memoryview(state.stack), abi.STATIC_AREA, frames_base, state.fp)


def _frames(view: memoryview, start: int, base: int, end: int) -> list[Frame]:
    """Those between two addresses in control memory, of which ``view`` begins at ``start``."""
    frames = []
    at = base
    while at < end:
        site, size = _HEADER.unpack_from(view, at - start)
        if size < _HEADER.size or at + size > end:
            raise CannotResume(f"the call stack is damaged at {at}")
        if site < abi.EXCEPTION_FRAME:
            frames.append(Frame(at, site, size))
        at += size
    return frames
