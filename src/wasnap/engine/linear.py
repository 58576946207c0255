"""Linear memories as the engine's C API has them: those of one store, and shared ones.

A shared memory belongs to no store. ``Shared.new`` makes one; an instance that defines one itself
gives it away by its export. Either is ours to free, and is kept alive by every instance that has it.

Each time an instance imports one, the engine puts a further instance into the store, which owns the
memory there. When an access outside of it traps, the engine looks for the owner, and ends the whole
process (an assertion) if it finds two. So only the guest's own instance imports a shared memory;
those of continuations get it as a memory of this store, by a handle that the C API does not give:
``handle`` makes it from the numbers of the instance and the memory, which are as in the pinned
engine, and looks whether the memory behind it is the one that is meant.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any, Final, Protocol

from wasnap.engine import config, ffi, native
from wasnap.engine.objects import check

KIND_SHARED: Final = 4  # WASMTIME_EXTERN_SHAREDMEMORY
_HANDLE: Final = Struct("<QI4xI")
"""wasmtime_memory_t: store, number of the instance in it, number of the memory that it defines."""


class Linear(Protocol):
    """Sizes in bytes; ``grow`` takes pages of ``page_size``, and says whether it was done."""

    page_size: int
    extern: native.Extern

    def size(self) -> int: ...
    def address(self) -> int: ...
    def grow(self, pages: int) -> bool: ...
    def free(self) -> None: ...


class Own:
    """A memory of one store; lives as long as that."""

    def __init__(self, context: native.Context, extern: native.Extern) -> None:
        self.extern = extern
        self._context = context
        self._memory: Any = ctypes.byref(extern.of.memory)
        self.page_size = ffi.wasmtime_memory_page_size(context, self._memory)

    def size(self) -> int:
        return int(ffi.wasmtime_memory_data_size(self._context, self._memory))

    def address(self) -> int:
        return ffi.wasmtime_memory_data(self._context, self._memory) or 0

    def grow(self, pages: int) -> bool:
        previous = ctypes.c_uint64()
        return _done(
            ffi.wasmtime_memory_grow(self._context, self._memory, pages, ctypes.byref(previous))
        )

    def free(self) -> None:
        """Nothing: its store frees it."""


class Shared:
    """A shared memory; ``extern`` holds one reference to it."""

    page_size = 1 << 16

    def __init__(self, extern: native.Extern) -> None:
        self.extern = extern
        self._pointer: Any = extern.of.sharedmemory

    @classmethod
    def new(cls, minimum: int, maximum: int, *, is64: bool) -> Shared:
        """One of these limits (in pages). Raises EngineError where there is no room for it."""
        pointer = ctypes.c_void_p()
        with memory_type(minimum, maximum, is64=is64, shared=True) as type_:
            check(ffi.wasmtime_sharedmemory_new(config.engine(), type_, ctypes.byref(pointer)))
        extern: Any = ffi.wasmtime_extern_t(KIND_SHARED)
        extern.of.sharedmemory = pointer.value
        return cls(extern)

    def size(self) -> int:
        return int(ffi.wasmtime_sharedmemory_data_size(self._pointer))

    def address(self) -> int:
        return ffi.wasmtime_sharedmemory_data(self._pointer) or 0

    def grow(self, pages: int) -> bool:
        previous = ctypes.c_uint64()
        return _done(ffi.wasmtime_sharedmemory_grow(self._pointer, pages, ctypes.byref(previous)))

    def free(self) -> None:
        """Give our reference back."""
        ffi.wasmtime_extern_delete(ctypes.byref(self.extern))


@contextmanager
def memory_type(
    minimum: int, maximum: int | None, *, is64: bool = False, shared: bool = False
) -> Iterator[int]:
    """A wasm_memorytype_t of these limits, in pages of 64 KiB. Raises EngineError."""
    type_ = ctypes.c_void_p()
    bounded = maximum is not None
    check(
        ffi.wasmtime_memorytype_new(
            minimum, bounded, maximum or 0, is64, shared, 16, ctypes.byref(type_)
        )
    )
    try:
        yield type_.value or 0
    finally:
        ffi.wasm_memorytype_delete(type_)


def handle(context: native.Context, instance: Any, memory: int, address: int) -> native.Extern:
    """The memory that an instance (a wasmtime_instance_t) of this store defines as its ``memory``-th.

    If negative: the shared memory that it imports as the last but ``-memory - 1``. ``address``:
    where it lies. Raises RuntimeError if it is not that: an engine laid out in another way.
    """
    number = instance.number
    owner, defined = (number, memory) if memory >= 0 else (number + memory, 0)
    extern: Any = ffi.wasmtime_extern_t(native.KIND_MEMORY)
    _HANDLE.pack_into(extern, ffi.wasmtime_extern_t.of.offset, instance.store_id, owner, defined)
    if Own(context, extern).address() != address:
        raise RuntimeError("a shared memory was not found in its store: is this the pinned engine?")
    return extern


def linear(context: native.Context, extern: native.Extern) -> Linear:
    """The memory that an instance of this store exports."""
    return Shared(extern) if extern.kind == KIND_SHARED else Own(context, extern)


def _done(error: Any) -> bool:
    if error:
        ffi.wasmtime_error_delete(error)
    return not error
