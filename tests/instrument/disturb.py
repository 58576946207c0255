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

from wasnap.engine import config
from wasnap.engine.code import validate
from wasnap.errors import GuestTrap
from wasnap.harness import Instance
from wasnap.instrument import Continuations, ProgramInfo, Site, instrument
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

    store = wasmtime.Store(config.engine())
    compiled = wasmtime.Module(config.engine(), module)
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
        trap = kind(str(error.trap_code or error.message))
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
    return wanted
