"""Guest linear memory as the host reads and writes it, and how it is restored.

Fast path: a memoryview over the whole memory, made once. A memory never moves (config.py) and never
shrinks, so the view stays good; an access beyond its end looks whether the memory has grown, and
only then raises ``Fault``. Reading a u32 takes about 0.15 us.

How it is made equal to a saved image stands in image.py.
"""

from __future__ import annotations

import ctypes
from struct import Struct
from struct import error as StructError
from typing import Protocol

from wasnap.engine import native
from wasnap.engine.image import MemoryImage, place, window
from wasnap.engine.linear import Linear
from wasnap.errors import CannotResume
from wasnap.host.protocol import Fault

_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_U64 = Struct("<Q")
_unpack_u32, _pack_u32 = _U32.unpack_from, _U32.pack_into
_unpack_u64, _pack_u64 = _U64.unpack_from, _U64.pack_into

_OUTSIDE = (StructError, OverflowError, IndexError)
"""What Struct raises for offsets beyond the buffer, some of them beyond ssize_t."""


class Watched(Protocol):
    """Private memory (none that another process sees) that never moves and never shrinks.

    ``address`` and sizes: in bytes, of whole pages. ``least_size``: may be asked from any thread
    while the guest runs; what has been there since the guest was last stopped, or more.
    """

    address: int

    @property
    def size(self) -> int: ...
    def least_size(self) -> int: ...


class GuestMemory:
    """One linear memory. Implements ``host.protocol.Memory``; ``memory`` None: always empty.

    One object serves all threads of a shared memory: its view is replaced before its size.
    """

    __slots__ = ("_linear", "_size", "_view", "address", "page_size")

    def __init__(self, memory: Linear | None) -> None:
        self._linear = memory
        self._size = 0
        self._view = memoryview(bytearray())
        self.address = 0
        self.page_size = 1 << 16
        if memory is not None:
            self.page_size = memory.page_size
            self._refresh()

    @property
    def extern(self) -> native.Extern:
        """What an instance imports it by."""
        assert self._linear is not None
        return self._linear.extern

    def _refresh(self) -> bool:
        """Look whether the memory has grown; if so, take the new size and say True."""
        if self._linear is None:
            return False
        size = self._linear.size()
        if size == self._size and self.address:
            return False
        self.address = self._linear.address()
        self._view = window(self.address, size)
        self._size = size
        return True

    def close(self) -> None:
        """It is going away: every later access is a Fault."""
        if self._linear is not None:
            self._linear.free()
        self._linear = None
        self._view = memoryview(bytearray())
        self._size = 0

    @property
    def size(self) -> int:
        """Present size in bytes."""
        self._refresh()
        return self._size

    def least_size(self) -> int:
        """What it had when it was last asked for ``size``, or more; from any thread.

        The engine must not be asked while the guest runs in it, but the kernel knows how far the
        memory is accessible.
        """
        return max(self._size, _accessible_end(self.address) - self.address)

    def _fault(self, ptr: int, length: int) -> Fault:
        return Fault(ptr, length, self._size)

    def _check(self, ptr: int, n: int) -> None:
        if (ptr + n > self._size and not (self._refresh() and ptr + n <= self._size)) or ptr < 0:
            raise self._fault(ptr, n)

    def read(self, ptr: int, n: int) -> bytes:
        """A copy of n bytes."""
        if ptr + n > self._size or ptr < 0:
            self._check(ptr, n)
        return self._view[ptr : ptr + n].tobytes()

    def view(self, ptr: int, n: int) -> memoryview:
        """A writable window of n bytes."""
        if ptr + n > self._size or ptr < 0:
            self._check(ptr, n)
        return self._view[ptr : ptr + n]

    def write(self, ptr: int, data: bytes | bytearray | memoryview) -> None:
        """Store the bytes."""
        n = len(data) if not isinstance(data, memoryview) else data.nbytes
        if ptr + n > self._size or ptr < 0:
            self._check(ptr, n)
        self._view[ptr : ptr + n] = data if not isinstance(data, memoryview) else data.cast("B")

    def _load(self, kind: Struct, ptr: int) -> int:
        self._check(ptr, kind.size)
        value: int = kind.unpack_from(self._view, ptr)[0]
        return value

    def _store(self, kind: Struct, ptr: int, value: int) -> None:
        self._check(ptr, kind.size)
        kind.pack_into(self._view, ptr, value)

    def u8(self, ptr: int) -> int:
        return self._load(_U8, ptr)

    def u16(self, ptr: int) -> int:
        return self._load(_U16, ptr)

    def u32(self, ptr: int) -> int:
        try:
            value: int = _unpack_u32(self._view, ptr)[0]
        except _OUTSIDE:
            return self._load(_U32, ptr)
        return value

    def u64(self, ptr: int) -> int:
        try:
            value: int = _unpack_u64(self._view, ptr)[0]
        except _OUTSIDE:
            return self._load(_U64, ptr)
        return value

    def atomic(self, ptr: int, width: int) -> int:
        """The aligned number of 4 or 8 bytes there, in one load."""
        self._check(ptr, width)
        kind = ctypes.c_uint32 if width == 4 else ctypes.c_uint64
        return kind.from_address(self.address + ptr).value

    def set_u8(self, ptr: int, value: int) -> None:
        self._store(_U8, ptr, value & 0xFF)

    def set_u16(self, ptr: int, value: int) -> None:
        self._store(_U16, ptr, value & 0xFFFF)

    def set_u32(self, ptr: int, value: int) -> None:
        try:
            _pack_u32(self._view, ptr, value & 0xFFFFFFFF)
        except _OUTSIDE:
            self._store(_U32, ptr, value & 0xFFFFFFFF)

    def set_u64(self, ptr: int, value: int) -> None:
        try:
            _pack_u64(self._view, ptr, value & 0xFFFFFFFFFFFFFFFF)
        except _OUTSIDE:
            self._store(_U64, ptr, value & 0xFFFFFFFFFFFFFFFF)

    def grow_to(self, size: int) -> None:
        """Grow to at least ``size`` bytes. Raises CannotResume where the engine refuses."""
        missing = size - self.size
        if missing <= 0:
            return
        if self._linear is None or not self._linear.grow(-(-missing // self.page_size)):
            raise CannotResume(f"a memory of {size} bytes cannot be had here")
        self._refresh()

    def restore(self, image: MemoryImage) -> None:
        """Make this memory, of a fresh instance, equal to the image."""
        if self._linear is None or image.size < self.size:
            raise CannotResume("the snapshot's memory is smaller than the module's own")
        self.grow_to(image.size)
        if self._size != image.size:
            raise CannotResume(f"the snapshot's memory has an odd size: {image.size} bytes")
        place(self.address, image)


def _accessible_end(address: int) -> int:
    """Where the memory ends that lies at ``address`` and can be written to."""
    end = address
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            low, high = (int(each, 16) for each in line[: line.index(b" ")].split(b"-"))
            if low <= end < high:
                if line[line.index(b" ") + 2 : line.index(b" ") + 3] != b"w":
                    break
                end = high
    return end
