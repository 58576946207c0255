"""Guests with several processes that have several threads, in text. Each prints what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wasnap.host.threads import MAIN

from .processes import JOIN_ANY, head

_THREADS: Final = """
  (import "wasix_32v1" "thread_spawn_v2" (func $thread (param i32 i32) (result i32)))
  (import "wasix_32v1" "thread_join" (func $joined (param i32) (result i32)))
  (import "wasix_32v1" "thread_id" (func $thread_id (param i32) (result i32)))
  (import "wasix_32v1" "thread_exit" (func $end (param i32)))
"""
_COMMON: Final = f"""
  ;; 128: thread_start; 192: which thread is called; 196: threads' numbers
  ;; 220: the lock; 224: the gate; 228: a counter; 232: whether to go on; 236: what a thread left
  (func $started (param $what i32) (result i32) ;; its number
    (call $ok (call $thread (i32.const 128) (i32.const 196)))
    (call $set (i32.const 192) (local.get $what))
    (drop (memory.atomic.wait32 (i32.const 192) (local.get $what) (i64.const -1)))
    (i32.load (i32.const 196)))
  (func $set (param $at i32) (param $what i32) ;; and wake who waits there
    (i32.atomic.store (local.get $at) (local.get $what))
    (drop (memory.atomic.notify (local.get $at) (i32.const -1))))
  (func $until (param $at i32) ;; it is not 0: what it is then
    (loop $l
      (if (i32.eqz (i32.atomic.load (local.get $at)))
        (then
          (drop (memory.atomic.wait32 (local.get $at) (i32.const 0) (i64.const -1)))
          (br $l)))))
  (func $called (result i32) (local $what i32) ;; each of them once
    (call $until (i32.const 192))
    (local.set $what (i32.atomic.load (i32.const 192)))
    (call $set (i32.const 192) (i32.const 0))
    (local.get $what))
  (func $is_main (result i32)
    (call $ok (call $thread_id (i32.const 0)))
    (i32.eq (i32.load (i32.const 0)) (i32.const {MAIN})))
  (func $count ;; until it is told not to
    (call $set (i32.const 228) (i32.const 1))
    (loop $l
      (drop (i32.atomic.rmw.add (i32.const 228) (i32.const 1)))
      (br_if $l (i32.eqz (i32.atomic.load (i32.const 232))))))
