"""How Python methods become functions a guest can import.

The classes of this room have one method for each function of the specification. Its parameters are
annotated; that is the wasm signature, too, once it is said how wide pointers are. A method that returns has succeeded,
and the guest gets ERRNO_SUCCESS; it fails by raising, and ``guard`` is the one place that turns
what was raised into an errno:

| raised | errno |
|---|---|
| ``Fault`` | FAULT: a pointer or length that leaves the guest's memory |
| ``OSError`` | by ``errno.of`` |
| ``NotCapable`` | NOTCAPABLE |
| ``OverflowError`` | INVAL: a number too large for the system call |
| ``MemoryError`` | NOMEM |

``Stop``, ``Suspended`` and ``Exit`` pass; anything else is our fault and passes, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from errno import ENAMETOOLONG
from typing import TypeAlias

from ..beneath import os_error
from ..descriptors import NotCapable
from ..protocol import Call, Fault, HostFunction, Memory
from ..widths import NARROW, Widths
from . import errno
from .spec import (
    ERRNO_FAULT,
    ERRNO_INVAL,
    ERRNO_NOMEM,
    ERRNO_NOSYS,
    ERRNO_NOTCAPABLE,
    ERRNO_SUCCESS,
)

I32: TypeAlias = int
"""An unsigned 32-bit number: a descriptor or flags."""
I64: TypeAlias = int
"""An unsigned 64-bit number."""
Ptr: TypeAlias = int
"""An address in the guest's memory, or the length of what lies there (witx: ``usize``)."""
Size: TypeAlias = int
"""A number of things (witx: ``size``)."""
SizeAt: TypeAlias = int
"""The address of a ``Size``, which is written there as a u32."""
LengthAt: TypeAlias = int
"""The address of a length, which is written there as a u32."""

_WRITTEN = 4
"""Bytes that methods write of a ``SizeAt`` and ``LengthAt``."""
_PATH_BYTES_MAX = 4095
"""Linux's PATH_MAX, which counts a NUL; the same for all kinds of mappings."""

_log = logging.getLogger("wasnap")
_warned: set[tuple[str, str]] = set()


def guard(method: Callable[..., None]) -> Callable[..., int]:
    """``method`` as a function that returns an errno."""

    def call(call: Call, *arguments: int) -> int:
        try:
            method(call, *arguments)
        except OSError as error:
            return errno.of(error)
        except Fault:
            return ERRNO_FAULT
        except NotCapable:
            return ERRNO_NOTCAPABLE
        except OverflowError:
            return ERRNO_INVAL
        except MemoryError:
            return ERRNO_NOMEM
        return ERRNO_SUCCESS

    return call


def host_functions(module: str, provider: object, widths: Widths = NARROW) -> list[HostFunction]:
    """The public methods of ``provider`` as functions of ``module``."""
    found = []
    types, written = widths.value_types(), widths.written()
    for name in dir(provider):
        if name.startswith("_"):
            continue
        method = getattr(provider, name)
        annotations = method.__annotations__
        parameters = [t for t in annotations.values() if t in types]
        params = b"".join([types[t] for t in parameters])
        if widths is not NARROW:
            wide = [i for i, t in enumerate(parameters) if written.get(t, 0) > _WRITTEN]
            method = _widened(method, wide) if wide else method
        if annotations["return"] == "NoReturn":
            found.append(HostFunction(module, name, params, b"", method))
        else:
            found.append(HostFunction(module, name, params, b"\x7f", guard(method)))
    return found


def _widened(method: Callable[..., None], at: Sequence[int]) -> Callable[..., None]:
    """``method``, where it writes numbers of 4 bytes at these arguments, and there is room for 8."""

    def call(call: Call, *arguments: int) -> None:
        for i in at:
            call.memory.view(arguments[i], 2 * _WRITTEN)
        method(call, *arguments)
        for i in at:
            call.memory.set_u32(arguments[i] + _WRITTEN, 0)

    return call


def missing(module: str, name: str, params: bytes, results: bytes) -> HostFunction:
    """A function of a WASI module that we do not have: ERRNO_NOSYS, and one warning when called."""
    result = tuple(ERRNO_NOSYS if i == 0 else 0 for i in range(len(results)))

    def call(call: Call, *arguments: int) -> tuple[int, ...] | int | None:
        if (module, name) not in _warned:
            _warned.add((module, name))
            _log.warning("%s.%s is not implemented: it gives ENOSYS", module, name)
        return result if len(result) > 1 else result[0] if result else None

    return HostFunction(module, name, params, results, call)


def read_path(memory: Memory, ptr: int, length: int) -> bytes:
    """A path argument, or a symbolic link's target. NUL in it: INVAL; too long: NAMETOOLONG."""
    if length > _PATH_BYTES_MAX:
        memory.view(ptr, length)  # or a Fault
        raise os_error(ENAMETOOLONG)
    path = memory.read(ptr, length)
    if 0 in path:
        raise errno.invalid("NUL in a path")
    return path
