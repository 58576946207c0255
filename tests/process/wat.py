"""Small WASI programs in text, for tests of whole processes.

Each prints ``ready`` when it is where the test wants it, so that no test has to guess or sleep. One
that is *held* does not end before it has read a byte of stdin, or its end: however slow the test is,
it still runs.
"""

from __future__ import annotations

from collections.abc import Callable

import wasmtime

_PRELUDE = """
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "ready\\n")
  ;; print the bytes at (ptr, len)
  (func $print (param $ptr i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $ptr))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $ready (call $print (i32.const 16) (i32.const 6)))
  ;; print a number and a newline
  (func $number (param $n i32) (local $at i32)
    (local.set $at (i32.const 127))
    (i32.store8 (i32.const 127) (i32.const 10))
    (loop $digits
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (br_if $digits (local.get $n)))
    (call $print (local.get $at) (i32.sub (i32.const 128) (local.get $at))))
  ;; a number that takes some work
  (func $work (param $x i32) (param $steps i32) (result i32)
    (loop $next
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
      (br_if $next (local.tee $steps (i32.sub (local.get $steps) (i32.const 1)))))
    (local.get $x))
  ;; wait for a byte of stdin, or its end
  (func $hold
    (i32.store (i32.const 0) (i32.const 256))
    (i32.store (i32.const 4) (i32.const 1))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))
"""


def _as_it_is(text: str) -> str:
    return text


def wasm(body: str, imports: str = "", made: Callable[[str], str] = _as_it_is) -> bytes:
    """The module with these imports and other fields, and the prelude's functions; ``made``: what
    its text is made into."""
    return bytes(wasmtime.wat2wasm(f"(module {made(f'{imports} {_PRELUDE} {body}')})"))


def counter(lines: int, steps: int = 100_000, code: int = 0, *, held: bool = False) -> bytes:
    """Prints ``ready`` and so many numbers, each after some work; then ends with the code. ``held``:
    before the last number.
    """
    hold = f"(if (i32.eq (local.get $i) (i32.const {lines - 1})) (then (call $hold)))"
    return wasm(f"""
      (func $main (export "_start") (local $i i32) (local $x i32)
        (call $ready)
        (loop $lines
          {hold if held else ""}
          (local.set $x (call $work (local.get $x) (i32.const {steps})))
          (call $number (local.get $x))
          (br_if $lines
            (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {lines}))))
        (call $exit (i32.const {code})))""")


def counted(lines: int, steps: int = 100_000) -> bytes:
    """What ``counter`` prints."""
    # So many steps of x -> a * x + c are one such step: squared and multiplied as powers are.
    a, c = 1, 0
    factor, addend, left = 1664525, 1013904223, steps
    while left:
        if left & 1:
            a, c = a * factor, c * factor + addend
        factor, addend = factor * factor, addend * factor + addend
        a, c, factor, addend = (v & 0xFFFFFFFF for v in (a, c, factor, addend))
        left >>= 1
    x, printed = 0, ["ready"]
    for _ in range(lines):
        x = (x * a + c) & 0xFFFFFFFF
        printed.append(str(x))
    return ("\n".join(printed) + "\n").encode()


def endless() -> bytes:
    """Prints ``ready``, then computes for ever, without a call."""
    return wasm("""(func (export "_start") (call $ready) (loop $for_ever (br $for_ever)))""")


def echo() -> bytes:
    """Prints ``ready``, reads once from stdin, and prints what came."""
    return wasm("""
      (func (export "_start")
        (call $ready)
        (i32.store (i32.const 0) (i32.const 256))
        (i32.store (i32.const 4) (i32.const 64))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $print (i32.const 256) (i32.load (i32.const 8))))""")


def sleeper(seconds: int, code: int = 0) -> bytes:
    """Prints ``ready``, sleeps (poll_oneoff on the monotonic clock), is held, prints ``ready`` again."""
    return wasm(f"""
      (func (export "_start")
        (call $ready)
        (i32.store8 (i32.const 264) (i32.const 0))
        (i32.store (i32.const 272) (i32.const 1))
        (i64.store (i32.const 280) (i64.const {seconds * 10**9}))
        (drop (call $poll (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 600)))
        (call $hold)
        (call $ready)
        (call $exit (i32.const {code})))""")


SERVE = """
  ;; answer what comes on a connection, until it ends
  (func $serve (param $fd i32) (local $error i32)
    (loop $more
      (i32.store (i32.const 528) (i32.const 280))
      (i32.store (i32.const 532) (i32.const 1))
      (local.set $error (call $recv (local.get $fd) (i32.const 528) (i32.const 1)
        (i32.const 0) (i32.const 540) (i32.const 544)))
      (if (i32.or (local.get $error) (i32.eqz (i32.load (i32.const 540))))
        (then
          (call $number (local.get $error))
          (drop (call $close (local.get $fd)))
          (return)))
      (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
      (if (i32.eq (i32.load8_u (i32.const 280)) (i32.const 0x71))
        (then (call $exit (i32.load (i32.const 1024)))))
      (i32.store8 (i32.const 280) (i32.add (i32.const 64) (i32.load (i32.const 1024))))
      (drop (call $send (local.get $fd) (i32.const 528) (i32.const 1)
        (i32.const 0) (i32.const 540)))
      (br $more)))
"""
"""What servers do; it wants ``$recv``, ``$send`` and ``$close``."""


