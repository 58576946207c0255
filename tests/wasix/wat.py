"""Programs of WASIX in text, for tests of whole processes."""

from __future__ import annotations

import struct
from collections.abc import Callable

from process import wat

IMPORTS = """
  (import "wasix_32v1" "sock_open" (func $open (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "sock_bind" (func $bind (param i32 i32) (result i32)))
  (import "wasix_32v1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasix_32v1" "sock_accept_v2" (func $accept (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "sock_connect" (func $connect (param i32 i32) (result i32)))
  (import "wasix_32v1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "epoll_create" (func $epoll (param i32) (result i32)))
  (import "wasix_32v1" "epoll_ctl" (func $control (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "epoll_wait" (func $wait (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasix_32v1" "fd_close" (func $close (param i32) (result i32)))"""

AS_THE_LIBC = IMPORTS
"""wasix-libc has these from preview1's module, and means WASIX's."""
for _name in ("sock_recv", "sock_send"):
    AS_THE_LIBC = AS_THE_LIBC.replace(
        f'"wasix_32v1" "{_name}"', f'"wasi_snapshot_preview1" "{_name}"'
    )


def address(port: int) -> str:
    """127.0.0.1, at 256."""
    data = struct.pack("<BxH", 1, port) + b"\x7f\0\0\1"
    text = "".join(f"\\{byte:02x}" for byte in data)
    return f'(data (i32.const 256) "{text}")'


_HEAD = """
  (func $must (param $error i32) ;; or it ends with 100 and more
    (if (local.get $error) (then (call $exit (i32.add (i32.const 100) (local.get $error))))))
"""


def server(port: int = 0, made: Callable[[str], str] | None = None) -> bytes:
    """Prints ``ready``, listens, and is then as ``process.wat.server`` is."""
    return wat.wasm(
        _HEAD
        + wat.SERVE
        + address(port)
        + """
      (func (export "_start")
        (call $ready)
        (call $must (call $open (i32.const 1) (i32.const 1) (i32.const 6) (i32.const 512)))
        (call $must (call $bind (i32.load (i32.const 512)) (i32.const 256)))
        (call $must (call $listen (i32.load (i32.const 512)) (i32.const 16)))
        (loop $accept
          (call $must
            (call $accept (i32.load (i32.const 512)) (i32.const 0) (i32.const 516) (i32.const 600)))
          (call $serve (i32.load (i32.const 516)))
          (br $accept)))""",
        IMPORTS,
        *([made] if made else []),
    )


def echo(port: int = 0, made: Callable[[str], str] | None = None) -> bytes:
    """Prints ``ready``, listens, and sends back what comes, to many at once: an epoll list of all, with
    edges for connections, which are read one byte at a time until there is nothing more. A ``q`` ends it.
    """
    return wat.wasm(
        _HEAD
        + address(port)
        + """
      (func $add (param $fd i32) (param $events i32)
        (i32.store (i32.const 700) (local.get $events))
        (i32.store (i32.const 712) (local.get $fd))
        (call $must (call $control
          (i32.load (i32.const 520)) (i32.const 0) (local.get $fd) (i32.const 700))))
      (func $drain (param $fd i32) (local $error i32)
        (loop $more
          (i32.store (i32.const 528) (i32.const 280))
          (i32.store (i32.const 532) (i32.const 1))
          (local.set $error (call $recv (local.get $fd) (i32.const 528) (i32.const 1)
            (i32.const 8) (i32.const 540) (i32.const 544)))
          (if (i32.eq (local.get $error) (i32.const 6)) (then (return)))
          (if (i32.or (local.get $error) (i32.eqz (i32.load (i32.const 540))))
            (then (drop (call $close (local.get $fd))) (return)))
          (if (i32.eq (i32.load8_u (i32.const 280)) (i32.const 0x71)) (then (call $exit (i32.const 7))))
          (drop (call $send (local.get $fd) (i32.const 528) (i32.const 1)
            (i32.const 0) (i32.const 540)))
          (br $more)))
      (func (export "_start") (local $i i32) (local $fd i32)
        (call $ready)
        (call $must (call $open (i32.const 1) (i32.const 1) (i32.const 6) (i32.const 512)))
        (call $must (call $bind (i32.load (i32.const 512)) (i32.const 256)))
        (call $must (call $listen (i32.load (i32.const 512)) (i32.const 16)))
        (call $must (call $epoll (i32.const 520)))
        (call $add (i32.load (i32.const 512)) (i32.const 1))
        (loop $again
          (call $must (call $wait (i32.load (i32.const 520)) (i32.const 2048) (i32.const 8)
            (i64.const -1) (i32.const 524)))
          (local.set $i (i32.const 0))
          (loop $each
            (local.set $fd (i32.load offset=2060 (i32.shl (local.get $i) (i32.const 5))))
            (if (i32.eq (local.get $fd) (i32.load (i32.const 512)))
              (then
                (call $must (call $accept
                  (local.get $fd) (i32.const 0) (i32.const 516) (i32.const 600)))
                (call $add (i32.load (i32.const 516)) (i32.const 0x41)))
              (else (call $drain (local.get $fd))))
            (br_if $each (i32.lt_u
              (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.load (i32.const 524)))))
          (br $again)))""",
        IMPORTS,
        *([made] if made else []),
    )


def client(port: int) -> bytes:
    """Connects, says ``?``, and prints the first byte of each answer (``!`` and the errno of one that
    fails, ``.`` at the end), until it gets a ``q``."""
    return wat.wasm(
        _HEAD
        + address(port)
        + """
      (data (i32.const 300) "?.!\\n")
      (func (export "_start") (local $error i32)
        (call $must (call $open (i32.const 1) (i32.const 1) (i32.const 6) (i32.const 512)))
        (call $must (call $connect (i32.load (i32.const 512)) (i32.const 256)))
        (call $ready)
        (i32.store (i32.const 528) (i32.const 300))
        (i32.store (i32.const 532) (i32.const 1))
        (call $must (call $send (i32.load (i32.const 512)) (i32.const 528) (i32.const 1)
          (i32.const 0) (i32.const 540)))
        (i32.store (i32.const 528) (i32.const 280))
        (loop $more
          (local.set $error (call $recv (i32.load (i32.const 512)) (i32.const 528) (i32.const 1)
            (i32.const 0) (i32.const 540) (i32.const 544)))
          (if (local.get $error)
            (then (call $print (i32.const 302) (i32.const 1)) (call $number (local.get $error))
              (call $exit (i32.const 3))))
          (if (i32.eqz (i32.load (i32.const 540)))
            (then (call $print (i32.const 301) (i32.const 1)) (call $exit (i32.const 0))))
          (call $print (i32.const 280) (i32.const 1))
          (br_if $more (i32.ne (i32.load8_u (i32.const 280)) (i32.const 0x71)))))""",
        imports=AS_THE_LIBC,
    )
