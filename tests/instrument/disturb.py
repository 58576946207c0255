"""A guest on the plain engine, and the same one stopped as often as can be: nothing may differ.

Guests here are small modules in text. Their entry gives ints only (a float is reinterpreted by the
guest), so results are compared bit by bit; what they call of ``h.see`` is compared, too, and how
they trap. Before a guest is run, its instrumented module and every one of its continuations must
be valid for the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import wasmtime
import yardstick

from wasnap.engine import (
    BufferExtent,
    Finished,
    Guest,
    MemoryImage,
    Program,
    Stopped,
    Trapped,
)
from wasnap.engine.code import validate
from wasnap.errors import GuestTrap
from wasnap.harness import Instance
from wasnap.harness.instance import from_raw
from wasnap.host.protocol import Call, HostFunction
from wasnap.instrument import Continuations, ProgramInfo, Site, abi, instrument
from wasnap.wasm.decode import decode

EVERY = (1, 2, 3, 7)


class Run(NamedTuple):
    """What an entry gave, or how it trapped; what it passed to ``h.see``."""

    results: tuple[int, ...]
    trap: str
    seen: list[tuple[int, ...]]


def wasm(text: str) -> bytes:
    """The module of a text."""
    return bytes(wasmtime.wat2wasm(text))


def plain(module: bytes, entry: str = "run", args: Sequence[int] = ()) -> Run:
    """The entry on the engine alone: no transform, none of our host."""
    seen: list[tuple[int, ...]] = []

    def see(*values: int) -> int:
        seen.append(values)
        return seen_result(len(seen))

    store = wasmtime.Store(yardstick.engine())
    compiled = wasmtime.Module(yardstick.engine(), module)
    imports = [
        wasmtime.Func(store, i.type, see)
        for i in compiled.imports
        if isinstance(i.type, wasmtime.FuncType)
    ]
    results: tuple[int, ...] = ()
    trap = ""
    try:
        instance = wasmtime.Instance(store, compiled, imports)
        function = instance.exports(store)[entry]
        assert isinstance(function, wasmtime.Func)
        found = function(store, *args)
        results = () if found is None else tuple(found) if isinstance(found, list) else (found,)
    except wasmtime.Trap as error:
        trap = kind(error.message)
    except wasmtime.WasmtimeError as error:
        trap = kind(str(error))
    return Run(results, trap, seen)


def disturbed(
    module: bytes, entry: str = "run", args: Sequence[int] = (), *, every: int, fresh: bool
) -> tuple[Run, int]:
    """The same, stopped at every so-manieth safepoint; and how often it was stopped."""
    seen: list[tuple[int, ...]] = []

    def see(*values: int) -> int:
        seen.append(values)
        return seen_result(len(seen))

    imports = {("h", "see"): see}
    stops = 0
    results: tuple[int, ...] = ()
    trap = ""
    try:
        with Instance(module, imports, stop_every=every, fresh=fresh) as instance:
            try:
                found = instance.invoke(entry, args)
                results = (
                    ()
                    if found is None
                    else tuple(map(int, found))
                    if isinstance(found, tuple)
                    else (int(found),)
                )
            finally:
                stops = instance.stops
    except GuestTrap as error:
        trap = kind(error.message)
    return Run(results, trap, seen), stops


def asked(module: bytes, args: Sequence[int] = (), *, every: int, fresh: bool) -> tuple[Run, int]:
    """The same without counting: every so-manieth call of ``h.see`` asks for a stop.

    This is the code that users run; where it stops next is the poll behind that call, or, below a
    call that nothing may stop in, one further out.
    """
    program = Program.load(module)
    seen: list[tuple[int, ...]] = []
    guests: list[Guest] = []
    types = {(i.module, i.name): (i.params, i.results) for i in program.info.imports}

    def see(call: Call, value: int) -> int:
        seen.append((value - (value >> 31 << 32),))
        if len(seen) % every == 0:
            guests[-1].stop()
        return seen_result(len(seen))

    def provide(name: str, function: str) -> HostFunction | None:
        type = types.get((name, function))
        return None if type is None else HostFunction(name, function, *type, see)

    def new() -> Guest:
        guests.append(Guest(program, provide))
        return guests[-1]

    given = tuple(value & 0xFFFFFFFF for value in args)
    raws: tuple[int, ...] = ()
    stops = 0
    guest = new()
    begun = [abi.START] if program.info.has_start else []
    try:
        for entry in [*begun, "run"]:
            guest.call(entry, () if entry == abi.START else given)
            while isinstance(event := guest.wait(), Stopped):
                stops += 1
                guest = again(guest, new()) if fresh else guest
                guest.proceed()
            if isinstance(event, Trapped):
                return Run((), kind(event.trap.message), seen), stops
            assert isinstance(event, Finished), event
            raws = event.results
        types_ = guest.signature("run").results
        results = [from_raw(t, r) for t, r in zip(types_, raws, strict=True)]
        return Run(tuple(map(int, results)), "", seen), stops
    finally:
        guest.close()


def again(guest: Guest, other: Guest) -> Guest:
    """The other guest, made equal to this one, which is closed."""
    state = guest.capture()
    images = [MemoryImage(m.size, [BufferExtent(0, m.read(0, m.size))]) for m in guest.memories]
    guest.close()
    other.restore(state, images)
    return other


def seen_result(n: int) -> int:
    """What the n-th call of ``h.see`` returns."""
    return n * 37 % 101


def kind(message: str) -> str:
    """The sort of a trap, whoever words it."""
    known = ("unreachable", "divide by zero", "out of bounds", "overflow", "uncaught", "stack")
    text = message.lower().replace("thrown wasm exception", "uncaught").replace("_", " ")
    for word in known:
        if word in text:
            return word
    return text


def sites(module: bytes, *, counted: bool = False) -> tuple[ProgramInfo, list[Site]]:
    """Instrument the module; every module that comes of it is valid. Its safepoints."""
    instrumented = instrument(decode(module), counted=counted)
    validate(instrumented.wasm)
    continuations = Continuations(decode(module), instrumented.info)
    found = []
    for number in range(instrumented.info.site_bases[-1]):
        try:
            site = continuations.site(number)
        except ValueError:
            continue  # a call that cannot suspend, or below which nothing may
        validate(continuations.module_for(number))
        found.append(site)
    return instrumented.info, found


def same_everywhere(
    text: str | bytes, args: Sequence[int] = (), *, every: Sequence[int] = EVERY, stops: int = 1
) -> Run:
    """Compare all; ``stops``: how often it must at least have been stopped. The plain run."""
    module = wasm(text) if isinstance(text, str) else text
    validate(module)
    for counted in (False, True):
        sites(module, counted=counted)
    wanted = plain(module, args=args)
    for n in every:
        for fresh in (False, True):
            found, stopped = disturbed(module, args=args, every=n, fresh=fresh)
            assert found == wanted, f"stopped {stopped} times, every={n} fresh={fresh}"
            if n == 1:
                assert stopped >= stops
            found, stopped = asked(module, args, every=n, fresh=fresh)
            assert found == wanted, f"asked for {stopped} stops, every={n} fresh={fresh}"
    return wanted
