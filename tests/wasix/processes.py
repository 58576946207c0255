"""Guests with several processes, in text. Each prints what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from threads import wasm

USR1, TERM, CHLD = 10, 15, 17

_IMPORTS: Final = """
  (import "env" "memory" (memory 2 4 shared))
  (import "wasix_32v1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasix_32v1" "fd_pipe" (func $pipe (param i32 i32) (result i32)))
  (import "wasix_32v1" "fd_fdflags_set" (func $flags (param i32 i32) (result i32)))
  (import "wasix_32v1" "path_open2"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "chdir" (func $chdir (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_fork" (func $fork (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_join" (func $join (param i32 i32 i32) (result i32)))
  (import "wasix_32v1" "proc_id" (func $id (param i32) (result i32)))
  (import "wasix_32v1" "proc_parent" (func $parent (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_signal" (func $kill (param i32 i32) (result i32)))
  (import "wasix_32v1" "proc_exit2" (func $exit (param i32)))
  (import "wasix_32v1" "proc_exec3"
    (func $exec (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "proc_spawn2" (func $spawn
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "proc_spawn" (func $first_spawn
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasix_32v1" "proc_fork_env" (func $act (param i32) (result i32)))
  (import "wasix_32v1" "callback_signal" (func $callback (param i32 i32)))
"""
_FUNCTIONS: Final = """
  ;; 0: a pid; 8: option_pid; 16: join_status; 24, 28: a pipe; 32: iovec; 40: its byte; 44: count
  ;; 64: what a handler has seen
  (global (export "__stack_pointer") (mut i32) (i32.const 65536))
  (data (i32.const 1000) "__wasm_signal")
  (func $ok (param i32) (if (local.get 0) (then unreachable)))
  (func $put (param $fd i32) (param $byte i32)
    (i32.store (i32.const 32) (i32.const 40))
    (i32.store (i32.const 36) (i32.const 1))
    (i32.store8 (i32.const 40) (local.get $byte))
    (call $ok
      (call $write (local.get $fd) (i32.const 32) (i32.const 1) (i32.const 44))))
  (func $get (param $fd i32) (result i32) ;; -1 at the end
    (i32.store (i32.const 32) (i32.const 40))
    (i32.store (i32.const 36) (i32.const 1))
    (call $ok (call $read (local.get $fd) (i32.const 32) (i32.const 1) (i32.const 44)))
    (select (i32.load8_u (i32.const 40)) (i32.const -1) (i32.load (i32.const 44))))
  (func $say (param $n i32) ;; a number, and a blank
    (if (i32.ge_u (local.get $n) (i32.const 10))
      (then (call $digits (i32.div_u (local.get $n) (i32.const 10)))))
    (call $put (i32.const 1) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
    (call $put (i32.const 1) (i32.const 32)))
  (func $digits (param $n i32)
    (if (i32.ge_u (local.get $n) (i32.const 10))
      (then (call $digits (i32.div_u (local.get $n) (i32.const 10)))))
    (call $put (i32.const 1) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))
  (func $me (result i32) (call $ok (call $id (i32.const 0))) (i32.load (i32.const 0)))
  (func $mother (result i32)
    (call $ok (call $parent (call $me) (i32.const 0)))
    (i32.load (i32.const 0)))
  (func $forked (result i32)
    (call $ok (call $fork (i32.const 1) (i32.const 0)))
    (i32.load (i32.const 0)))
  (func $wait (param $pid i32) (param $flags i32) (result i32) ;; any child if 0; the errno
    (i32.store (i32.const 8) (i32.ne (local.get $pid) (i32.const 0)))
    (i32.store (i32.const 12) (local.get $pid))
    (call $join (i32.const 8) (local.get $flags) (i32.const 16)))
  (func $tell ;; what proc_join said: pid, tag, code, signal
    (call $say (i32.load (i32.const 12)))
    (call $say (i32.load8_u (i32.const 16)))
    (call $say (i32.load16_u (i32.const 18)))
    (call $say (i32.load16_u (i32.const 20))))
  (func $forever ;; from a pipe that nobody else has
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (drop (call $get (i32.load (i32.const 24)))))
  (func $compute (param $n i32)
    (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
"""


def head(imports: str = "", pages: int = 2) -> str:
    """What all of them begin with. ``pages``: how much memory they have."""
    memory = f"(memory {pages} {pages + 2} shared)"
    return _IMPORTS.replace("(memory 2 4 shared)", memory) + imports + _FUNCTIONS


_HEAD = head()

JOIN_ANY = "(call $ok (call $wait (i32.const 0) (i32.const 0))) (call $tell)"

FAMILY = f"""
  {_HEAD}
  (func (export "_start") (local $i i32) (local $c i32)
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (if (i32.eqz (call $forked))
      (then
        (loop $l
          (call $put (i32.load (i32.const 28)) (local.tee $i (i32.add (local.get $i) (i32.const 1))))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 20))))
        (call $put (i32.load (i32.const 28)) (call $me))
        (call $put (i32.load (i32.const 28)) (call $mother))
        (call $exit (i32.const 3))))
    (call $ok (call $close (i32.load (i32.const 28))))
    (loop $l
      (if (i32.ne (i32.const -1) (local.tee $c (call $get (i32.load (i32.const 24)))))
        (then (call $say (local.get $c)) (br $l))))
    {JOIN_ANY}
    (call $say (call $wait (i32.const 0) (i32.const 0)))
    (call $say (call $wait (i32.const 2) (i32.const 0)))
    (call $say (call $mother)))"""
"""A pipe from child to parent; how it ended; ECHILD (12); who the parent of the first is."""

ZOMBIES = f"""
  {_HEAD}
  (func (export "_start") (local $i i32)
    (loop $l
      (if (i32.eqz (call $forked)) (then (call $exit (i32.add (i32.const 40) (local.get $i)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
    (call $compute (i32.const 3000))
    (call $ok (call $wait (i32.const 3) (i32.const 0)))
    (call $tell)
    (call $say (call $wait (i32.const 3) (i32.const 0)))
    (loop $l
      (call $ok (call $wait (i32.const 4) (i32.const 1)))
      (br_if $l (i32.eqz (i32.load (i32.const 12)))))
    (call $tell)
    {JOIN_ANY}
    (if (i32.eqz (call $forked)) ;; one that will not end by itself
      (then (call $forever) unreachable))
    (call $ok (call $wait (i32.load (i32.const 0)) (i32.const 1)))
    (call $tell)
    (call $say (call $wait (i32.const 1) (i32.const 1))))"""
"""Joined by number, by polling, and any; a child that lives; oneself is none. The end of the first
process ends the others."""

ORPHAN = f"""
  {_HEAD}
  (func (export "_start") (local $c i32)
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (call $ok (call $pipe (i32.const 72) (i32.const 76)))
    (if (i32.eqz (call $forked))
      (then
        (if (i32.eqz (call $forked))
          (then
            (call $ok (call $close (i32.load (i32.const 28))))
            (drop (call $get (i32.load (i32.const 24)))) ;; until nobody has the other end
            (call $put (i32.load (i32.const 76)) (call $mother))
            (call $exit (i32.const 0))))
        (call $exit (i32.const 1))))
    {JOIN_ANY}
    (call $say (call $wait (i32.const 0) (i32.const 1)))
    (call $ok (call $close (i32.load (i32.const 28))))
    (call $ok (call $close (i32.load (i32.const 76))))
    (call $say (call $get (i32.load (i32.const 72))))
    (call $say (i32.add (i32.const 1) (call $get (i32.load (i32.const 72))))))"""
"""A grandchild whose parent has ended: its parent is 0, and nobody can wait for it."""

VFORK = f"""
  {_HEAD}
  (func (export "_start")
    (i32.store (i32.const 80) (i32.const 1))
    (call $ok (call $fork (i32.const 0) (i32.const 0)))
    (if (i32.eqz (i32.load (i32.const 0)))
      (then
        (i32.store (i32.const 80) (i32.const 2))
        (call $compute (i32.const 500))
        (call $say (i32.load (i32.const 80)))
        (call $exit (i32.const 7))))
    (call $say (i32.load (i32.const 80)))
    {JOIN_ANY})"""
"""The parent waits; the child has memory of its own."""

SIGNALS = f"""
  {_HEAD}
  (func (export "__wasm_signal") (param i32) (i32.atomic.store (i32.const 64) (local.get 0)))
  (func $hear (call $callback (i32.const 1000) (i32.const 13)))
  (func (export "_start") (local $child i32)
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (if (i32.eqz (local.tee $child (call $forked))) ;; computes until a handler was there
      (then
        (call $hear)
        (call $put (i32.load (i32.const 28)) (i32.const 1))
        (loop $l (br_if $l (i32.eqz (i32.atomic.load (i32.const 64)))))
        (call $exit (i32.atomic.load (i32.const 64)))))
    (drop (call $get (i32.load (i32.const 24))))
    (call $ok (call $kill (local.get $child) (i32.const {USR1})))
    {JOIN_ANY}
    (if (i32.eqz (local.tee $child (call $forked))) ;; has no handler
      (then (call $forever) unreachable))
    (call $ok (call $kill (local.get $child) (i32.const 0)))
    (call $ok (call $kill (local.get $child) (i32.const {TERM})))
    {JOIN_ANY}
    (call $say (call $kill (local.get $child) (i32.const {TERM})))
    (call $hear)
    (if (i32.eqz (call $forked)) (then (call $exit (i32.const 6))))
    (loop $l (br_if $l (i32.ne (i32.atomic.load (i32.const 64)) (i32.const {CHLD}))))
    (call $ok (call $wait (i32.const 0) (i32.const 1)))
    (call $tell))"""
"""To another process, with a handler and without; SRCH (71) for one that is gone; SIGCHLD."""

FILES = f"""
  {_HEAD}
  (data (i32.const 1100) "out")
  (func (export "_start") (local $fd i32)
    (call $ok (call $open (i32.const 3) (i32.const 0) (i32.const 1100) (i32.const 3) (i32.const 1)
      (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 0) (i32.const 48)))
    (local.set $fd (i32.load (i32.const 48)))
    (call $put (local.get $fd) (i32.const 97))
    (if (i32.eqz (call $forked))
      (then
        (call $put (local.get $fd) (i32.const 98))
        (call $ok (call $close (local.get $fd)))
        (call $exit (i32.const 0))))
    {JOIN_ANY}
    (call $put (local.get $fd) (i32.const 99)))"""
"""An open file is one, with one offset; closed in one process it is open in the other."""

EXEC = f"""
  {_HEAD}
  (data (i32.const 1100) "/bin/tell")
  (data (i32.const 1120) "tell\\0aone\\0a\\0athree\\0a")
  (data (i32.const 1150) "A=b\\0aC=\\0a")
  (data (i32.const 1170) "tell")
  (data (i32.const 1180) "/none:/bin")
  (data (i32.const 1200) "/bin/text")
  (data (i32.const 1220) "/bin")
  (data (i32.const 1230) "/bin/nosuch")
  (func $run (param $name i32) (param $length i32) (result i32) ;; the errno
    (call $exec (local.get $name) (local.get $length) (i32.const 1120) (i32.const 16)
      (i32.const 1150) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0)))
  (func (export "_start")
    (call $say (call $run (i32.const 1200) (i32.const 9)))
    (call $say (call $run (i32.const 1220) (i32.const 4)))
    (call $say (call $run (i32.const 1230) (i32.const 11)))
    (if (i32.eqz (call $forked)) (then (call $ok (call $run (i32.const 1100) (i32.const 9)))))
    {JOIN_ANY}
    (call $ok (call $chdir (i32.const 1220) (i32.const 4)))
    (call $ok (call $spawn (i32.const 1170) (i32.const 4) (i32.const 1120) (i32.const 16)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1) (i32.const 1180) (i32.const 10) (i32.const 0)))
    {JOIN_ANY}
    (call $ok (call $flags (i32.const 2) (i32.const 1)))
    (call $ok (call $exec (i32.const 1170) (i32.const 4) (i32.const 1120) (i32.const 16)
      (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1180) (i32.const 10))))"""
"""Not a module (NOEXEC 45), a directory (ACCES 2), nothing (NOENT 44); then a program by its path, in a
child that is found in a PATH, and in the first process's place."""

SPAWN = f"""
  {_HEAD}
  (data (i32.const 1100) "/bin/tell/nosuch\\0a")
  (data (i32.const 1120) "tell\\0aone\\0a")
  (func $run (param $name i32) (param $chroot i32) (param $mappings i32) (param $dir i32) (param $way i32)
    (result i32) ;; lengths of the name, the mappings and the directory; stdout's way; the errno
    (call $first_spawn (i32.const 1100) (local.get $name) (local.get $chroot)
      (i32.const 1120) (i32.const 9) (i32.const 1116) (local.get $mappings)
      (i32.const 0) (local.get $way) (i32.const 2) (i32.const 1100) (local.get $dir) (i32.const 200)))
  (func (export "_start") (local $c i32)
    (call $say (call $run (i32.const 9) (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 0)))
    (call $say (call $run (i32.const 9) (i32.const 0) (i32.const 10) (i32.const 4) (i32.const 0)))
    (call $say (call $run (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 0)))
    (call $say (call $run (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)))
    (call $say (call $run (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 4)))
    (call $say (call $wait (i32.const 0) (i32.const 0)))
    (call $ok (call $run (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 4) (i32.const 1)))
    {JOIN_ANY}
    (call $say (i32.load8_u (i32.const 204)))
    (call $say (i32.load8_u (i32.const 212)))
    (call $ok (call $close (i32.load (i32.const 208))))
    (call $ok (call $run (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 4) (i32.const 0)))
    (call $say (i32.load (i32.const 200)))
    (call $say (i32.load8_u (i32.const 204)))
    (call $say (i32.load8_u (i32.const 212)))
    (call $say (i32.load8_u (i32.const 220)))
    (loop $l
      (if (i32.ne (i32.const -1) (local.tee $c (call $get (i32.load (i32.const 216)))))
        (then (call $say (local.get $c)) (br $l))))
    {JOIN_ANY}
    (call $say (call $close (i32.load (i32.const 208)))))"""
"""The first version of spawning. What it cannot do (NOTSUP 58), a directory that is none (NOTDIR 54), no
program (NOENT 44), no such way (INVAL 28), and no child of any (CHILD 12); one that prints where we do; one
whose output comes through a pipe."""

ACT = f"""
  {_HEAD}
  (data (i32.const 1100) "/bin")
  (data (i32.const 1110) "tell\\0aone\\0a")
  (func $run (param $length i32) (result i32) ;; the errno
    (call $exec (i32.const 1110) (local.get $length) (i32.const 1110) (i32.const 9)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
  (func (export "_start")
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (call $ok (call $act (i32.const 80)))
    (call $say (i32.load (i32.const 80)))
    (call $say (call $me))
    (call $say (call $mother))
    (call $ok (call $close (i32.load (i32.const 28))))
    (call $ok (call $close (i32.const 0)))
    (call $compute (i32.const 50))
    (call $exit (i32.const 5))
    (call $say (call $me))
    (call $ok (call $close (i32.const 0))) ;; we still have it
    (call $put (i32.load (i32.const 28)) (i32.const 7))
    (call $say (call $get (i32.load (i32.const 24))))
    {JOIN_ANY}
    (call $ok (call $act (i32.const 80)))
    (call $say (call $act (i32.const 80)))
    (call $say (call $run (i32.const 4)))
    (call $ok (call $chdir (i32.const 1100) (i32.const 4)))
    (call $ok (call $flags (i32.const 2) (i32.const 1)))
    (call $say (call $me))
    (call $ok (call $run (i32.const 4))) ;; it runs beside us now
    {JOIN_ANY}
    (call $say (call $me))
    (call $say (call $run (i32.const 4)))
    (call $ok (call $close (i32.const 2)))
    (call $ok (call $act (i32.const 80)))
    (call $compute (i32.const 50))
    (call $say (i32.load (i32.const 80))))"""
"""It acts as a child: with its own number and descriptors, in one memory, until that ends, or is another
program, whose working directory is not ours. Acting twice is NOTSUP. The process may end while it does."""

STRANGERS = f"""
  {_HEAD}
  (data (i32.const 1100) "/bin/spin")
  (data (i32.const 1120) "/bin/read")
  (func $run (param $name i32) (result i32) (local $pid i32) ;; it runs already
    (call $ok (call $pipe (i32.const 72) (i32.const 76)))
    (call $ok (call $flags (i32.load (i32.const 76)) (i32.const 1)))
    (if (i32.eqz (local.tee $pid (call $forked)))
      (then
        (call $ok (call $exec (local.get $name) (i32.const 9) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
    (call $ok (call $close (i32.load (i32.const 76))))
    (drop (call $get (i32.load (i32.const 72))))
    (local.get $pid))
  (func (export "_start")
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (call $ok (call $kill (call $run (i32.const 1100)) (i32.const {TERM})))
    {JOIN_ANY}
    (call $ok (call $kill (call $run (i32.const 1120)) (i32.const {CHLD})))
    (call $ok (call $kill (i32.const 3) (i32.const {USR1})))
    {JOIN_ANY})"""
"""Signals to programs that know of none and that no handler could run in: one computes, one reads."""

PROGRAMS: Final[Mapping[str, str]] = {
    "spin": '(func (export "_start") (loop $l (br $l)))',
    "read": """
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (i32.store (i32.const 4) (i32.const 1))
        (drop (call $read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 8)))
        unreachable)""",
    "raise": f"""
      (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $raise (i32.const {TERM})))
        unreachable)""",
}
"""To execute. The second reads from the first pipe that was made."""

TELL = """
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $esizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $i i32)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 1024) (i32.const 4096)))
    (loop $l ;; something to be stopped in
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
    (local.set $i (i32.const 4096))
    (loop $l
      (if (i32.eqz (i32.load8_u (local.get $i)))
        (then (i32.store8 (local.get $i) (i32.const 44))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
        (i32.add (i32.const 4096) (i32.load (i32.const 4))))))
    (i32.store (i32.const 16) (i32.const 4096))
    (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (drop (call $esizes (i32.const 0) (i32.const 4)))
    (call $exit (i32.add (i32.mul (i32.const 10) (i32.load (i32.const 0)))
      (call $stat (i32.const 2) (i32.const 64)))))"""
"""Prints its arguments; its exit code: ten times how many variables it has, and 8 (BADF) more
without stderr."""

PRINTED: Final[Mapping[str, tuple[str, int, str]]] = {
    "family": (
        FAMILY,
        0,
        " ".join(map(str, range(1, 21))) + " 2 1 2 1 3 0 12 12 0 ",
    ),
    "zombies": (ZOMBIES, 0, "3 1 41 0 12 4 1 42 0 2 1 40 0 0 0 0 0 12 "),
    "orphan": (ORPHAN, 0, "2 1 1 0 12 0 0 "),
    "vfork": (VFORK, 0, "2 1 2 1 7 0 "),
    "signals": (SIGNALS, 0, f"2 1 {USR1} 0 3 2 0 {TERM} 71 4 1 6 0 "),
    "strangers": (STRANGERS, 0, f"2 2 0 {TERM} 3 2 0 {USR1} "),
    "files": (FILES, 0, "2 1 0 0 "),
    "spawn": (
        SPAWN,
        0,
        "58 58 54 44 28 12 tell,one,3 1 8 0 1 0 4 1 1 0 "
        + "".join(f"{c} " for c in b"tell,one,")
        + "4 1 8 0 0 ",
    ),
    "act": (
        ACT,
        0,
        "2 2 1 1 7 2 1 5 0 58 44 3 tell,one,3 1 8 0 1 44 4 ",
    ),
    "exec": (
        EXEC,
        8,
        "45 2 44 tell,one,,three,2 1 20 0 tell,one,,three,3 1 0 0 tell,one,,three,",
    ),
}
"""What each does, its exit code, and what it prints."""


def root(directory: Path) -> Path:
    """What they see: programs to execute, and something that is none."""
    made = directory / "root"
    (made / "bin").mkdir(parents=True)
    for program, text in {**PROGRAMS, "tell": TELL}.items():
        (made / "bin" / program).write_bytes(wasm(text))
    (made / "bin" / "text").write_bytes(b"#!/bin/sh\n")
    return made
