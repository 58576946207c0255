"""The binary interface, against a hot module and continuations written by hand.

The guest counts: ``run(n)`` calls ``h.tick(i)`` for i = 0 .. n - 1 and returns n. Its sites: 0 is
the loop's header, 1 behind the call. A frame: site, size 16, n, i.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wasnap.engine import Cache, EngineState, Finished, Guest, Program, Stopped
from wasnap.engine.code import compile_module
from wasnap.errors import CannotResume
from wasnap.host.protocol import Call, Suspended
from wasnap.instrument import ProgramInfo, Site, instrument
from wasnap.instrument.abi import ImportInfo
from wasnap.wasm.decode import decode

from .guests import Snapshot, functions, host, wasm

BASE = 32

COLD = """(func $cold (param $site i32) (param $n i32) (param $i i32)
  (i32.store $control (global.get $fp) (local.get $site))
  (i32.store $control offset=4 (global.get $fp) (i32.const 16))
  (i32.store $control offset=8 (global.get $fp) (local.get $n))
  (i32.store $control offset=12 (global.get $fp) (local.get $i))
  (global.set $fp (i32.add (global.get $fp) (i32.const 16))))"""

LOOP = """(loop $again
    (if (i32.atomic.load $control (i32.const 0))
      (then (call $cold (i32.const 0) (local.get $n) (local.get $i)) (return (i32.const 0))))
    (if (i32.ge_u (local.get $i) (local.get $n)) (then (return (local.get $n))))
    (call $tick (local.get $i))
    (if (i32.load $control (i32.const 0))
      (then (call $cold (i32.const 1) (local.get $n) (local.get $i)) (return (i32.const 0))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $again)) unreachable"""

HOT = f"""(module
  (import "h" "tick" (func $tick (param i32)))
  (memory $control (export "wasnap.control") 1)
  (global $fp (export "wasnap.fp") (mut i32) (i32.const {BASE}))
  (func (export "wasnap.save")) (func (export "wasnap.load"))
  {COLD}
  (func (export "run") (param $n i32) (result i32) (local $i i32) {LOOP}))"""

CONTINUATION = f"""(module
  (import "h" "tick" (func $tick (param i32)))
  (import "wasnap" "wasnap.control" (memory $control 1))
  (import "wasnap" "wasnap.slots" (table 0 funcref))
  (import "wasnap" "wasnap.fp" (global $fp (mut i32)))
  %s
  {COLD}
  (func (export "resume") (result i32) (local $n i32) (local $i i32)
    (local.set $n (i32.load $control offset=8 (global.get $fp)))
    (local.set $i (i32.load $control offset=12 (global.get $fp)))
    (if (i32.ne (i32.const 0) (i32.load $control offset=4 (global.get $fp))) (then unreachable))
    (global.set $fp (i32.load $control (global.get $fp)))
    %s))"""

AT_LOOP = CONTINUATION % ("", LOOP)

# Behind the call only the rest of the iteration is left; the loop's continuation takes over.
HAND_OVER = """(call $cold (i32.const 0) (local.get $n) (i32.add (local.get $i) (i32.const 1)))
    (global.set $fp (i32.sub (global.get $fp) (i32.const 16)))
    (i32.store $control (global.get $fp) (global.get $fp))
    (i32.store $control offset=4 (global.get $fp) (i32.const 0))
    (return_call $loop)"""
BEHIND_CALL = CONTINUATION % (
    '(import "wasnap" "wasnap.resume.0" (func $loop (result i32)))',
    HAND_OVER,
)


class ByHand:
    """The sites, in place of ``instrument.Continuations``; counts what is asked of it."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def site(self, n: int) -> Site:
        return Site(n, 1, "call" if n else "loop", 0, b"", 16, 16)

    def by_table(self, n: int) -> bool:
        raise NotImplementedError

    def before_table(self, n: int) -> bool:
        raise NotImplementedError

    def module_for(self, n: int) -> bytes:
        self.made.append(n)
        return wasm(BEHIND_CALL if n else AT_LOOP)


@pytest.fixture
def sites() -> ByHand:
    return ByHand()


@pytest.fixture
def program(sites: ByHand, tmp_path: Path) -> Iterator[Program]:
    info: ProgramInfo = msgspec.structs.replace(
        instrument(decode(wasm("(module)"))).info,
        frames_base=BASE,
        imports=[ImportInfo("h", "tick", b"\x7f", b"")],
    )
    yield Program(compile_module(wasm(HOT)), info, lambda: sites, Cache(tmp_path / "c"), "ab" * 32)


def count(program: Program, n: int, *, stop_at: set[int], fresh: bool) -> tuple[list[int], int]:
    """Run with stops inside the given ticks; the ticks seen, and how many stops there were."""
    seen: list[int] = []
    guest: Guest

    def tick(call: Call, i: int) -> None:
        seen.append(i)
        if i in stop_at:
            guest.stop()

    provide = functions(host("tick", "i->", tick))
    guest = Guest(program, provide)
    guest.start("run", (n,))
    stops = 0
    while (event := guest.wait(20)) == Stopped():
        stops += 1
        if fresh:
            snapshot = Snapshot(guest)
            guest.close()
            guest = Guest(program, provide)
            snapshot.restore(guest)
        guest.proceed()
    guest.close()
    assert event == Finished((n,))
    return seen, stops


@pytest.mark.parametrize("fresh", [False, True], ids=["in place", "in a fresh guest"])
def test_counts_right_whenever_it_stops(program: Program, fresh: bool) -> None:
    assert count(program, 10, stop_at={0, 3, 4, 9}, fresh=fresh) == (list(range(10)), 4)


def test_a_continuation_brings_those_it_hands_over_to(program: Program, sites: ByHand) -> None:
    count(program, 3, stop_at={1}, fresh=False)
    assert sites.made == [1, 0]


def test_each_continuation_is_made_once(program: Program, sites: ByHand) -> None:
    count(program, 50, stop_at=set(range(50)), fresh=True)
    assert sites.made == [1, 0]
    again = Program(program.module, program.info, ByHand, program.cache, program.key)
    count(again, 5, stop_at={1}, fresh=False)
    assert again._sites is None


def test_a_pending_call_without_results(program: Program) -> None:
    seen: list[int] = []

    def tick(call: Call, i: int) -> None:
        if i == 1 and call.progress is None:
            raise Suspended({"n": 1})
        seen.append(i)

    with Guest(program, functions(host("tick", "i->", tick))) as guest:
        guest.start("run", (3,))
        assert guest.wait(20) == Stopped()
        assert [(f.address, f.site, f.size) for f in guest.frames()] == [(BASE, 1, 16)]
        guest.proceed()
        assert guest.wait(20) == Finished((3,))
    assert seen == [0, 1, 2]


def test_records_of_exceptions_are_skipped_and_damage_is_noticed(program: Program) -> None:
    stopped: list[Guest] = []
    provide = functions(host("tick", "i->", lambda call, i: stopped[0].stop()))
    with Guest(program, provide) as guest:
        stopped.append(guest)
        guest.start("run", (3,))
        assert guest.wait(20) == Stopped()
        state = guest.capture()
    exception = (0xFFFF0000).to_bytes(4, "little") + (12).to_bytes(4, "little") + bytes(4)
    main = state.main
    frame = main.stack[-16:]

    def changed(**fields: Any) -> EngineState:
        return EngineState((), (msgspec.structs.replace(main, **fields),))

    for stack, sites_seen in (
        (main.stack[:-16] + exception + frame, [1]),
        (main.stack[:-16] + frame + exception + frame, [1, 1]),
    ):
        with Guest(program, provide) as guest:
            guest.restore(changed(stack=stack, fp=16 + len(stack)), [])
            assert [f.site for f in guest.frames()] == sites_seen
    with Guest(program, provide) as guest:
        guest.restore(changed(stack=main.stack[:-1], fp=main.fp - 1), [])
        with pytest.raises(CannotResume, match="damaged"):
            guest.frames()
    with Guest(program, provide) as guest, pytest.raises(CannotResume, match="call stack"):
        guest.restore(changed(fp=main.fp + 8), [])
