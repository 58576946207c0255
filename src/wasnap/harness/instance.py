"""Any export of any module, stopped at every n-th safepoint, captured, and gone on with.

    invoke(module, "fib", [20], stop_every=1)           -> 6765
    instance = Instance(module, imports={("env", "print"): print}, stop_every=3)
    instance.invoke("step", [1]); instance.get("counter")

Values: i32 and i64 are signed ints, f32 and f64 floats, a v128 is 16 bytes. With ``raw`` they are
all unsigned ints with the value's bits, which keeps what a NaN carries; a reference can only be
given as 0 (null), and is 0 or not 0 where it comes back.

Imports come by (module, name), or by module and then by name. One is a Python function that takes
and returns such values (a tuple for several, None for none), a number for a global, or a
``Global``, ``Memory`` or ``Table`` from here. What a function raises ends the call and comes out of
``invoke``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from wasnap import engine
from wasnap.engine import (
    BufferExtent,
    Cache,
    Definition,
    Exited,
    Failed,
    Finished,
    MemoryImage,
    Program,
    Stopped,
    Trapped,
)
from wasnap.engine import GlobalDefinition as Global
from wasnap.engine import MemoryDefinition as Memory
from wasnap.engine import TableDefinition as Table
from wasnap.errors import UsageError
from wasnap.host import SystemClock
from wasnap.host.futex import Futexes
from wasnap.host.protocol import Call, HostFunction
from wasnap.instrument import abi
from wasnap.wasm.decode import decode
from wasnap.wasm.types import F32, F64, I32, I64, V128, GlobalType

__all__ = ["Global", "Instance", "Memory", "Table", "invoke"]

Value: TypeAlias = int | float | bytes
Result: TypeAlias = Value | tuple[Value, ...] | None
Import: TypeAlias = Callable[..., Any] | int | float | Global | Memory | Table | HostFunction
"""A ``HostFunction`` is what it is: it gets the ``Call``, and raw values."""

Imports: TypeAlias = Mapping[Any, Any]
"""``Import``s by (module, name), or by module, then by name."""

_FLOATS = {F32: Struct("<f"), F64: Struct("<d")}
_BITS = {I32: 32, I64: 64}


class Signature(NamedTuple):
    """Value types of a function's parameters and results."""

    params: bytes
    results: bytes


class Instance:
    """One module's instance, which keeps its state from one call to the next. Close it when done.

    ``stop_every``: at how many safepoints, each time, it is stopped and captured; 0: never.
    ``fresh``: what was captured goes on in a new instance, and not where it was. The start function
    is run now, and stopped like everything else. ``stops``: how often that was done.

    Raises InvalidModule, UnsupportedModule, UnknownImport; GuestTrap where instantiation traps.
    """

    def __init__(
        self,
        module: bytes,
        imports: Imports | None = None,
        *,
        stop_every: int = 1,
        fresh: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self.stops = 0
        self._every = stop_every
        self._fresh = fresh
        self._program = Program.load(module, counted=True, cache=cache)
        self._types = {
            (i.module, i.name): Signature(i.params, i.results) for i in self._program.info.imports
        }
        self._imports = _defined(module, _flat(imports or {}))
        clock = SystemClock()
        self._futexes = Futexes(lambda: clock).functions()
        self._guest = self._new_guest()
        if self._program.info.has_start:
            try:
                self._call(abi.START, [])
            except BaseException:
                self.close()
                raise

    def invoke(self, export: str, args: Sequence[Any] = (), *, raw: bool = False) -> Result:
        """Call an exported function; None, its one result, or a tuple of several.

        Raises GuestTrap if it traps, UnsupportedModule if there is none, UsageError for arguments
        that do not fit, and whatever an import raised.
        """
        type_ = self._guest.signature(export)
        if len(args) != len(type_.params):
            raise UsageError(f"{export} takes {len(type_.params)} arguments, not {len(args)}")
        raws = [
            argument if raw else to_raw(t, argument)
            for t, argument in zip(type_.params, args, strict=True)
        ]
        found = self._call(export, raws)
        values = [r if raw else from_raw(t, r) for t, r in zip(type_.results, found, strict=True)]
        if len(values) < 2:
            return values[0] if values else None
        return tuple(values)

    def get(self, name: str, *, raw: bool = False) -> Value:
        """The value of an exported global. Raises UnsupportedModule if there is none."""
        type_, value = self._guest.global_value(name)
        return value if raw else from_raw(type_, value)

    def signature(self, export: str) -> Signature:
        """The type of an exported function. Raises UnsupportedModule if there is none."""
        type_ = self._guest.signature(export)
        return Signature(type_.params, type_.results)

    def close(self) -> None:
        """Free it."""
        self._guest.close()

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, export: str, raws: Sequence[int]) -> tuple[int, ...]:
        self._guest.call(export, raws, countdown=self._every)
        while True:
            match self._guest.wait():
                case Stopped():
                    self._go_on()
                case Finished(results):
                    return results
                case Trapped(trap):
                    raise trap
                case Failed(error):
                    raise error
                case Exited(code):
                    raise SystemExit(code)

    def _go_on(self) -> None:
        self.stops += 1
        state = self._guest.capture()
        if self._fresh:
            images = [
                MemoryImage(memory.size, [BufferExtent(0, memory.read(0, memory.size))])
                for memory in self._guest.memories
            ]
            self._guest.close()
            self._guest = self._new_guest()
            self._guest.restore(state, images)
        self._guest.proceed(countdown=self._every)

    def _new_guest(self) -> engine.Guest:
        return engine.Guest(self._program, self._provide, name="harness")

    def _provide(self, module: str, name: str) -> Definition | None:
        given = self._imports.get((module, name)) or self._futexes.get((module, name))
        if isinstance(given, HostFunction):
            return given
        if given is None or isinstance(given, (Global, Memory, Table)):
            return given
        type_ = self._types.get((module, name))
        return None if type_ is None else _host_function(module, name, type_, given)


