"""Runs any module, instrumented or not, on our engine configuration with our host functions.

An instrumented module whose stop word is never set is a module like any other: so all variants are
run by the very same code, and what differs is only the module.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, TypeVar, cast

from wasnap.engine import config, ffi, native, objects, values
from wasnap.engine.call import GuestCall, Wake
from wasnap.engine.control import Control
from wasnap.engine.edge import Edge
from wasnap.engine.linear import linear
from wasnap.engine.memory import GuestMemory
from wasnap.engine.objects import Store
from wasnap.host import Host, HostConfig
from wasnap.host import Mapping as Mapped
from wasnap.host.protocol import Exit, HostFunction
from wasnap.wasm.module import Module
from wasnap.wasm.types import FuncType

T = TypeVar("T")
FUNCTION = 0
_SILENT = os.open(os.devnull, os.O_RDWR)


def on_guest_thread(work: Callable[[], T]) -> T:
    """Call ``work`` on a thread with a stack as deep as a guest thread's."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    before = threading.stack_size(config.THREAD_STACK)
    thread = threading.Thread(target=body)
    thread.start()
    threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class Runnable(NamedTuple):
    """A compiled module, and the types of the functions it imports, by name."""

    module: objects.Module
    types: Mapping[tuple[str, str], FuncType]


def function_imports(module: Module) -> dict[tuple[str, str], FuncType]:
    """The types of the functions a module imports, by name."""
    functions = (i for i in module.imports if i.kind == FUNCTION)
    return {(i.module, i.name): module.types[cast(int, i.type)] for i in functions}


def run_seconds(program: Runnable, args: Sequence[str], dirs: Mapping[str, Path]) -> float:
    """Run a command to its end in a new store; its output is dropped. How long ``_start`` took.

    Processor seconds of its thread: what else the machine does counts less. RuntimeError if
    it does not end with exit code 0.
    """
    mapped = tuple(Mapped(os.fspath(host), guest) for guest, host in dirs.items())
    host = Host(HostConfig(("guest", *args), {}, mapped, _SILENT, _SILENT, _SILENT))
    try:
        return on_guest_thread(lambda: _run(program, host))
    finally:
        host.close()


def _run(program: Runnable, host: Host) -> float:
    store = Store(config.engine())
    context = store.context
    wake = Wake()
    call = GuestCall(wake)
    edge = Edge(context, call)
    externs = []
    for entry in native.imports(program.module):
        wanted = program.types[entry.module, entry.name]
        function = host.function(entry.module, entry.name, (wanted.params, wanted.results))
        externs.append(edge.function(entry, function or _nothing(entry, wanted), wanted))
    instance = native.instantiate(context, program.module, externs)
    never = SimpleNamespace(stop=False, depth=0, stopping=lambda: False)
    memory = GuestMemory(linear(context, native.export(context, instance, "memory")))
    call.attach((memory,), cast(Control, never))
    start = native.export(context, instance, "_start")
    assert start is not None
    code = ffi.wasmtime_func_t.from_buffer_copy(start.of.func)
    begun = time.thread_time()
    ended = native.call(context, code, values.raw_slots((), 0))
    seconds = time.thread_time() - begun
    raised = edge.take()
    store.close()
    wake.close()
    if isinstance(raised, Exit):
        if raised.code:
            raise RuntimeError(f"the guest's exit code is {raised.code}")
    elif raised is not None or ended is not None:
        raise RuntimeError(f"the guest trapped: {raised or ended}")
    return seconds


def _nothing(entry: native.ImportEntry, wanted: FuncType) -> HostFunction:
    """For imports that a guest names and never calls (MicroPython's own two)."""

    def call(_call: object, *_args: int) -> int:
        raise RuntimeError(f"{entry.module}.{entry.name} was called after all")

    return HostFunction(entry.module, entry.name, wanted.params, wanted.results, call)


def code_bytes(module: objects.Module) -> int:
    """The size of a module's compiled code with its tables."""
    return len(module.serialized())
