"""Frames: large sets of locals, dispatch loops, frames larger than a page."""

from __future__ import annotations

import pytest

from instrument.disturb import disturbed, plain, same_everywhere, sites, wasm
from wasnap.errors import UnsupportedModule
from wasnap.instrument import transform
from wasnap.instrument.layout import SMALL_SET_MAX
from wasnap.instrument.transform import OPERANDS_MAX, instrument
from wasnap.wasm.decode import decode

SEE = '(import "h" "see" (func $see (param i32) (result i32)))'
TYPES = ("i32", "i64", "f32", "f64", "v128")


def sink(local: int, type_: str) -> str:
    """Code that adds a local's bits to $h."""
    get = f"(local.get {local})"
    match type_:
        case "i32":
            value = f"(i64.extend_i32_u {get})"
        case "i64":
            value = get
        case "f32":
            value = f"(i64.extend_i32_u (i32.reinterpret_f32 {get}))"
        case "f64":
            value = f"(i64.reinterpret_f64 {get})"
        case _:
            value = f"(i64.xor (i64x2.extract_lane 0 {get}) (i64x2.extract_lane 1 {get}))"
    mixed = f"(i64.add (i64.mul (global.get $h) (i64.const 31)) {value})"
    return f"(global.set $h {mixed})"


def fill(local: int, type_: str) -> str:
    """Code that gives a local a value of its own."""
    n = (local * 0x01010101 + 7) & 0x7FFFFFFF
    match type_:
        case "i32" | "i64":
            value = f"({type_}.const {n})"
        case "f32":
            value = f"(f32.reinterpret_i32 (i32.const {0x7FA00000 + local}))"
        case "f64":
            value = f"(f64.reinterpret_i64 (i64.const {0x7FF4000000000000 + local}))"
        case _:
            value = f"(v128.const i64x2 {n} {local})"
    return f"(local.set {local} {value})"


def falling(n: int) -> str:
    """A function of n locals in which fewer and fewer are live: a chain of sets, with branches."""
    types = [TYPES[i % len(TYPES)] for i in range(n)]
    code = [fill(i + 1, t) for i, t in enumerate(types)]
    for i, t in enumerate(types):
        code.append(f"(drop (call $see (i32.const {i})))")
        code.append(sink(i + 1, t))
        if i % 5 == 0:
            code.append(f"""(if (i32.and (call $see (i32.const 1)) (i32.const 1))
              (then (i32.const 3) (call $see (local.get 0)) (i32.add) (drop)
                {sink(n - i // 2, types[n - i // 2 - 1])})
              (else (drop (call $see (i32.const 2)))))""")
    return f"""(module {SEE} (global $h (mut i64) (i64.const 1))
      (func (export "run") (param i32) (result i64) (local {" ".join(types)})
        {"".join(code)} (global.get $h)))"""


@pytest.mark.parametrize(
    "n", [SMALL_SET_MAX - 1, SMALL_SET_MAX, SMALL_SET_MAX + 1, SMALL_SET_MAX + 2, 40]
)
def test_sets_of_locals(n: int) -> None:
    """Around the size from which values are stored in line, along a tree of sets."""
    same_everywhere(falling(n), [3], every=[1, 3], stops=n)


def dispatch(n: int) -> str:
    """An interpreter: a loop around a br_table of n targets; each does something, some call."""
    code = []
    for k in range(n):
        local = 1 + k % 20
        work = f"(local.set {local} (i64.add (local.get {local}) (i64.const {k})))"
        if k % 3 == 0:
            work += f"""(i64.extend_i32_u (call $see (i32.const {k})))
              (i64.add (local.get {local})) (local.set {1 + k % 7})"""
        code.append(f"end {work} br $next")
    adding = "".join(f"(local.set 1 (i64.add (local.get 1) (local.get {i})))" for i in range(2, 21))
    return f"""(module {SEE}
      (func (export "run") (param $n i32) (result i64) (local {"i64 " * 20}) (local $pc i32)
        loop $next
          (local.set $pc (i32.add (i32.mul (local.get $pc) (i32.const 5)) (i32.const 3)))
          block $out
          (br_if $out (i32.eqz (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
          {"block " * n}
          (br_table {" ".join(map(str, range(n)))} 0 (i32.rem_u (local.get $pc) (i32.const {n})))
          {" ".join(code)}
          end
        end
        {adding} (local.get 1)))"""


