"""Host calls that the engine answers itself, at machine speed.

Asking Python for the time takes 0.8 us, asking wasmtime's own WASI 0.1. So a function that needs
nothing of what the guest holds (``protocol.Shortcut``) is imported through a *door* of ours::

    guest --> door --> answer --> wasmtime's function, which writes into a page of the answer's own;
                          |       from there the result is copied into the guest's memory
                          `-----> the long way: the host function, as if there were no door

The door is there because the answer imports the guest's memory, which is not there yet when the
guest's imports must be: its table is filled afterwards. The answer takes the long way whenever
anything is unusual (a pointer outside, another clock), so that errors are the host's own, and
always while ``on`` is 0: the host is asked each time before the guest runs.

The engine's monotonic clock begins at some moment of its own, which is found by reading both clocks.
Of its bounds the later one is taken: the guest's clock is ahead of the host's by at most the time
between two readings (``CLOCK_AHEAD_NS_MAX``), and never behind.
"""

from __future__ import annotations

import ctypes
import struct
import time
from functools import lru_cache
from typing import Any, NamedTuple

from wasnap.engine import config, ffi, native, values
from wasnap.engine.cache import Cache
from wasnap.engine.code import compiled_text
from wasnap.engine.objects import Store, check
from wasnap.host.protocol import CLOCK, CLOCK_AHEAD_NS_MAX, RANDOM, Shortcut

_PREVIEW1 = "wasi_snapshot_preview1"
_READINGS = 5


class _Recipe(NamedTuple):
    """One answer: the function, and the code that gives 0 or branches to ``$unusual``."""

    name: str
    params: tuple[str, ...]
    answer: str
    more: str = ""

    def text(self, template: str) -> str:
        """A module for it."""
        return template.format(
            type=f"(param {' '.join(self.params)}) (result i32)",
            arguments=" ".join(f"(local.get {i})" for i in range(len(self.params))),
            answer=self.answer,
            more=self.more,
        )


_RECIPES = {
    CLOCK: _Recipe(
        "clock_time_get",
        ("i32", "i64", "i32"),
        """(br_if $unusual (i32.gt_u (local.get 0) (i32.const 1)))
      (br_if $unusual (call $outside (local.get 2) (i32.const 8)))
      (br_if $unusual (call $native (local.get 0) (i64.const 0) (i32.const 0)))
      (i64.store $guest (local.get 2) (i64.add (i64.load $own (i32.const 0))
        (select (global.get $offset) (i64.const 0) (local.get 0))))""",
        """(func (export "now") (result i64)
    (drop (call $native (i32.const 1) (i64.const 0) (i32.const 0)))
    (i64.load $own (i32.const 0)))""",
    ),
    RANDOM: _Recipe(
        "random_get",
        ("i32", "i32"),
        """(br_if $unusual (i32.gt_u (local.get 1) (i32.const 65536)))
      (br_if $unusual (call $outside (local.get 0) (local.get 1)))
      (br_if $unusual (call $native (i32.const 0) (local.get 1)))
      (memory.copy $guest $own (local.get 0) (i32.const 0) (local.get 1))""",
    ),
}

_DOOR = """(module
  (type $t (func {type}))
  (table (export "table") 1 funcref)
  (func (export "call") (type $t)
    {arguments} (call_indirect (type $t) (i32.const 0))))
"""

_ANSWER = """(module
  (type $t (func {type}))
  (import "" "table" (table 1 funcref))
  (import "" "long way" (func $long_way (type $t)))
  (import "" "native" (func $native (type $t)))
  (import "" "memory" (memory $guest 0))
  (memory $own (export "memory") 1)
  (global $on (export "on") (mut i64) (i64.const 0))
  (global $offset (export "offset") (mut i64) (i64.const 0))
  (elem (i32.const 0) func $answer)
  (func $outside (param $address i32) (param $length i32) (result i32)
    (i64.gt_u
      (i64.add (i64.extend_i32_u (local.get $address)) (i64.extend_i32_u (local.get $length)))
      (i64.shl (i64.extend_i32_u (memory.size $guest)) (i64.const 16))))
  {more}
  (func $answer (type $t)
    (block $unusual
      (br_if $unusual (i64.eqz (global.get $on)))
      {answer}
      (return (i32.const 0)))
    {arguments} (call $long_way)))
"""