"""

MOMENT = f"""
  {head(_THREADS, pages=64)}
  {_COMMON}
  (func (export "wasi_thread_start") (param i32 i32) (local $n i32)
    (loop $l
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (i32.atomic.store (i32.const 65536) (local.get $n))
      (i32.atomic.store (i32.const 4194300) (local.get $n))
      (br_if $l (i32.eqz (i32.atomic.load (i32.const 232))))))
  (func (export "_start") (local $i i32) (local $torn i32)
    (memory.fill (i32.const 65540) (i32.const 1) (i32.const 4128760))
    (call $ok (call $thread (i32.const 128) (i32.const 196)))
    (loop $l
      (if (i32.eqz (call $forked))
        (then
          (call $exit (i32.lt_u
            (i32.load (i32.const 65536)) (i32.load (i32.const 4194300))))))
      (call $ok (call $wait (i32.const 0) (i32.const 0)))
      (local.set $torn (i32.add (local.get $torn) (i32.load16_u (i32.const 18))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $say (local.get $torn))
    (call $set (i32.const 232) (i32.const 1))
    (call $ok (call $joined (i32.load (i32.const 196)))))"""
"""A thread writes a number here, and then 4 MiB further on; what children have is never behind there,
however the copy is made."""

COPIES = f"""
  {head(_THREADS)}
  {_COMMON}
  (func (export "wasi_thread_start") (param i32 i32) (local $what i32)
    (local.set $what (call $called))
    (if (i32.eq (local.get $what) (i32.const 1))
      (then
        (call $set (i32.const 220) (i32.const 1))
        (call $until (i32.const 224))
        (call $set (i32.const 220) (i32.const 0))))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (call $count)))
    (if (i32.eq (local.get $what) (i32.const 3))
      (then (i32.atomic.store (i32.const 236) (call $get (i32.load (i32.const 24))))))
    (if (i32.eq (local.get $what) (i32.const 4)) (then (i32.atomic.store (i32.const 236) (i32.const 9)))))
  (func (export "_start") (local $one i32) (local $two i32) (local $three i32) (local $n i32)
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (local.set $one (call $started (i32.const 1)))
    (call $until (i32.const 220))
    (local.set $two (call $started (i32.const 2)))
    (call $until (i32.const 228))
    (local.set $three (call $started (i32.const 3)))
    (if (i32.eqz (call $forked))
      (then
        (local.set $n (i32.atomic.load (i32.const 228)))
        (call $compute (i32.const 300))
        (call $say (i32.eq (local.get $n) (i32.atomic.load (i32.const 228))))
        (call $say (i32.atomic.load (i32.const 220)))
        (call $say (call $joined (local.get $one)))
        (call $say (memory.atomic.notify (i32.const 224) (i32.const -1)))
        (local.set $n (call $started (i32.const 4)))
        (call $say (i32.gt_u (local.get $n) (local.get $three)))
        (call $ok (call $joined (local.get $n)))
        (call $say (i32.atomic.load (i32.const 236)))
        (call $say (call $is_main))
        (call $exit (i32.const 21))))
    {JOIN_ANY}
    (call $set (i32.const 224) (i32.const 1))
    (call $ok (call $joined (local.get $one)))
    (call $say (i32.atomic.load (i32.const 220)))
    (call $set (i32.const 232) (i32.const 1))
    (call $ok (call $joined (local.get $two)))
    (call $put (i32.load (i32.const 28)) (i32.const 65))
    (call $ok (call $joined (local.get $three)))
    (call $say (i32.atomic.load (i32.const 236))))"""
"""Of threads that hold a lock and wait, compute, and read, a child has none: the lock stays as it was,
the counter stands still, nobody waits at the gate or is to be joined. It starts one of its own, whose
number is new. The parent's go on."""

BRANCH = f"""
  {head(_THREADS)}
  {_COMMON}
  (func (export "wasi_thread_start") (param i32 i32) (local $what i32) (local $n i32)
    (local.set $what (call $called))
    (if (i32.eq (local.get $what) (i32.const 2))
      (then (call $until (i32.const 224)) (call $say (i32.const 5))))
    (if (i32.eq (local.get $what) (i32.const 1))
      (then
        (call $say (call $is_main))
        (if (i32.eqz (call $forked))
          (then
            (call $say (call $is_main))
            (call $say (call $mother))
            (local.set $n (call $started (i32.const 2)))
            (call $set (i32.const 224) (i32.const 1))
            (call $end (i32.const 0))))
        {JOIN_ANY})))
  (func (export "_start")
    (call $ok (call $joined (call $started (i32.const 1))))
    (call $say (call $is_main)))"""
"""A thread forks, and waits for its child; that has it for its main thread, which ends itself before
another one."""

SUCCESSION = f"""
  {head(_THREADS)}
  {_COMMON}
  (data (i32.const 1100) "/bin/tell")
  (data (i32.const 1120) "tell\\0atwo")
  (func (export "wasi_thread_start") (param i32 i32) (local $what i32)
    (local.set $what (call $called))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (call $count)))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (call $until (i32.const 224))))
    (if (i32.eq (local.get $what) (i32.const 3))
      (then
        (call $until (i32.const 228))
        (call $ok (call $exec (i32.const 1100) (i32.const 9) (i32.const 1120) (i32.const 8)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))))
  (func $go
    (drop (call $started (i32.const 1)))
    (call $until (i32.const 228))
    (drop (call $started (i32.const 2)))
    (call $ok (call $joined (call $started (i32.const 3)))))
  (func (export "_start")
    (if (i32.eqz (call $forked)) (then (call $go)))
    {JOIN_ANY}
    (call $go))"""
"""A thread that is not the main one goes on as another program, in a child and in the first process:
the others, which compute and wait, are over."""