@pytest.mark.parametrize("n", [47, 64])
def test_dispatch_loops(n: int) -> None:
    """An interpreter's loop: one br_table with many targets."""
    same_everywhere(wasm(dispatch(n)), [40], every=[1, 7], stops=40)


def test_frames_larger_than_a_page() -> None:
    """4,200 live vectors, a few calls deep: the control memory grows as they are pushed."""
    n = 4_200
    types = ["v128"] * n
    fills = "".join(fill(i + 1, t) for i, t in enumerate(types))
    sinks = "".join(sink(i + 1, t) for i, t in enumerate(types))
    module = wasm(f"""(module {SEE} (global $h (mut i64) (i64.const 1))
      (func $f (export "run") (param i32) (result i64) (local {" ".join(types)})
        {fills}
        (if (local.get 0)
          (then (drop (call $f (i32.sub (local.get 0) (i32.const 1)))))
          (else (drop (call $see (i32.const 2)))))
        {sinks} (global.get $h)))""")
    _, found = sites(module)
    assert max(s.size for s in found) > 65536
    wanted = plain(module, args=[3])
    for fresh in (False, True):
        run, stops = disturbed(module, args=[3], every=1, fresh=fresh)
        assert run == wanted
        assert stops == 4


def test_layout_is_the_same_for_hot_code_and_continuations() -> None:
    """A cached program's continuations are made from the original module and its info alone."""
    module = decode(wasm(falling(20)))
    once, again = instrument(module), instrument(module)
    assert once == again


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (
            "(i64.const 3)" * OPERANDS_MAX
            + "(drop (call $see (i32.const 1)))"
            + "(drop)" * OPERANDS_MAX,
            "operands",
        ),
        ("(local " + "i64 " * 49_000 + ") (drop (call $see (i32.const 1)))", "locals"),
    ],
)
def test_what_is_too_large_is_refused(code: str, what: str) -> None:
    """By the name of the function: the engine would take it, but not with our code in it."""
    text = f"(module {SEE} (func $huge {code}))"
    with pytest.raises(UnsupportedModule, match=f"function huge has .* {what}"):
        instrument(decode(wasm(text)))


def test_a_function_that_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine limits a function's size, and what is added must fit: also in continuations."""
    module = decode(wasm(falling(20)))
    sizes = [len(body.code) for body in decode(instrument(module).wasm).code]
    monkeypatch.setattr(transform, "BODY_MAX", max(sizes))
    instrument(module)
    monkeypatch.setattr(transform, "BODY_MAX", max(sizes) - 1)
    with pytest.raises(UnsupportedModule, match=f"is too large: {max(sizes)} bytes"):
        instrument(module)


@pytest.mark.parametrize(
    ("what", "text", "most"),
    [
        ("memories", "(memory 1)", transform.MEMORIES_MAX),
        ("tables", "(table 1 funcref)", transform.TABLES_MAX),
    ],
)
def test_as_many_memories_and_tables_as_can_be(what: str, text: str, most: int) -> None:
    """One more, and ours would be too many for the engine."""
    body = f"""{SEE} (elem declare func $f) (global $g (mut funcref) (ref.null func))
      (func $f (export "run") (param $n i32) (result i32) (local $r funcref)
        (local.set $r (ref.func $f))
        (loop $next
          (drop (call $see (local.get $n)))
          (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (global.set $g (local.get $r))
        (ref.is_null (global.get $g)))"""
    same_everywhere(f"(module {body} {text * most})", [3])
    with pytest.raises(UnsupportedModule, match=f"has {most + 1} {what}"):
        instrument(decode(wasm(f"(module {body} {text * (most + 1)})")))


def test_as_many_operands_as_can_be() -> None:
    """A branch carries nearly a thousand of them."""
    n = OPERANDS_MAX - 1
    same_everywhere(
        f"""(module {SEE} (func (export "run") (param $n i32) (result i64)
          {"(i64.const 3)" * n} (drop (call $see (local.get $n)))
          {"(i64.add)" * (n - 1)}))""",
        [3],
        every=[1],
    )