class Shortcuts:
    """The shortcuts of one guest: ``door`` while it is linked, then ``connect``, then ``arm``."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._context = store.context
        self._cache = cache
        self._doors: list[tuple[Shortcut, native.Extern, native.Extern]] = []
        self._answers: list[_Answer] = []

    def door(self, shortcut: Shortcut, long_way: native.Extern) -> native.Extern:
        """What the guest imports instead of ``long_way``; not to be called before ``connect``."""
        module = compiled_text(_RECIPES[shortcut.kind].text(_DOOR), self._cache)
        instance = native.instantiate(self._context, module, ())
        table = native.export(self._context, instance, "table")
        call = native.export(self._context, instance, "call")
        assert table is not None and call is not None
        self._doors.append((shortcut, table, long_way))
        return call

    def connect(self, memory: native.Extern) -> None:
        """Put the answers behind the doors. ``memory``: the guest's, with 32-bit addresses."""
        if self._doors:
            granted = ffi.wasi_config_new()  # nothing
            check(ffi.wasmtime_context_set_wasi(self._context, granted))
        for shortcut, table, long_way in self._doors:
            recipe = _RECIPES[shortcut.kind]
            module = compiled_text(recipe.text(_ANSWER), self._cache)
            externs = (table, long_way, _wasi_function(self._context, recipe.name), memory)
            instance = native.instantiate(self._context, module, externs)
            began = _began(self._context, instance) if shortcut.kind == CLOCK else 0
            if began is not None:
                self._answers.append(_Answer(self._context, instance, shortcut, began))

    def arm(self) -> None:
        """Ask the host which of them may be taken, before the guest runs."""
        for answer in self._answers:
            answer.arm()


class _Answer:
    """The instance behind a door, and what it was told."""

    def __init__(
        self, context: native.Context, instance: Any, shortcut: Shortcut, began: int
    ) -> None:
        self._context = context
        self._shortcut = shortcut
        self._began = began
        self._globals = {name: native.export(context, instance, name) for name in ("on", "offset")}
        self._told = {"on": 0, "offset": 0}

    def arm(self) -> None:
        offset = self._shortcut.offset()
        if offset is not None:
            self._tell("offset", self._began + offset)
        self._tell("on", int(offset is not None))

    def _tell(self, name: str, number: int) -> None:
        if self._told[name] == number:
            return
        value: Any = ffi.wasmtime_val_t(kind=1)  # WASMTIME_I64
        value.of.i64 = number
        extern: Any = self._globals[name]
        check(
            ffi.wasmtime_global_set(
                self._context, ctypes.byref(extern.of.global_), ctypes.byref(value)
            )
        )
        self._told[name] = number


@lru_cache(maxsize=1)
def _wasi() -> int:
    """wasmtime's own WASI, of which we take a function or two (address of a wasmtime_linker_t)."""
    linker: int = ffi.wasmtime_linker_new(config.engine())
    check(ffi.wasmtime_linker_define_wasi(linker))
    return linker


def _wasi_function(context: native.Context, name: str) -> native.Extern:
    module, function = _PREVIEW1.encode(), name.encode()
    extern = ffi.wasmtime_extern_t()
    found = ffi.wasmtime_linker_get(
        _wasi(), context, module, len(module), function, len(function), ctypes.byref(extern)
    )
    assert found and extern.kind == native.KIND_FUNC, name
    return extern


def _began(context: native.Context, instance: Any) -> int | None:
    """When the engine's clock began, on the host's monotonic clock in ns (see above).

    None if the machine is too busy to tell.
    """
    now = native.export(context, instance, "now")
    assert now is not None
    function = ffi.wasmtime_func_t.from_buffer_copy(now.of.func)
    slots = values.raw_slots((), 1)
    bounds = []
    for _ in range(_READINGS):
        before = time.monotonic_ns()
        native.call(context, function, slots)
        after = time.monotonic_ns()
        bounds.append((after - before, after - struct.unpack_from("<Q", slots)[0]))
    width, began = min(bounds)
    return began if width <= CLOCK_AHEAD_NS_MAX else None
