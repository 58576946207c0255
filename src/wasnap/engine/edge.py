"""Where the guest calls the host: each import becomes an unchecked function of the engine.

The engine hands over one array of 16-byte slots, arguments in, results out. For each signature an
adaptor is generated that unpacks the slots with one ``Struct``, calls the host function, and packs
what it returns; it costs about 0.3 us, where wasmtime-py's ``Func`` costs 7.

Nothing may be raised through the engine. Everything a host function raises is caught here, kept in
this guest thread's own slot (``Edge.raised``; wasmtime-py has one for the whole process and mixes
threads up), and turned into a trap; whoever called into the guest takes it out again. Only a
suspension does not trap: the call is recorded, the stop word set, and zeros returned, so that the
guest unwinds.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from wasnap.engine import ffi, native, objects, values
from wasnap.engine.call import GuestCall
from wasnap.engine.native import SPACE
from wasnap.engine.state import PendingCall
from wasnap.errors import UnknownImport, UnsupportedModule
from wasnap.host.protocol import HostFunction, Progress, Result, Stop, Suspended, Unwind
from wasnap.wasm.types import F32, F64, I32, I64, VALUE_TYPE_NAMES, FuncType

# env, caller, slots -> trap. The fourth argument, the number of slots, is not needed.
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t)
_new_unchecked = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 6)(
    ("wasmtime_func_new_unchecked", ffi.dll)
)

_KINDS = {I32: 0, I64: 1, F32: 2, F64: 3}
"""wasm_valkind_t."""

Caught = Callable[[BaseException, HostFunction, int], int]


class Edge:
    """The host calls of one guest thread.

    ``raised``: what a host function raised, taken by ``take``; ``pending``: the suspended call.
    ``lock``: the one for host functions that run alone; None where there is but one thread.
    """

    def __init__(
        self, context: native.Context, call: GuestCall, lock: threading.Lock | None = None
    ) -> None:
        self.call = call
        self._lock = lock
        self.pending: PendingCall | None = None
        self.unwinds = False
        """The pending call suspended only to be completed at once."""
        self.raised: BaseException | None = None
        self._context = context
        self._callbacks: list[Any] = []  # must outlive the store

    def function(self, entry: native.ImportEntry, host: HostFunction, wanted: FuncType) -> Any:
        """The engine's extern for one import."""
        label = f"{entry.module}.{entry.name}"
        if (host.params, host.results) != (wanted.params, wanted.results):
            raise UnknownImport(
                f"the module imports {label} as {wanted}, "
                f"but it is {FuncType(host.params, host.results)}"
            )
        for type_ in wanted.params + wanted.results:
            if type_ not in values.FORMAT:
                name = VALUE_TYPE_NAMES.get(type_, hex(type_))
                raise UnsupportedModule(f"the import {label} passes a {name}")
        return self._function(ffi.wasm_externtype_as_functype_const(entry.type), host)

    def helper(self, host: HostFunction) -> Any:
        """The engine's extern for a function of numbers that the transform calls."""
        params, results = ([_KINDS[t] for t in ts] for ts in (host.params, host.results))
        type_ = objects.function_type(params, results)
        try:
            return self._function(type_, host)
        finally:
            ffi.wasm_functype_delete(type_)

    def _function(self, type_: Any, host: HostFunction) -> Any:
        host = self._alone(host)
        make = _adaptor_maker(host.params, host.results)
        callback = _CALLBACK(make(self.call, host, self._caught))
        self._callbacks.append(callback)
        extern = ffi.wasmtime_extern_t(kind=native.KIND_FUNC)
        _new_unchecked(
            self._context,
            type_,
            ctypes.cast(callback, ctypes.c_void_p),
            None,
            None,
            ctypes.addressof(extern) + ffi.wasmtime_extern_t.of.offset,
        )
        return extern

    def _alone(self, host: HostFunction) -> HostFunction:
        """The function as it is called where there may be other threads."""
        if self._lock is None or not host.alone:
            return host
        lock, function = self._lock, host.call

        def call(call: GuestCall, *args: Any) -> Result:
            with lock:
                call.lock = lock
                try:
                    return function(call, *args)
                finally:
                    call.lock = None

        return host._replace(call=call)

    def take(self) -> BaseException | None:
        """What a host function raised since the last time, if anything."""
        raised, self.raised = self.raised, None
        return raised

    def complete(self, host: HostFunction) -> tuple[values.Value, ...]:
        """Complete the pending call, outside of the guest; its results.

        Whatever the function raises passes through; on ``Suspended`` (or ``Stop``) the call stays
        pending, with the new progress.
        """
        pending = self.pending
        assert pending is not None
        self.call.progress = pending.progress
        host = self._alone(host)
        try:
            results = values.normalised(host.call(self.call, *pending.args), host.results)
        except (Stop, Suspended) as error:
            self._suspend(error, host, pending.args, pending.progress)
            raise
        finally:
            self.call.progress = None
            self.call.interrupted = False
        self.pending = None
        return results

    def _caught(self, error: BaseException, host: HostFunction, slots: int) -> int:
        """A host function raised: 0 (zero results) if it only suspended, else a trap."""
        if isinstance(error, (Stop, Suspended)):
            args = values.slot_struct(host.params).unpack_from(SPACE, slots)
            try:
                self._suspend(error, host, args, {})
            except RuntimeError as misuse:
                error = misuse
            else:
                ctypes.memset(slots, 0, native.SLOT * len(host.results))
                return 0
        self.raised = error
        return native.new_trap(b"a host function raised an exception")

    def _suspend(
        self, error: BaseException, host: HostFunction, args: tuple[Any, ...], before: Progress
    ) -> None:
        if self.call.control.depth:
            raise RuntimeError(f"{host.module}.{host.name} suspended where it may not")
        progress = error.progress if isinstance(error, Suspended) else before
        self.unwinds = isinstance(error, Unwind)
        self.pending = PendingCall(host.module, host.name, args, progress)
        self.call.control.stop = True


@cache
def _adaptor_maker(
    params: bytes, results: bytes
) -> Callable[[GuestCall, HostFunction, Caught], Callable[[int, int, int], int]]:
    """Generate the adaptor for a signature. For (i64, i32) -> i32 it reads::

    def adaptor(_env, _caller, slots):
        try:
            r0 = function(call, *unpack(SPACE, slots))
            pack(SPACE, slots, r0 & 0xFFFFFFFF)
        except BaseException as error:
            return caught(error, host, slots)
        return 0
    """
    arguments = "*unpack(SPACE, slots)" if params else ""
    names = [f"r{i}" for i in range(len(results))]
    target = f"{', '.join(names)} = " if names else ""
    masks = {I32: " & 0xFFFFFFFF", I64: " & 0xFFFFFFFFFFFFFFFF", F32: "", F64: ""}
    packed = ", ".join(f"{n}{masks.get(t, '')}" for n, t in zip(names, results, strict=True))
    source = f"""
def make(call, host, caught):
    function = host.call
    def adaptor(_env, _caller, slots):
        try:
            {target}function(call, {arguments})
            {f"pack(SPACE, slots, {packed})" if names else "pass"}
        except BaseException as error:
            return caught(error, host, slots)
        return 0
    return adaptor
"""
    scope: dict[str, Any] = {
        "SPACE": SPACE,
        "unpack": values.slot_struct(params).unpack_from,
        "pack": values.slot_struct(results).pack_into,
    }
    exec(compile(source, f"<adaptor {FuncType(params, results)}>", "exec"), scope)
    maker: Callable[[GuestCall, HostFunction, Caught], Callable[[int, int, int], int]] = scope[
        "make"
    ]
    return maker
