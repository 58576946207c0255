"""Trees of processes, from outside: signals that come, and other processes that take over."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from cli.conftest import Command, Started, cache, code_cache, run, wasnap
from load import free_port
from threads import wasm

from .processes import CHLD, JOIN_ANY, PRINTED, PROGRAMS, SIGNALS, TERM, USR1, head
from .wat import address

__all__ = ["cache", "code_cache", "run", "wasnap"]

INT, TSTP = 2, 20

_READY = """
  (data (i32.const 1300) "ready\\0a")
  (func $ready (local $i i32)
    (loop $l
      (call $put (i32.const 1) (i32.load8_u offset=1300 (local.get $i)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6)))))
"""

LISTENERS = f"""
  {head()}
  {_READY}
  (data (i32.const 1000) "__wasm_signal")
  (data (i32.const 1100) "/bin/read")
  (func (export "__wasm_signal") (param i32)
    (if (i32.ne (local.get 0) (i32.const {CHLD}))
      (then (i32.atomic.store (i32.const 64) (local.get 0)))))
  (func $until_signal (loop $l (br_if $l (i32.eqz (i32.atomic.load (i32.const 64))))))
  (func (export "_start") (local $one i32) (local $two i32)
    (call $ok (call $pipe (i32.const 24) (i32.const 28)))
    (call $ok (call $pipe (i32.const 72) (i32.const 76)))
    (call $ok (call $flags (i32.load (i32.const 76)) (i32.const 1)))
    (call $callback (i32.const 1000) (i32.const 13))
    (if (i32.eqz (local.tee $one (call $forked)))
      (then
        (call $ok (call $close (i32.load (i32.const 76))))
        (call $until_signal)
        (call $exit (i32.atomic.load (i32.const 64)))))
    (if (i32.eqz (local.tee $two (call $forked)))
      (then
        (call $ok (call $exec (i32.const 1100) (i32.const 9) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
    (call $ok (call $close (i32.load (i32.const 76))))
    (drop (call $get (i32.load (i32.const 72)))) ;; it is the other program
    (call $ready)
    (call $until_signal)
    (call $say (i32.atomic.load (i32.const 64)))
    (if (i32.eq (i32.atomic.load (i32.const 64)) (i32.const {TERM}))
      (then
        (call $ok (call $wait (i32.const 0) (i32.const 1)))
        (call $say (i32.load (i32.const 12)))
        (call $ok (call $kill (local.get $one) (i32.const {USR1})))
        (call $ok (call $kill (local.get $two) (i32.const {TERM})))))
    (call $ok (call $wait (local.get $one) (i32.const 0)))
    (call $tell)
    (call $ok (call $wait (local.get $two) (i32.const 0)))
    (call $tell))"""
"""A process with a handler, a child with the same, and one that is a program without any. Having heard
SIGTERM, the first one sees that both live, and ends them."""


@pytest.mark.parametrize(
    "number, said",
    [
        (signal.SIGINT, f"{INT} 2 1 {INT} 0 3 2 0 {INT} "),
        (signal.SIGTERM, f"{TERM} 0 2 1 {USR1} 0 3 2 0 {TERM} "),
    ],
)
def test_signals(wasnap: Command, number: signal.Signals, said: str) -> None:
    """SIGINT, which a terminal sends, goes to all, SIGTERM to the first: after a snapshot, from which it
    is the same."""
    root = Path(wasnap.directory) / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "read").write_bytes(wasm(PROGRAMS["read"]))
    module = wasnap.write("m.wasm", wasm(LISTENERS))
    tree = wasnap.start("run", "--journal", "j", "--dir", "root::/", module)
    tree.signal(number)
    assert tree.end() == (0, f"ready\n{said}".encode(), "")
    again = wasnap.start("resume", "--at", "1", "j", ready=False)
    while wasnap("snapshot", str(again.pid)).returncode:  # until it runs
        assert not again.over(0)
    assert wasnap("signal", str(again.pid), number.name).returncode == 0
    assert again.end()[:2] == (0, said.encode())


RAISES = f"""
  {head()}
  (data (i32.const 1100) "/bin/raise")
  (func (export "_start")
    (if (i32.eqz (call $forked))
      (then
        (call $ok (call $exec (i32.const 1100) (i32.const 10) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
    {JOIN_ANY})"""
"""A child, another program, sends itself SIGTERM."""


@pytest.mark.parametrize(
    "text, printed",
    [(SIGNALS, PRINTED["signals"][2]), (RAISES, f"2 2 0 {TERM} ")],
    ids=["sent by its parent", "by itself"],
)
def test_a_signal_to_a_child_is_a_trigger(wasnap: Command, text: str, printed: str) -> None:
    """There is a snapshot; then the child ends of it, and nobody else, here and where that goes on."""
    wasnap.write("raise", wasm(PROGRAMS["raise"]))
    module = wasnap.write("m.wasm", wasm(text))
    options = ("--journal", "j", "--snapshot-on", "sigterm", "--dir", ".::/bin:ro")
    found = wasnap("run", *options, module)
    assert (found.returncode, found.stdout.decode()) == (0, printed)
    again = wasnap("resume", "--at", "1", "j")
    assert again.returncode == 0
    assert again.stdout
    assert printed.endswith(again.stdout.decode())


def raises(number: int) -> bytes:
    """Sends itself a signal for which it has no handler."""
    imports = '(import "wasix_32v1" "proc_raise" (func $raise (param i32) (result i32)))'
    return wasm(f"""
      {head(imports)}
      (func (export "_start")
        (call $say (i32.const 1))
        (call $ok (call $raise (i32.const {number})))
        (call $say (i32.const 2)))""")


def test_a_signal_to_oneself_has_its_effect_once(wasnap: Command) -> None:
    """The trigger's snapshot is of before, and goes on behind it: after SIGTERM, and SIGTSTP."""
    module = wasnap.write("term.wasm", raises(TERM))
    ended = wasnap("run", "--journal", "j", module)
    assert (ended.returncode, ended.stdout) == (143, b"1 ")
    again = wasnap("resume", "j")
    assert (again.returncode, again.stdout) == (0, b"2 ")
    module = wasnap.write("tstp.wasm", raises(TSTP))
    stops = wasnap.start("run", "--journal", "k", "--snapshot-on", "sigtstp", module, ready=False)
    os.waitid(os.P_PID, stops.pid, os.WSTOPPED)
    stops.signal(signal.SIGCONT)
    assert stops.end()[:2] == (0, b"1 2 ")
    again = wasnap("resume", "--at", "1", "k")
    assert (again.returncode, again.stdout) == (0, b"2 ")


def prefork(port: int) -> bytes:
    """Listens, forks two that accept, prints ``ready``, and tells how they ended. Each tells who
    connects its number, and answers each byte with how many there have been (``A``, ``B`` ...), until
    that is a ``q``."""
    imports = """
      (import "wasix_32v1" "sock_open" (func $socket (param i32 i32 i32 i32) (result i32)))
      (import "wasix_32v1" "sock_bind" (func $bind (param i32 i32) (result i32)))
      (import "wasix_32v1" "sock_listen" (func $listen (param i32 i32) (result i32)))
      (import "wasix_32v1" "sock_accept_v2" (func $accept (param i32 i32 i32 i32) (result i32)))"""
    return wasm(f"""
      {head(imports)}
      {_READY}
      {address(port)}
      (func $serve (local $fd i32) (local $byte i32) (local $count i32)
        (loop $accepting
          (call $ok
            (call $accept (i32.load (i32.const 512)) (i32.const 0) (i32.const 516) (i32.const 600)))
          (local.set $fd (i32.load (i32.const 516)))
          (call $put (local.get $fd) (i32.add (i32.const 48) (call $me)))
          (loop $answering
            (local.set $byte (call $get (local.get $fd)))
            (if (i32.eq (local.get $byte) (i32.const 0x71)) (then (call $exit (local.get $count))))
            (if (i32.eq (local.get $byte) (i32.const -1))
              (then (call $ok (call $close (local.get $fd))) (br $accepting)))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (call $put (local.get $fd) (i32.add (i32.const 64) (local.get $count)))
            (br $answering))))
      (func (export "_start")
        (call $ok (call $socket (i32.const 1) (i32.const 1) (i32.const 6) (i32.const 512)))
        (call $ok (call $bind (i32.load (i32.const 512)) (i32.const 256)))
        (call $ok (call $listen (i32.load (i32.const 512)) (i32.const 16)))
        (if (i32.eqz (call $forked)) (then (call $serve)))
        (if (i32.eqz (call $forked)) (then (call $serve)))
        (call $ready)
        {JOIN_ANY}
        {JOIN_ANY}
        (call $exit (i32.const 5)))""")


def test_taken_over(wasnap: Command) -> None:
    """One tree's place is taken by another again and again; who was connected to a child stays so."""
    port = free_port()
    module = wasnap.write("m.wasm", prefork(port))
    on = ("--snapshot-on", "explicit")
    tree: Started = wasnap.start(
        "run", "--journal", "j", *on, "--listen", f"127.0.0.1:{port}", module
    )

    def connect() -> tuple[socket.socket, int]:
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        return client, int(client.recv(1))

    def ask(client: socket.socket) -> bytes:
        client.sendall(b"?")
        return client.recv(1)

    one, first = connect()
    assert ask(one) == b"A"
    for answers in (b"BA", b"CB"):
        new = wasnap.start("resume", *on, "--take-over", str(tree.pid), "j", ready=False)
        assert ask(one) == answers[:1]
        if answers == b"BA":  # it has waited through all that
            other, second = connect()
            assert {first, second} == {2, 3}
        assert ask(other) == answers[1:]
        assert tree.end()[:2] == (0, b"ready\n" if answers == b"BA" else b"")
        tree = new
    one.sendall(b"q")
    assert one.recv(1) == b""
    other.sendall(b"q")
    returncode, printed = tree.end()[:2]
    assert returncode == 5
    ended = [f"{first} 1 3 0 ".encode(), f"{second} 1 2 0 ".encode()]  # a child's end closes its
    assert printed in (b"".join(ended), b"".join(reversed(ended)))  # connection before it is told
    one.close()
    other.close()