def invoke(
    module: bytes,
    export: str,
    args: Sequence[Any] = (),
    imports: Imports | None = None,
    *,
    stop_every: int = 1,
    fresh: bool = False,
    raw: bool = False,
) -> Result:
    """Run one export of a new ``Instance``; its result. See there for everything."""
    with Instance(module, imports, stop_every=stop_every, fresh=fresh) as instance:
        return instance.invoke(export, args, raw=raw)


def to_raw(type_: int, value: Any) -> int:
    """The bits of a value, as an unsigned int."""
    if type_ in _BITS:
        return int(value) & ((1 << _BITS[type_]) - 1)
    if type_ in _FLOATS:
        return int.from_bytes(_FLOATS[type_].pack(value), "little")
    if type_ == V128:
        return int.from_bytes(value, "little")
    if value is None or value == 0:
        return 0
    raise UsageError("a reference can only be given as null")


def from_raw(type_: int, raw: int) -> Value:
    """The value with these bits."""
    if type_ in _BITS:
        bits = _BITS[type_]
        return raw - (1 << bits) if raw >> (bits - 1) else raw
    if type_ in _FLOATS:
        struct = _FLOATS[type_]
        value: float = struct.unpack(raw.to_bytes(struct.size, "little"))[0]
        return value
    if type_ == V128:
        return raw.to_bytes(16, "little")
    return raw


def _flat(imports: Imports) -> dict[tuple[str, str], Import]:
    """Imports by (module, name)."""
    found: dict[tuple[str, str], Import] = {}
    for key, given in imports.items():
        if isinstance(key, tuple):
            found[key] = given
        else:
            found.update(((key, name), each) for name, each in given.items())
    return found


def _defined(
    module: bytes, imports: dict[tuple[str, str], Import]
) -> dict[tuple[str, str], Definition | Callable[..., Any]]:
    """The same, with numbers as globals of the types that the module asks for."""
    numbers = {name for name, given in imports.items() if isinstance(given, (int, float))}
    types = {}
    if numbers:
        types = {
            (i.module, i.name): i.type.value
            for i in decode(module).imports
            if isinstance(i.type, GlobalType)
        }
    found: dict[tuple[str, str], Definition | Callable[..., Any]] = {}
    for name, given in imports.items():
        if not isinstance(given, (int, float)):
            found[name] = given
        elif name in types:
            found[name] = Global(to_raw(types[name], given))
    return found


def _host_function(
    module: str, name: str, type_: Signature, function: Callable[..., Any]
) -> HostFunction:
    def call(_: Call, *args: Value) -> Any:
        return function(*(_signed(t, a) for t, a in zip(type_.params, args, strict=True)))

    return HostFunction(module, name, type_.params, type_.results, call)


def _signed(type_: int, value: Value) -> Value:
    return from_raw(type_, value) if type_ in _BITS and isinstance(value, int) else value
