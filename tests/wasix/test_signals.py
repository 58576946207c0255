"""Signals of WASIX in text: handlers at safepoints and in waits, alarms, and snapshots in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from threads import World, wasm

from wasnap import Process, resume
from wasnap.engine import Exited, Finished, Guest, Stopped
from wasnap.host.threads import MAIN, MAIN_TO_ITSELF

HUP, INT, KILL, USR1, USR2, PIPE, ALRM, TERM, CHLD = 1, 2, 9, 10, 12, 13, 14, 15, 17
INTR, EPIPE = 27, 64

THREADS = """
  (import "wasix_32v1" "thread_spawn_v2" (func $spawn (param i32 i32) (result i32)))
  (import "wasix_32v1" "thread_join" (func $join (param i32) (result i32)))
"""

IMPORTS = """
  (import "env" "memory" (memory 1 4 shared))
  (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
  (import "wasix_32v1" "thread_signal" (func $signal (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_raise" (func $raise (param i32) (result i32)))
  (import "wasix_32v1" "proc_signal" (func $kill (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_raise_interval" (func $alarm (param i32 i64 i32) (result i32)))
  (import "wasix_32v1" "callback_signal" (func $callback (param i32 i32)))
  (import "wasix_32v1" "futex_wait" (func $wait (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "futex_wake" (func $wake (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_snapshot" (func $snapshot (result i32)))
  (import "wasix_32v1" "proc_exit2" (func $exit (param i32)))
"""

BODY = """
  (data (i32.const 1000) "__wasm_signal_blocked")
  (func $ok (param i32) (if (local.get 0) (then unreachable)))
  (func $listen (call $callback (i32.const 1000) (i32.const 13)))
  (func $block (call $callback (i32.const 1000) (i32.const 21)))
  (func $say (param i32) ;; a byte of what happened, from 512 on; their number at 508
    (i32.store8 offset=512 (i32.atomic.rmw.add (i32.const 508) (i32.const 1)) (local.get 0)))
"""

HEAD = IMPORTS + BODY


AGAIN = f"""
  {HEAD}
  (func (export "__wasm_signal") (param $n i32)
    (if (i32.eqz (i32.load (i32.const 0)))
      (then (i32.store (i32.const 0) (i32.const 1)) (call $ok (call $raise (i32.const {USR1})))))
    (call $ok (call $sleep (i64.const 1000))))
  (func (export "_start")
    (call $listen)
    (call $ok (call $alarm (i32.const {USR1}) (i64.const 2000000) (i32.const 1)))
    (call $exit (call $sleep (i64.const 1000000000000))))"""


def said(guest: Guest) -> bytes:
    memory = guest.memories[0]
    return memory.read(512, memory.u32(508))


def outcome(text: str, every: int, end: object) -> bytes:
    """What a guest says that ends so; stopped at every so-manieth safepoint, and restored."""
    with World(text, counted=True) as world:
        world.guest.start(countdown=every)
        while (event := world.guest.wait(30)) == Stopped():
            world.again()
            world.guest.proceed(countdown=every)
        assert event == end
        return said(world.guest)


NESTED = f"""
  {HEAD}
  (func (export "__wasm_signal") (param $n i32)
    (call $say (local.get $n))
    (if (i32.eq (local.get $n) (i32.const {HUP}))
      (then
        (call $ok (call $raise (i32.const {USR1}))) ;; inside of it
        (call $say (i32.const 200))
        (if (i32.eq (i32.load (i32.const 0)) (i32.const 0))
          (then
            (i32.store (i32.const 0) (i32.const 1))
            (call $ok (call $raise (i32.const {HUP}))))))) ;; after it, and once
    (call $say (i32.add (local.get $n) (i32.const 100))))
  (func (export "_start")
    (call $listen)
    (call $ok (call $raise (i32.const 0)))
    (call $ok (call $signal (i32.const {MAIN_TO_ITSELF}) (i32.const 0)))
    (call $ok (call $signal (i32.const {MAIN}) (i32.const {HUP})))
    (call $say (i32.const 1))
    (call $block)
    (call $ok (call $kill (i32.const 1) (i32.const {USR2})))
    (call $ok (call $kill (i32.const 1) (i32.const {USR2})))
    (call $ok (i32.ne (call $kill (i32.const 2) (i32.const {USR2})) (i32.const 71)))
    (call $say (i32.const 2))
    (call $listen)
    (call $say (i32.const 3)))"""


@pytest.mark.parametrize("every", [0, 1, 2, 5])
def test_a_handler_has_run_when_the_call_returns_that_sent_its_signal(every: int) -> None:
    """Another may interrupt it, the same comes after it, a blocked one when it is not any more, and
    once; with a stop at every so-manieth safepoint and a new process for each."""
    once = [HUP, USR1, USR1 + 100, 200, HUP + 100]
    last = [1, 2, USR2, USR2 + 100, 3]
    assert outcome(NESTED, every, Finished(())) == bytes([*once, *once, *last])


@pytest.mark.parametrize("every", [0, 1])
def test_what_a_handler_waits_for_is_not_interrupted_by_the_signal_before(every: int) -> None:
    """It comes once more behind its own handler, before the call that both interrupt has told."""
    assert outcome(AGAIN, every, Exited(INTR)) == b""


BROKEN = f"""
  (import "wasix_32v1" "fd_pipe" (func $pipe (param i32 i32) (result i32)))
  (import "wasix_32v1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasix_32v1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  {HEAD}
  (func (export "__wasm_signal") (param $n i32) (call $say (local.get $n)))
  (func $broken
    (call $say (call $write (i32.load (i32.const 4)) (i32.const 8) (i32.const 1) (i32.const 16))))
  (func (export "_start")
    (call $ok (call $pipe (i32.const 0) (i32.const 4)))
    (call $ok (call $close (i32.load (i32.const 0))))
    (i32.store (i32.const 12) (i32.const 1))
    (call $listen)
    (call $broken)
    (call $block)
    (call $broken)
    (call $say (i32.const 1)))"""


@pytest.mark.parametrize("every", [0, 1])
def test_who_writes_to_a_pipe_that_nobody_reads_hears_of_it(every: int) -> None:
    """SIGPIPE is handled before the call fails; where it is blocked the call fails all the same; and
    without handlers it ends the process, as in the reference runtime."""
    assert outcome(BROKEN, every, Finished(())) == bytes([PIPE, EPIPE, EPIPE, 1])
    text = BROKEN.replace("(call $listen)", "")
    assert outcome(text, every, Exited(128 + PIPE, PIPE)) == b""


LOCKED = f"""
  {THREADS} {HEAD}
  (global (export "__stack_pointer") (mut i32) (i32.const 40000))
  (table 1 funcref)
  (elem (i32.const 0) $handler)
  (func $handler (param $n i32)
    (call $say (local.get $n))
    (if (i32.eq (local.get $n) (i32.const {HUP}))
      (then (loop $other (br_if $other (i32.eqz (i32.load (i32.const 0))))))
      (else (i32.store (i32.const 0) (i32.const 1))))
    (call $say (i32.add (local.get $n) (i32.const 100))))
  (func $lock (param $held i32)
    (if (i32.eq (i32.atomic.rmw.xchg (i32.const 8) (local.get $held)) (local.get $held))
      (then unreachable))
    (drop (call $sleep (i64.const 0))))
  (func (export "__wasm_signal") (param $n i32)
    (call $lock (i32.const 1))
    (i32.atomic.store (i32.const 12) (i32.const 1))
    (loop $sent (br_if $sent (i32.eqz (i32.atomic.load (i32.const 16)))))
    (call $lock (i32.const 0))
    (call_indirect (param i32) (local.get $n) (i32.const 0))
    (call $lock (i32.const 1))
    (call $lock (i32.const 0)))
  (func (export "wasi_thread_start") (param i32 i32)
    (loop $l (br_if $l (i32.eqz (i32.atomic.load (i32.const 12)))))
    (call $ok (call $signal (i32.const {MAIN}) (i32.const {USR1})))
    (i32.atomic.store (i32.const 16) (i32.const 1)))
  (func (export "_start")
    (call $listen)
    (call $ok (call $spawn (i32.const 64) (i32.const 128)))
    (call $ok (call $raise (i32.const {HUP})))
    (call $ok (call $join (i32.load (i32.const 128)))))"""


@pytest.mark.parametrize("every", [0, 1, 2, 7])
def test_a_callback_that_holds_a_lock_is_not_interrupted_but_the_handler_that_it_calls_is(
    every: int,
) -> None:
    """As wasix-libc's, which locks its table of handlers while it looks into it. The other signal comes
    while it does."""
    assert outcome(LOCKED, every, Finished(())) == bytes([HUP, USR1, USR1 + 100, HUP + 100])


ALARM = f"""
  {HEAD}
  (global $sp (export "__stack_pointer") (mut i32) (i32.const 40000))
  (func (export "__wasm_signal") (param $n i32)
    (global.set $sp (i32.sub (global.get $sp) (i32.const 16)))
    (i32.store (global.get $sp) (i32.const -1)) ;; its frame
    (call $say (local.get $n))
    (global.set $sp (i32.add (global.get $sp) (i32.const 16)))
    (i32.atomic.store (i32.const 0) (i32.const 1)))
  (func $leaf (param $at i32) ;; with values below the stack pointer
    (i64.store (local.get $at) (i64.const 0x123456789))
    (loop $l (br_if $l (i32.eqz (i32.atomic.load (i32.const 0)))))
    (if (i64.ne (i64.load (local.get $at)) (i64.const 0x123456789)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (call $listen)
    (loop $again
      (i32.atomic.store (i32.const 0) (i32.const 0))
      (call $ok (call $alarm (i32.const {ALRM}) (i64.const 2000000) (i32.const 0)))
      (call $leaf (i32.sub (global.get $sp) (i32.const 8)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
    (call $ok (call $alarm (i32.const {ALRM}) (i64.const 1000000000000) (i32.const 0)))
    (call $ok (call $alarm (i32.const {ALRM}) (i64.const 0) (i32.const 0)))
    (call $exit (i32.ne (global.get $sp) (i32.const 40000))))"""


@pytest.mark.parametrize("every", [0, 50, 1001])
def test_an_alarm_interrupts_a_loop_that_calls_nothing(every: int) -> None:
    """And leaves alone what the function has below the stack pointer."""
    assert outcome(ALARM, every, Exited(0)) == bytes([ALRM] * 5)


def test_an_alarm_that_comes_again_and_again_and_a_guest_that_sleeps() -> None:
    """Sleeping ends with EINTR, and a module without a stack pointer is interrupted there.

    It sleeps five times; a slow machine may send one alarm more before it can say that it wants none.
    """
    text = f"""
      {HEAD}
      (func (export "__wasm_signal") (param $n i32) (call $say (local.get $n)))
      (func (export "_start") (local $i i32)
        (call $listen)
        (call $ok (call $alarm (i32.const {ALRM}) (i64.const 2000000) (i32.const 1)))
        (loop $again
          (call $ok (i32.ne (call $sleep (i64.const 60000000000)) (i32.const {INTR})))
          (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
        (call $ok (call $alarm (i32.const {ALRM}) (i64.const 0) (i32.const 1)))
        (drop (call $sleep (i64.const 1000000))))"""
    said = outcome(text, 0, Finished(()))
    assert len(said) >= 5
    assert set(said) == {ALRM}


WAITS = f"""
  {THREADS} {HEAD}
  ;; 0: what the main thread waits for; 4: what its handler waits for; 16: no timeout
  (func (export "__wasm_signal") (param $n i32)
    (call $say (local.get $n))
    (i32.atomic.store (i32.const 8) (i32.const 1))
    (call $ok (call $wait (i32.const 4) (i32.const 0) (i32.const 16) (i32.const 32)))
    (call $ok (i32.eqz (i32.load8_u (i32.const 32))))
    (call $say (i32.const 1)))
  (func (export "wasi_thread_start") (param i32 i32)
    (call $ok (call $signal (i32.const {MAIN}) (i32.const {USR1})))
    (loop $l (br_if $l (i32.eqz (i32.atomic.load (i32.const 8)))))
    (i32.atomic.store (i32.const 0) (i32.const 1)) ;; first the outer one: it must not be lost
    (call $ok (call $wake (i32.const 0) (i32.const 36)))
    (i32.atomic.store (i32.const 4) (i32.const 1))
    (call $ok (call $wake (i32.const 4) (i32.const 36)))
    (call $say (i32.const 99)))
  (func (export "_start")
    (call $listen)
    (call $ok (call $spawn (i32.const 64) (i32.const 128)))
    (loop $l
      (call $ok (call $wait (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 40)))
      (br_if $l (i32.eqz (i32.atomic.load (i32.const 0)))))
    (call $ok (call $join (i32.load (i32.const 128)))))"""


@pytest.mark.parametrize("every", [0, 1, 4, 9])
def test_a_handler_that_waits_while_it_interrupts_a_wait(every: int) -> None:
    """Each keeps its place; the one outside is woken while the handler runs."""
    found = outcome(WAITS, every, Finished(()))
    assert sorted(found) == sorted([USR1, 1, 99])
    assert found.index(USR1) < found.index(1)


@pytest.mark.parametrize(
    ("number", "listen", "end"),
    [
        (TERM, False, Exited(128 + 15, TERM)),
        (KILL, True, Exited(128 + 9, KILL)),
        (CHLD, False, Finished(())),
    ],
)
def test_signals_that_no_handler_gets(number: int, listen: bool, end: object) -> None:
    text = f"""
      {HEAD}
      (func (export "__wasm_signal") (param i32) unreachable)
      (func (export "_start")
        {"(call $listen)" if listen else ""}
        (call $ok (call $raise (i32.const {number}))))"""
    assert outcome(text, 0, end) == b""


def test_signals_that_are_none_and_threads_that_are_gone() -> None:
    text = f"""
      {HEAD}
      (func (export "_start")
        (call $ok (i32.ne (call $raise (i32.const 32)) (i32.const 28)))
        (call $ok (i32.ne (call $signal (i32.const 5) (i32.const {HUP})) (i32.const 71)))
        (call $ok (i32.ne (call $alarm (i32.const 0) (i64.const 5) (i32.const 0)) (i32.const 28))))"""
    assert outcome(text, 0, Finished(())) == b""


INSIDE = f"""
  {HEAD}
  (func (export "__wasm_signal") (param $n i32)
    (call $say (local.get $n))
    (if (i32.eq (local.get $n) (i32.const {HUP})) (then (call $ok (call $raise (i32.const {USR1})))))
    (call $ok (call $snapshot))
    (call $say (i32.add (local.get $n) (i32.const 100))))
  (func (export "_start")
    (call $listen)
    (call $ok (call $raise (i32.const {HUP})))
    (call $exit (i32.load (i32.const 508))))"""


def test_a_snapshot_inside_a_handler_inside_a_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal holds what they interrupt; each snapshot is resumed, and ends as the first run."""
    monkeypatch.setenv("WASNAP_CACHE_DIR", str(tmp_path / "cache"))
    module = tmp_path / "inside.wasm"
    module.write_bytes(wasm(INSIDE))
    journal = tmp_path / "journal"
    assert Process(module, journal=journal, snapshot_on=["explicit"]).run() == 4
    for at in (1, 2):
        assert resume(journal, at=at).run() == 4


def test_a_thread_that_is_interrupted_while_the_world_stops() -> None:
    """A signal and a stop at the same time: neither is lost."""
    text = f"""
      {THREADS} {HEAD}
      (func (export "__wasm_signal") (param $n i32)
        (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
      (func (export "wasi_thread_start") (param i32 i32) (local $i i32)
        (loop $l
          (call $ok (call $signal (i32.const {MAIN}) (i32.const {USR1})))
          (loop $seen
            (br_if $seen (i32.le_u (i32.atomic.load (i32.const 0)) (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.or (i32.lt_u (local.get $i) (i32.const 60))
            (i32.eqz (i32.atomic.load (i32.const 12)))))) ;; and until the test has enough
        (i32.store (i32.const 4) (local.get $i))
        (i32.atomic.store (i32.const 8) (i32.const 1)))
      (func (export "_start")
        (call $listen)
        (call $ok (call $spawn (i32.const 64) (i32.const 128)))
        (loop $l
          (drop (call $sleep (i64.const 1000)))
          (br_if $l (i32.eqz (i32.atomic.load (i32.const 8)))))
        (call $exit (i32.ne (i32.load (i32.const 0)) (i32.load (i32.const 4)))))"""
    stops = 0
    with World(text) as world:
        world.guest.start()
        while True:
            world.guest.stop()
            event = world.guest.wait(30)
            if event != Stopped():
                break
            stops += 1
            if stops % 10 == 0:
                world.again()
            if stops == 20:
                world.guest.memories[0].set_u32(12, 1)
            world.guest.proceed()
        assert event == Exited(0)