FALL = f"""
  {head(_THREADS)}
  {_COMMON}
  (func (export "wasi_thread_start") (param i32 i32) (local $what i32)
    (local.set $what (call $called))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (call $until (i32.const 224)) unreachable))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (call $count)))
    (if (i32.eq (local.get $what) (i32.const 3)) (then (call $until (i32.const 224)) (call $exit (i32.const 33)))))
  (func $go (param $what i32)
    (drop (call $started (i32.const 2)))
    (call $until (i32.const 228))
    (local.set $what (call $started (local.get $what)))
    (call $set (i32.const 224) (i32.const 1))
    (call $ok (call $joined (local.get $what)))
    (call $forever))
  (func (export "_start")
    (if (i32.eqz (call $forked)) (then (call $go (i32.const 1))))
    {JOIN_ANY}
    (if (i32.eqz (call $forked)) (then (call $go (i32.const 3))))
    {JOIN_ANY}
    (call $say (call $wait (i32.const 0) (i32.const 0))))"""
"""A thread of a child traps; a thread of another one exits."""

RIVALS = f"""
  {head(_THREADS)}
  {_COMMON}
  (data (i32.const 1100) "/bin/tell")
  (data (i32.const 1120) "tell\\0atwo")
  (func $go
    (call $until (i32.const 224))
    (call $ok (call $exec (i32.const 1100) (i32.const 9) (i32.const 1120) (i32.const 8)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
  (func (export "wasi_thread_start") (param i32 i32)
    (if (i32.eq (call $called) (i32.const 1)) (then (call $go)))
    (loop $l
      (call $ok (call $flags (i32.const 2) (i32.const 0)))
      (br $l)))
  (func (export "_start")
    (drop (call $started (i32.const 1)))
    (drop (call $started (i32.const 1)))
    (drop (call $started (i32.const 2)))
    (call $set (i32.const 224) (i32.const 1))
    (call $go))"""
"""Three threads want to go on as another program, and a fourth minds whether a descriptor is there: no
call of theirs fails."""

SWARM = f"""
  {head(_THREADS)}
  {_COMMON}
  (func (export "wasi_thread_start") (param $me i32) (param i32) (local $i i32) (local $at i32)
    (local.set $at (i32.mul (local.get $me) (i32.const 64))) ;; room of its own
    (loop $l
      (call $ok (call $fork (i32.const 1) (i32.add (local.get $at) (i32.const 1024))))
      (if (i32.eqz (i32.load offset=1024 (local.get $at)))
        (then (call $exit (i32.add (local.get $me) (local.get $i)))))
      (i32.store offset=1032 (local.get $at) (i32.const 1))
      (i32.store offset=1036 (local.get $at) (i32.load offset=1024 (local.get $at)))
      (call $ok (call $join (i32.add (local.get $at) (i32.const 1032)) (i32.const 0)
        (i32.add (local.get $at) (i32.const 1040))))
      (drop (i32.atomic.rmw.add (i32.const 236) (i32.load16_u offset=1042 (local.get $at))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4)))))
  (func (export "_start") (local $i i32)
    (loop $l
      (call $ok (call $thread (i32.const 128) (i32.add (i32.const 240) (local.get $i))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 16))))
    (local.set $i (i32.const 0))
    (loop $l
      (call $ok (call $joined (i32.load offset=240 (local.get $i))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 16))))
    (call $say (i32.atomic.load (i32.const 236))))"""
"""Four threads fork at the same time, again and again, and wait for their children: how these ended."""

PRINTED: Final[Mapping[str, tuple[str, int, str]]] = {
    "moment": (MOMENT, 0, "0 "),
    "copies": (COPIES, 0, "1 1 0 0 1 9 1 2 1 21 0 0 65 "),
    "branch": (BRANCH, 0, "0 1 1 5 2 1 0 0 1 "),
    "succession": (SUCCESSION, 0, "tell,two,2 1 0 0 tell,two,"),
    "rivals": (RIVALS, 0, "tell,two,"),
    "swarm": (SWARM, 0, f"{sum(me + i for me in range(1, 5) for i in range(4))} "),
    "fall": (FALL, 0, "2 2 0 6 3 1 33 0 12 "),
}
"""What each does, its exit code, and what it prints."""