def server() -> bytes:
    """Prints ``ready``, accepts on descriptor 3, and answers each message on a connection with how
    many there have been on all of them: one byte, ``A`` for 1. A ``q`` ends it, with that number
    as the exit code. When a connection ends, it prints the errno (0: closed) and accepts again.
    """
    return wasm(
        SERVE
        + """
      (func (export "_start") (local $error i32)
        (call $ready)
        (loop $accept
          (if (local.tee $error (call $accept (i32.const 3) (i32.const 0) (i32.const 512)))
            (then (call $exit (local.get $error))))
          (call $serve (i32.load (i32.const 512)))
          (br $accept)))""",
        imports="""
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv"
    (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send"
    (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))""",
    )


def diver(depth: int, steps: int) -> bytes:
    """Calls itself so deep, prints ``ready``, works there, is held, and adds one on each way up."""
    return wasm(f"""
      (func $dive (param $depth i32) (result i32)
        (if (result i32) (local.get $depth)
          (then (i32.add (i32.const 1)
            (call $dive (i32.sub (local.get $depth) (i32.const 1)))))
          (else (call $ready) (call $work (i32.const 1) (i32.const {steps})) (call $hold))))
      (func (export "_start") (call $number (call $dive (i32.const {depth}))))""")


def dived(depth: int, steps: int) -> bytes:
    """What ``diver`` prints."""
    x = 1
    for _ in range(steps):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return f"ready\n{(x + depth) & 0xFFFFFFFF}\n".encode()


def trapper() -> bytes:
    """Traps in a function called ``bad``, called from ``worse``."""
    return wasm("""
      (func $bad (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
      (func $worse (result i32) (i32.add (i32.const 1) (call $bad (i32.const 0))))
      (func (export "_start") (drop (call $worse)))""")


_RAISE = """
  (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))"""
_OUTSIDE = """
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"""
_SNAPSHOT = '(import "wasnap" "snapshot" (func $snapshot (result i32)))'


def raiser(signal: int) -> bytes:
    """Prints ``ready``, sends itself the signal (WASI's number), prints what came of it; ends with 7."""
    return wasm(
        f"""
      (func (export "_start")
        (call $ready)
        (call $number (call $raise (i32.const {signal})))
        (call $exit (i32.const 7)))""",
        _RAISE,
    )


def asker() -> bytes:
    """Prints ``ready``, asks for a snapshot of itself, prints the errno; twice; ends with 7."""
    return wasm(
        """
      (func (export "_start")
        (call $ready)
        (call $number (call $snapshot))
        (call $number (call $snapshot))
        (call $exit (i32.const 7)))""",
        _SNAPSHOT,
    )


def asking_counter(lines: int) -> bytes:
    """Prints ``ready`` and the numbers from 1, and asks for a snapshot before each; ends with 7."""
    return wasm(
        f"""
      (func (export "_start") (local $i i32)
        (call $ready)
        (loop $lines
          (drop (call $snapshot))
          (call $number (local.tee $i (i32.add (local.get $i) (i32.const 1))))
          (br_if $lines (i32.lt_u (local.get $i) (i32.const {lines}))))
        (call $exit (i32.const 7)))""",
        _SNAPSHOT,
    )


def curious(times: int = 3) -> bytes:
    """Prints ``ready``; so many times: looks at the clock, draws a random number, prints a number
    that depends on neither; ends with 7.
    """
    return wasm(
        f"""
      (func (export "_start") (local $i i32)
        (call $ready)
        (loop $again
          (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 512)))
          (drop (call $random (i32.const 512) (i32.const 8)))
          (call $number (local.tee $i (i32.add (local.get $i) (i32.const 1))))
          (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
        (call $exit (i32.const 7)))""",
        _OUTSIDE,
    )


def reader() -> bytes:
    """Prints ``ready``, then each byte of stdin as a number; ends with 7."""
    return wasm("""
      (func (export "_start")
        (call $ready)
        (loop $again
          (i32.store (i32.const 0) (i32.const 256))
          (i32.store (i32.const 4) (i32.const 1))
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (if (i32.load (i32.const 8))
            (then
              (call $number (i32.load8_u (i32.const 256)))
              (br $again))))
        (call $exit (i32.const 7)))""")


def waker(sleeps: int, milliseconds: int) -> bytes:
    """Prints ``ready``; so many times: sleeps, and prints a number; ends with 7."""
    return wasm(f"""
      (func (export "_start") (local $i i32)
        (call $ready)
        (loop $again
          (i32.store8 (i32.const 264) (i32.const 0))
          (i32.store (i32.const 272) (i32.const 1))
          (i64.store (i32.const 280) (i64.const {milliseconds * 10**6}))
          (drop (call $poll (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 600)))
          (call $number (local.tee $i (i32.add (local.get $i) (i32.const 1))))
          (br_if $again (i32.lt_u (local.get $i) (i32.const {sleeps}))))
        (call $exit (i32.const 7)))""")


def worker(steps: int) -> bytes:
    """Prints ``ready``, then numbers as ``counter`` does, until there is something on stdin; 7."""
    return wasm(f"""
      (func (export "_start") (local $x i32)
        (call $ready)
        (i32.store8 (i32.const 264) (i32.const 0))  ;; a clock that has run out
        (i32.store (i32.const 272) (i32.const 1))
        (i64.store (i32.const 304) (i64.const 1))   ;; and stdin
        (i32.store8 (i32.const 312) (i32.const 1))
        (loop $again
          (local.set $x (call $work (local.get $x) (i32.const {steps})))
          (call $number (local.get $x))
          (drop (call $poll (i32.const 256) (i32.const 512) (i32.const 2) (i32.const 700)))
          (br_if $again (i32.and
            (i32.eq (i32.load (i32.const 700)) (i32.const 1))
            (i64.eqz (i64.load (i32.const 512))))))
        (call $exit (i32.const 7)))""")
