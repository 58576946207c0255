"""Threads of WASIX in text: started, joined, ended, asleep; and saved at any moment."""

from __future__ import annotations

import pytest
from threads import World

from wasnap.engine import Exited, Stopped
from wasnap.host.threads import MAIN

HEAD = """
  (import "env" "memory" (memory 1 4 shared))
  (import "wasix_32v1" "thread_spawn_v2" (func $spawn (param i32 i32) (result i32)))
  (import "wasix_32v1" "thread_join" (func $join (param i32) (result i32)))
  (import "wasix_32v1" "thread_id" (func $id (param i32) (result i32)))
  (import "wasix_32v1" "thread_exit" (func $end (param i32)))
  (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
  (import "wasix_32v1" "futex_wait" (func $wait (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "futex_wake_all" (func $wake (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_exit2" (func $exit (param i32)))
  (func $ok (param i32) (if (local.get 0) (then unreachable)))
"""

TEAM = f"""
  {HEAD}
  ;; 0: how many are done; 4: the gate; 8, 64: room for results; 16: no timeout; 128: thread_start
  (func (export "wasi_thread_start") (param $tid i32) (param $args i32)
    (call $ok (call $id (i32.const 64)))
    (if (i32.ne (local.get $args) (i32.const 128)) (then unreachable))
    (loop $l
      (if (i32.eqz (i32.atomic.load (i32.const 4)))
        (then
          (call $ok (call $wait (i32.const 4) (i32.const 0) (i32.const 16) (i32.const 8)))
          (br $l))))
    (call $ok (call $sleep (i64.const 1000000)))
    (drop (i32.atomic.rmw.add (i32.const 0) (local.get $tid)))
    (call $end (i32.const 3)))
  (func (export "_start") (local $i i32)
    (loop $spawn
      (call $ok (call $spawn (i32.const 128) (i32.add (i32.const 200) (local.get $i))))
      (br_if $spawn (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 20))))
    (i32.atomic.store (i32.const 4) (i32.const 1))
    (call $ok (call $wake (i32.const 4) (i32.const 8)))
    (local.set $i (i32.const 0))
    (loop $join
      (call $ok (call $join (i32.load offset=200 (local.get $i))))
      (br_if $join (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 20))))
    (call $exit (i32.atomic.load (i32.const 0))))"""


@pytest.mark.parametrize("every", [0, 1, 3, 7])
def test_a_team(every: int) -> None:
    """Five threads with numbers 1 to 5 wait at a gate, sleep and end; each is joined. With stops at
    every so-manieth safepoint, each time in a new process."""
    with World(TEAM, counted=True) as world:
        world.guest.start(countdown=every)
        while (event := world.guest.wait(30)) == Stopped():
            world.again()
            world.guest.proceed(countdown=every)
        assert event == Exited(1 + 2 + 3 + 4 + 5)


def test_the_process_ends_with_its_last_thread() -> None:
    """The main thread ends itself first; the other says so, and the exit code is 0."""
    text = f"""
      {HEAD}
      (func (export "wasi_thread_start") (param i32 i32)
        (call $ok (call $join (i32.const 99)))
        (call $ok (call $sleep (i64.const 20000000)))
        (i32.store (i32.const 0) (i32.const 1)))
      (func (export "_start")
        (call $ok (call $id (i32.const 64)))
        (if (i32.ne (i32.load (i32.const 64)) (i32.const {MAIN})) (then unreachable))
        (call $ok (i32.ne (call $join (i32.const {MAIN})) (i32.const 16)))
        (call $ok (call $spawn (i32.const 128) (i32.const 200)))
        (call $end (i32.const 7)))"""
    with World(text) as world:
        world.guest.start()
        assert world.guest.wait(30) == Exited(0)
        assert world.guest.memories[0].u32(0) == 1


def test_main_thread_that_joins_is_saved_so() -> None:
    text = f"""
      {HEAD}
      (func (export "wasi_thread_start") (param i32 i32)
        (call $ok (call $wait (i32.const 4) (i32.const 0) (i32.const 16) (i32.const 8))))
      (func (export "_start")
        (call $ok (call $spawn (i32.const 128) (i32.const 200)))
        (call $ok (call $join (i32.load (i32.const 200))))
        (call $exit (i32.const 5)))"""
    with World(text) as world:
        world.guest.start()
        while not world.guest.all_wait():
            world.guest.wait(0.001)
        for _ in range(2):
            world.guest.stop()
            assert world.guest.wait(30) == Stopped()
            names = [t.pending.name for t in world.guest.capture().threads if t.pending]
            assert names == ["thread_join", "futex_wait"]
            world.again()
            world.guest.proceed()
        while not world.guest.all_wait():
            world.guest.wait(0.001)
        world.host.futexes.notify(None, 0, 4, 1)  # type: ignore[arg-type]
        assert world.guest.wait(30) == Exited(5)
