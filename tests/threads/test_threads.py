"""Guest threads, in text: starting and ending them, stopping them all, waiting in shared memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wasnap.engine import Exited, Finished, Program, Stopped, Trapped
from wasnap.engine import guest as engine_guest
from wasnap.errors import UnsupportedModule
from wasnap.harness import Instance
from wasnap.host.protocol import Call, HostFunction, Result
from wasnap.journal import Journal, StackRecord
from wasnap.process import Process

from . import HEAD, NO_CACHE, World, wasm

I32 = b"\x7f"


def own(name: str, call: Callable[..., Result], params: int = 1) -> dict[str, HostFunction]:
    """A host function ``h.<name>`` of i32 parameters, without results."""
    return {name: HostFunction("h", name, I32 * params, b"", call)}


def run(text: str) -> object:
    with World(text) as world:
        world.guest.start()
        return world.guest.wait(30)


ENDLESS = "(loop $l (br $l))"
WAIT = "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))"


@pytest.mark.parametrize("end", ["(call $exit (i32.const 7))", "unreachable", ""])
@pytest.mark.parametrize("others", [ENDLESS, WAIT])
def test_the_end_of_the_process_ends_all_threads(end: str, others: str) -> None:
    """Of the first thread to exit or trap, or of the main thread that returns."""
    found = run(f"""
      {HEAD}
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func $culprit (param i32) {end})
      (func (export "wasi_thread_start") (param $tid i32) (param i32)
        (if (i32.eq (local.get $tid) (i32.const 3))
          (then (call $culprit (i32.const 0)))
          (else {others})))
      (func (export "_start") (local $i i32)
        (loop $l (drop (call $spawn (i32.const 0)))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
        {others if end else ""})""")
    if end == "":
        assert found == Finished(())
    elif end == "unreachable":
        assert isinstance(found, Trapped)
        assert found.trap.message == "unreachable (in thread 3)"
        assert found.trap.frames[:2] == ("culprit", "function[3]")
    else:
        assert found == Exited(7)


def test_each_thread_has_globals_tables_and_a_start_function_of_its_own() -> None:
    """And a memory with all others; active segments are written again, as in any engine."""
    assert run(f"""
      {HEAD}
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (global $g (mut i32) (i32.const 5))
      (table 1 funcref)
      (func $f)
      (data (i32.const 100) "x")
      (start $begin)
      (func $begin (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 1))))
      (func $check
        (if (i32.or (i32.ne (global.get $g) (i32.const 5))
              (i32.eqz (ref.is_null (table.get 0 (i32.const 0)))))
          (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 100)) (i32.const 120)) (then unreachable))
        (i32.store8 (i32.const 100) (i32.const 0))
        (table.set 0 (i32.const 0) (ref.func $f))
        (global.set $g (i32.add (global.get $g) (i32.const 1))))
      (elem declare func $f)
      (func (export "wasi_thread_start") (param i32 i32)
        (call $check)
        (i32.atomic.store (i32.const 0) (i32.const 1))
        (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
      (func (export "_start")
        (call $check)
        (drop (call $spawn (i32.const 0)))
        (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
        (call $exit (i32.atomic.load (i32.const 8))))""") == Exited(2)


QUEUE = f"""
  {HEAD}
  (import "h" "say" (func $say (param i32)))
  (func $up (param $at i32)
    (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
    (drop (memory.atomic.notify (local.get $at) (i32.const -1))))
  (func $until (param $at i32) (param $n i32) (local $now i32)
    (loop $l
      (if (i32.ne (local.tee $now (i32.atomic.load (local.get $at))) (local.get $n))
        (then
          (drop (memory.atomic.wait32 (local.get $at) (local.get $now) (i64.const -1)))
          (br $l)))))
  (func (export "wasi_thread_start") (param $tid i32) (param i32)
    (call $until (i32.const 4) (local.get $tid)) ;; so they join the queue one after the other
    (call $say (i32.add (i32.const 100) (local.get $tid)))
    (drop (memory.atomic.wait32 offset=8 (i32.const 8) (i32.const 0) (i64.const -1)))
    (call $say (local.get $tid))
    (call $up (i32.const 0)))
  (func (export "_start") (local $i i32)
    (loop $spawn
      (drop (call $spawn (i32.const 0)))
      (br_if $spawn (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
    (call $until (i32.const 28) (i32.const 1)) ;; the test lets us go on
    (local.set $i (i32.const 0))
    (loop $wake
      (if (i32.ne (memory.atomic.notify (i32.const 16) (i32.const 1)) (i32.const 1))
        (then unreachable))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (call $until (i32.const 0) (local.get $i))
      (br_if $wake (i32.lt_u (local.get $i) (i32.const 5)))))"""


@pytest.mark.parametrize("restored", [0, 1, 3])
def test_waiters_are_woken_in_the_order_in_which_they_came(restored: int) -> None:
    """Also by a process that was stopped, or resumed, while they waited."""
    said: list[int] = []
    joined = threading.Semaphore(0)

    def say(call: Call, n: int) -> None:
        said.append(n)
        joined.release()

    with World(QUEUE, own("say", say)) as world:
        world.guest.start()
        for n in range(1, 6):
            memory = world.guest.memories[0]
            memory.set_u32(4, n)
            world.host.futexes.notify(None, 0, 4, 100)  # type: ignore[arg-type]
            assert joined.acquire(timeout=30)
            while sum(w.place == (0, 16) for w in [*world.host.futexes._waiters.values()]) < n:
                threading.Event().wait(0.001)
        while len(world.host.futexes._waiters) < 6:  # the first thread, too
            threading.Event().wait(0.001)
        for _ in range(restored):
            world.guest.stop()
            assert world.guest.wait(30) == Stopped()
            state = world.guest.capture()
            assert [t.pending.name for t in state.threads if t.pending] == ["wait32"] * 6
            assert len(world.guest.frames()) == 2
            world.again()
            world.guest.proceed()
        world.guest.memories[0].set_u32(28, 1)
        world.host.futexes.notify(None, 0, 28, 1)  # type: ignore[arg-type]
        assert world.guest.wait(30) == Finished(())
    assert said == [101, 102, 103, 104, 105, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("again", [False, True])
def test_a_thread_that_is_spawned_while_the_world_stops_begins_later(again: bool) -> None:
    """It is part of what is captured, and has not run."""
    said: list[int] = []
    worlds: list[World] = []

    def say(call: Call, n: int) -> None:
        if n == 0:
            worlds[0].guest.stop()  # the next call is below the stop, before any safepoint
        said.append(n)

    text = f"""
      {HEAD}
      (import "h" "say" (func $say (param i32)))
      (func (export "wasi_thread_start") (param $tid i32) (param $arg i32)
        (call $say (local.get $arg))
        (i32.atomic.store (i32.const 0) (i32.const 1))
        (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
      (func (export "_start")
        (drop (call $spawn (i32.const 42)))
        (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
        (call $say (i32.const 1)))"""
    with World(text, own("say", say)) as world:
        worlds.append(world)
        spawn = world.host.threads.spawn

        def stop_first(call: Call, arg: int) -> int:
            world.guest.stop()
            return spawn(call, arg)

        name = ("wasi", "thread-spawn")
        function = world.host.function(*name)
        assert function is not None
        world.host._functions[name] = function._replace(call=stop_first)
        world.guest.close()
        world.guest = world.new()
        world.guest.start()
        assert world.guest.wait(30) == Stopped()
        assert [(t.thread, t.begun) for t in world.guest.capture().threads] == [
            (0, True),
            (1, False),
        ]
        assert said == []
        if again:
            world.again()
        world.guest.proceed()
        assert world.guest.wait(30) == Finished(())
        assert said == [42, 1]
        assert world.host.threads.capture().last == 1


def test_too_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest is told, by a negative number, and goes on."""
    monkeypatch.setattr(engine_guest, "THREADS_MAX", 3)
    assert run(f"""
      {HEAD}
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func (export "wasi_thread_start") (param i32 i32) {WAIT})
      (func (export "_start")
        (call $exit (i32.sub
          (i32.add (call $spawn (i32.const 0)) (call $spawn (i32.const 0)))
          (call $spawn (i32.const 0)))))""") == Exited(1 + 2 + 6)


def test_a_memory_grows_for_all_threads_and_for_the_host() -> None:
    seen: list[int] = []
    text = f"""
      {HEAD}
      (import "h" "look" (func $look (param i32)))
      (func (export "wasi_thread_start") (param i32 i32)
        (drop (memory.grow (i32.const 2)))
        (i32.store (i32.const 196604) (i32.const 9))
        (i32.atomic.store (i32.const 0) (i32.const 1))
        (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
      (func (export "_start")
        (drop (call $spawn (i32.const 0)))
        {WAIT}
        (call $look (i32.const 196604)))"""
    look = own("look", lambda call, at: seen.append(call.memory.u32(at)))
    with World(text, look) as world:
        world.guest.start()
        assert world.guest.wait(30) == Finished(())
    assert seen == [9]


# -- the instructions ------------------------------------------------------------------------------

ALL = """
  (import "m" "m" (memory {} shared))
  (func (export "notify") (param i32 i32) (result i32)
    (memory.atomic.notify offset=4 (local.get 0) (local.get 1)))
  (func (export "wait32") (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "wait64") (param i32 i64 i64) (result i32)
    (memory.atomic.wait64 offset=8 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "often") (param $n i32) (result i32) (local $sum i32)
    (loop $l
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 3))
        (memory.atomic.wait32 (i32.const 0) (i32.and (local.get $n) (i32.const 1)) (i64.const 0))))
      (local.set $sum (i32.add (local.get $sum)
        (memory.atomic.notify (i32.const 0) (i32.const 1))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))"""


@pytest.mark.parametrize("stop_every", [0, 1])
def test_waiting_alone(stop_every: int) -> None:
    with Instance(wasm(ALL.format("1 2")), stop_every=stop_every, fresh=True) as instance:
        assert instance.invoke("wait32", [0, 1, -1]) == 1
        assert instance.invoke("wait32", [0, 0, 1000]) == 2
        assert instance.invoke("wait64", [8, 1 << 40, -1]) == 1
        assert instance.invoke("wait64", [8, 0, 0]) == 2
        assert instance.invoke("notify", [0, -1]) == 0
        wanted = 0
        for n in range(9, 0, -1):
            wanted = wanted * 3 + (1 if n & 1 else 2)
        assert instance.invoke("often", [9]) == wanted
        assert bool(instance.stops) is bool(stop_every)


@pytest.mark.parametrize(
    ("export", "args", "message"),
    [
        ("wait32", [2, 0, 0], "unaligned atomic"),
        ("wait64", [4, 0, 0], "unaligned atomic"),
        ("notify", [1, 0], "unaligned atomic"),
        ("wait32", [65536, 0, 0], "out of bounds memory access"),
        ("wait64", [-8, 0, 0], "out of bounds memory access"),
        ("notify", [-4, 0], "out of bounds memory access"),
    ],
)
def test_what_traps_as_the_instruction_does(export: str, args: list[int], message: str) -> None:
    """And where it does: functions of ours are not seen."""
    with World(
        ALL.format("1 2").replace('"m" "m"', '"env" "memory"') + """ (func (export "_start"))"""
    ) as world:
        params = world.guest.signature(export).params
        widths = [32 if t == 0x7F else 64 for t in params]
        raws = [a & ((1 << w) - 1) for a, w in zip(args, widths, strict=True)]
        world.guest.call(export, raws)
        event = world.guest.wait(30)
        assert isinstance(event, Trapped)
        assert event.trap.message == message
        assert event.trap.frames == (f"function[{('notify', 'wait32', 'wait64').index(export)}]",)


def test_a_memory_that_is_not_shared() -> None:
    """The instructions stay what they are."""
    text = (
        ALL.format("1").replace(" shared", "").replace('(import "m" "m" (memory 1))', "(memory 1)")
    )
    with Instance(wasm(text)) as instance:
        assert instance.invoke("notify", [0, 1]) == 0
        with pytest.raises(Exception, match="expected shared memory"):
            instance.invoke("wait32", [0, 0, 0])


@pytest.mark.parametrize("stop_every", [0, 1])
def test_memories_of_ones_own(stop_every: int) -> None:
    """Shared ones that are not imported; not the first one; with 64-bit addresses."""
    text = """
      (memory 1)
      (memory $m i64 1 2 shared)
      (func (export "wait") (param i64 i32) (result i32)
        (i32.atomic.store $m offset=65528 (local.get 0) (i32.const 5))
        (memory.atomic.wait32 $m offset=65528 (local.get 0) (local.get 1) (i64.const 0)))"""
    with Instance(wasm(text), stop_every=stop_every) as instance:
        assert instance.invoke("wait", [4, 5]) == 2
        assert instance.invoke("wait", [4, 0]) == 1
        with pytest.raises(Exception, match="out of bounds"):
            instance.invoke("wait", [8, 5])


# -- refused ---------------------------------------------------------------------------------------

_START = '(func (export "_start"))'
_THREAD = '(func (export "wasi_thread_start") (param i32 i32))'
_SPAWN = '(import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "no function 'wasi_thread_start'"),
        (HEAD + '(func (export "wasi_thread_start") (param i64))', "does not take two i32"),
        (f"{_SPAWN} {_THREAD} (memory 1)", "imported shared memory and no other"),
        (f"{_SPAWN} {_THREAD} (memory 1 1 shared)", "imported shared memory and no other"),
        (f"{HEAD} {_THREAD} (memory 1)", "imported shared memory and no other"),
        (
            f"""{HEAD} {_THREAD} (func (export "f") (local $x externref)
              (loop (drop (call $spawn (i32.const 0)))) (drop (local.get $x)))
              (func (export "g") (loop $l (br $l)))""",
            "externref",
        ),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    program = Program.load(wasm(text + _START), cache=NO_CACHE)
    with World(HEAD + _THREAD + _START) as world:
        world.close()
        world.program = program
        with pytest.raises(UnsupportedModule, match=message):
            world.new()


def test_a_trap_outside_of_memory_after_a_stop() -> None:
    """The continuation's memory is the guest's: the engine finds one owner of the address."""
    text = f"""
      {HEAD}
      (func (export "wasi_thread_start") (param i32 i32)
        (loop $l (br_if $l (i32.eqz (i32.atomic.load (i32.const 8)))))
        (i32.store (i32.const 0x7fffff00) (i32.const 1)))
      (func (export "_start") (drop (call $spawn (i32.const 0))) {WAIT})"""
    with World(text) as world:
        world.guest.start()
        for again in (False, True, False):
            world.guest.stop()
            assert world.guest.wait(30) == Stopped()
            if again:
                world.again()
            world.guest.proceed()
        world.guest.memories[0].set_u32(8, 1)
        event = world.guest.wait(30)
        assert isinstance(event, Trapped)
        assert event.trap.message == "out of bounds memory access (in thread 1)"


def test_a_guest_is_idle_when_all_its_threads_wait(tmp_path: Path) -> None:
    """Not while one of them computes; the snapshot that follows has both in it."""
    text = f"""
      {HEAD}
      (func (export "wasi_thread_start") (param i32 i32) (local i32)
        (loop $l (br_if $l (i32.ne (i32.const 30_000_000)
          (local.tee 2 (i32.add (local.get 2) (i32.const 1))))))
        (i32.atomic.store (i32.const 4) (i32.const 1))
        (drop (memory.atomic.wait32 (i32.const 16) (i32.const 0) (i64.const -1))))
      (func (export "_start") (drop (call $spawn (i32.const 0))) {WAIT})"""
    process = Process(
        wasm(text),
        journal=tmp_path / "journal",
        snapshot_on=["idle:0.001"],
        stop_after_snapshot=True,
        stdin=None,
    )
    assert process.run() == 0
    with Journal.open(tmp_path / "journal") as opened:
        assert [info.trigger for info in opened.snapshots] == ["idle"]
        saved = opened.load(1)
        stacks = saved.records(StackRecord)
        assert [(s.thread, s.pending and s.pending.name) for s in stacks] == [
            (0, "wait32"),
            (1, "wait32"),
        ]
