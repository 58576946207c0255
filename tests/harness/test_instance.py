"""``harness.invoke`` and ``Instance``: values, state, imports, traps, whatever the stops."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import wasmtime

from wasnap.engine import Cache
from wasnap.errors import GuestTrap, UnknownImport, UnsupportedModule, UsageError
from wasnap.harness import Global, Imports, Instance, Memory, Table, invoke


@pytest.fixture(autouse=True)
def cache(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A code cache of the test's own."""
    monkeypatch.setenv("WASNAP_CACHE_DIR", str(tmp_path))
    yield


def wasm(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


FIB = wasm("""
  (module
    (func $fib (export "fib") (param i32) (result i32)
      (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
        (then (local.get 0))
        (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                       (call $fib (i32.sub (local.get 0) (i32.const 2))))))))""")

LOOP = wasm("""
  (module
    (import "env" "see" (func $see (param i32 f64) (result i64)))
    (import "env" "base" (global $base i32))
    (memory (export "memory") 1)
    (global $sum (export "sum") (mut i64) (i64.const 0))
    (func (export "add") (param $n i32)
      (loop $next
        (global.set $sum (i64.add (global.get $sum)
          (call $see (i32.sub (local.get $n) (global.get $base)) (f64.const 0.5))))
        (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "spin") (param $n i32) (result i32) (local $i i32)
      (loop $next
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $i)))""")

VALUES = wasm("""
  (module
    (func (export "none"))
    (func (export "many") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
      (local.get 0) (local.get 1) (local.get 2) (local.get 3))
    (func (export "vector") (param v128) (result v128) (local.get 0))
    (func (export "nan") (result f32) (f32.const -nan:0x200001))
    (func (export "null") (result funcref) (ref.null func))
    (func (export "divide") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0))))""")


@pytest.mark.parametrize("fresh", [False, True], ids=["in place", "in new instances"])
@pytest.mark.parametrize("every", [0, 1, 2, 7])
def test_results_do_not_depend_on_stops(every: int, fresh: bool) -> None:
    """A recursive function has the same result, and is stopped as often as it should be."""
    with Instance(FIB, stop_every=every, fresh=fresh) as instance:
        assert instance.invoke("fib", [10]) == 55
        calls = 176  # each call of fib(10) but the first ends at a safepoint
        assert instance.stops == (calls // every if every else 0)


@pytest.mark.parametrize("fresh", [False, True])
def test_state_stays_between_calls(fresh: bool) -> None:
    """Globals are the same instance's; imports get and give signed ints and floats."""
    seen: list[tuple[int, float]] = []

    def see(n: int, half: float) -> int:
        seen.append((n, half))
        return -1

    imports: Imports = {("env", "see"): see, ("env", "base"): Global(10)}
    with Instance(LOOP, imports, stop_every=1, fresh=fresh) as instance:
        instance.invoke("add", [3])
        instance.invoke("add", [2])
        assert instance.get("sum") == -5
        assert seen == [(-7, 0.5), (-8, 0.5), (-9, 0.5), (-8, 0.5), (-9, 0.5)]


def test_every_iteration_is_a_safepoint() -> None:
    """A loop without calls is stopped once in each iteration, and gets on."""
    imports: Imports = {("env", "see"): lambda *_: 0, ("env", "base"): Global(0)}
    with Instance(LOOP, imports) as instance:
        assert instance.invoke("spin", [50]) == 50
        assert instance.stops == 50


def test_values() -> None:
    """All types, there and back; none, one and several results; raw bits keep a NaN's payload."""
    assert invoke(VALUES, "none") is None
    assert invoke(VALUES, "many", [-1, -(2**63), 1.5, -0.0]) == (-1, -(2**63), 1.5, 0.0)
    assert invoke(VALUES, "vector", [bytes(range(16))]) == bytes(range(16))
    nan = invoke(VALUES, "nan")
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert invoke(VALUES, "nan", raw=True) == 0xFFA00001
    assert invoke(VALUES, "null") == 0


def test_mistakes() -> None:
    """What is not there, does not fit, or traps."""
    with pytest.raises(UnsupportedModule):
        invoke(VALUES, "nothing")
    with pytest.raises(UsageError):
        invoke(VALUES, "divide", [])
    with pytest.raises(UnknownImport):
        invoke(LOOP, "spin", [1])
    with Instance(VALUES) as instance:
        for _ in range(2):
            with pytest.raises(GuestTrap, match="integer divide by zero"):
                instance.invoke("divide", [0])
        assert instance.invoke("divide", [1]) == 1


def test_what_an_import_raises_comes_out() -> None:
    """And the instance can be called again."""

    def see(*_: object) -> int:
        raise LookupError("no such thing")

    imports: Imports = {("env", "see"): see, ("env", "base"): Global(0)}
    with Instance(LOOP, imports) as instance:
        with pytest.raises(LookupError):
            instance.invoke("add", [1])
        assert instance.invoke("spin", [3]) == 3


def test_imports_by_module_and_numbers_for_globals() -> None:
    """As embedders of other engines write them; a number has the type that the module asks for."""
    module = wasm("""
      (module
        (import "env" "i" (global $i i64)) (import "env" "f" (global $f f64))
        (import "other" "twice" (func $twice (param i64) (result i64)))
        (func (export "run") (result i64 f64)
          (call $twice (global.get $i)) (global.get $f)))""")
    imports: Imports = {
        "env": {"i": -3, "f": 0.5, "unused": 1},
        "other": {"twice": lambda x: 2 * x},
    }
    assert invoke(module, "run", imports=imports) == (-6, 0.5)


def test_memories_and_tables() -> None:
    """Imported ones are the instance's own, and go with it into new ones."""
    module = wasm("""
      (module
        (import "env" "memory" (memory 1 2)) (import "env" "table" (table 4 funcref))
        (type $i (func (result i32)))
        (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
        (elem declare func $one $two)
        (func (export "run") (result i32) (local $i i32)
          (table.set (i32.const 3) (ref.func $two))
          (i32.store (i32.const 8) (i32.const 40))
          (loop $next
            (br_if $next
              (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9))))
          (i32.add (i32.load (i32.const 8)) (call_indirect (type $i) (i32.const 3)))))""")
    imports: Imports = {("env", "memory"): Memory(1, 2), ("env", "table"): Table(4, None)}
    assert invoke(module, "run", imports=imports, fresh=True) == 42


@pytest.mark.parametrize("fresh", [False, True])
def test_the_start_function_is_stopped_too(fresh: bool) -> None:
    """It runs once, when the instance is made."""
    module = wasm("""
      (module
        (global $n (export "n") (mut i32) (i32.const 0))
        (func $main (loop $next
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $next (i32.lt_u (global.get $n) (i32.const 5)))))
        (start $main)
        (func (export "f")))""")
    with Instance(module, fresh=fresh) as instance:
        assert instance.stops == 5
        instance.invoke("f")
        assert instance.get("n") == 5


def test_instances_share_nothing_but_the_code(tmp_path: object) -> None:
    """Two of one module, with no cache on disk."""
    imports: Imports = {("env", "see"): lambda *_: 1, ("env", "base"): Global(0)}
    with (
        Instance(LOOP, imports, cache=Cache(None)) as one,
        Instance(LOOP, imports, cache=Cache(None)) as other,
    ):
        one.invoke("add", [5])
        assert (one.get("sum"), other.get("sum")) == (5, 0)
