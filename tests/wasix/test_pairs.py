"""Pairs of sockets, counters and epoll between threads, in text, saved at every moment."""

from __future__ import annotations

import pytest

from wasnap.engine import Exited

from .test_signals import BODY, IMPORTS, THREADS, outcome

CHAIN = f"""
  {THREADS} {IMPORTS}
  (import "wasix_32v1" "sock_pair" (func $pair (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_event" (func $event (param i64 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasix_32v1" "epoll_create" (func $epoll (param i32) (result i32)))
  (import "wasix_32v1" "epoll_ctl" (func $control (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "epoll_wait" (func $poll (param i32 i32 i32 i64 i32) (result i32)))
  {BODY}
  ;; 0, 4: the pair; 8: the counter; 12: the list; 16: iovec of the writer, its word at 32;
  ;; 48: iovec of the reader, its words at 64; 256: an entry; 320: what happened; 80: how many
  (func $add (param $fd i32) (param $events i32)
    (i32.store (i32.const 256) (local.get $events))
    (i32.store (i32.const 268) (local.get $fd))
    (call $ok (call $control
      (i32.load (i32.const 12)) (i32.const 0) (local.get $fd) (i32.const 256))))
  (func (export "wasi_thread_start") (param i32 i32) (local $i i32)
    (i32.store (i32.const 16) (i32.const 32))
    (i32.store (i32.const 20) (i32.const 4))
    (loop $l
      (i32.store (i32.const 32) (local.tee $i (i32.add (local.get $i) (i32.const 1))))
      (call $ok (call $send
        (i32.load (i32.const 4)) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 24)))
      (br_if $l (i32.lt_u (local.get $i) (i32.const 12))))
    (call $ok (call $close (i32.load (i32.const 4))))
    (i64.store (i32.const 32) (i64.const 100))
    (i32.store (i32.const 20) (i32.const 8))
    (call $ok (call $write (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func (export "_start") (local $sum i32) (local $error i32) (local $left i32)
    (call $ok (call $pair (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $ok (call $event (i64.const 0) (i32.const 0) (i32.const 8)))
    (call $ok (call $epoll (i32.const 12)))
    (call $add (i32.load (i32.const 0)) (i32.const 0x41)) ;; with edges
    (call $add (i32.load (i32.const 8)) (i32.const 1))
    (call $ok (call $spawn (i32.const 128) (i32.const 200)))
    (i32.store (i32.const 48) (i32.const 64))
    (i32.store (i32.const 52) (i32.const 4))
    (local.set $left (i32.const 2))
    (loop $l
      (call $ok (call $poll (i32.load (i32.const 12)) (i32.const 320) (i32.const 1) (i64.const -1)
        (i32.const 80)))
      (if (i32.eq (i32.load (i32.const 332)) (i32.load (i32.const 8)))
        (then
          (i32.store (i32.const 52) (i32.const 8))
          (call $ok (call $read (i32.load (i32.const 8)) (i32.const 48) (i32.const 1) (i32.const 56)))
          (i32.store (i32.const 52) (i32.const 4))
          (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 64))))
          (local.set $left (i32.sub (local.get $left) (i32.const 1))))
        (else
          (loop $more
            (local.set $error (call $recv (i32.load (i32.const 0)) (i32.const 48) (i32.const 1)
              (i32.const 8) (i32.const 56) (i32.const 60)))
            (if (i32.eqz (local.get $error))
              (then
                (if (i32.load (i32.const 56))
                  (then
                    (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 64))))
                    (br $more))
                  (else
                    (call $ok (call $close (i32.load (i32.const 0))))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1))))))))))
      (br_if $l (local.get $left)))
    (call $exit (local.get $sum)))"""


@pytest.mark.parametrize("every", [0, 1, 2, 5])
def test_a_thread_that_sends_and_one_that_waits_for_everything(every: int) -> None:
    """With edges, until the end of the pair and of the counter; with a new process at every
    so-manieth safepoint."""
    assert outcome(CHAIN, every, Exited(sum(range(13)) + 100)) == b""
