"""Pipes of WASIX between threads, in text, saved while they are full, empty and waited for."""

from __future__ import annotations

import pytest

from wasnap.engine import Exited

from .test_signals import BODY, IMPORTS, THREADS, outcome

CHAIN = f"""
  {THREADS} {IMPORTS}
  (import "wasix_32v1" "fd_pipe" (func $pipe (param i32 i32) (result i32)))
  (import "wasix_32v1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_close" (func $close (param i32) (result i32)))
  {BODY}
  ;; 0, 4: the pipe; 16: iovec of a writer, its word at 32; 48: iovec of the reader, its word at 64
  (func (export "wasi_thread_start") (param i32 i32) (local $i i32)
    (i32.store (i32.const 16) (i32.const 32))
    (i32.store (i32.const 20) (i32.const 4))
    (loop $l
      (i32.store (i32.const 32) (local.tee $i (i32.add (local.get $i) (i32.const 1))))
      (call $ok (call $write (i32.load (i32.const 4)) (i32.const 16) (i32.const 1) (i32.const 24)))
      (br_if $l (i32.lt_u (local.get $i) (i32.const 30))))
    (call $ok (call $close (i32.load (i32.const 4)))))
  (func (export "_start") (local $sum i32)
    (call $ok (call $pipe (i32.const 0) (i32.const 4)))
    (call $ok (call $spawn (i32.const 128) (i32.const 200)))
    (i32.store (i32.const 48) (i32.const 64))
    (i32.store (i32.const 52) (i32.const 4))
    (loop $l
      (call $ok (call $read (i32.load (i32.const 0)) (i32.const 48) (i32.const 1) (i32.const 56)))
      (if (i32.load (i32.const 56))
        (then
          (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 64))))
          (br $l))))
    (call $exit (local.get $sum)))"""


@pytest.mark.parametrize("every", [0, 1, 2, 7])
def test_a_thread_that_writes_and_one_that_reads(every: int) -> None:
    """Until the end of the pipe; with a new process at every so-manieth safepoint."""
    assert outcome(CHAIN, every, Exited(sum(range(31)))) == b""
