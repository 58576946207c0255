"""Signals from outside to a guest that has handlers (WASIX): it gets them, after the snapshot if they
are triggers; where it has none for one, the signal has its usual effect.

The guest's callback is made as wasix-libc's is: handlers are called through a table, and where there
is none the callback itself blocks all signals, and would then abort.
"""

from __future__ import annotations

import os
import signal
import threading

import pytest
from process import wat
from wasix.test_public import binary

from triggers.conftest import Command, Started, taken
from triggers.test_signals import stopped
from wasnap.host.occasions import Occasions
from wasnap.triggers import Around, EndNow, Request, Signal

GRACE = "0.3"
TRIGGERS = ("sigint", "sigalrm", "sigterm", "sigtstp")
ON = ("--journal", "j", *(f"--snapshot-on={name}" for name in TRIGGERS))
INTR = b"27\n"
IMPORTS = """
  (import "wasix_32v1" "callback_signal" (func $callback (param i32 i32)))
"""


def guest(*defaults: int, computes: bool = False) -> bytes:
    """Prints each signal that it handles, all but ``defaults``; a USR1 blocks and restores all, and
    prints 110, too. Reads stdin meanwhile: prints each byte, and 27 for each EINTR; or computes, and
    handles signals in between. Ends with 7 at its third SIGINT.
    """
    is_default = " ".join(
        f"(if (i32.eq (local.get $n) (i32.const {n})) (then (call $block) (unreachable)))"
        for n in defaults
    )
    waits = """(loop $again
      (i32.store (i32.const 1024) (i32.const 1100)) (i32.store (i32.const 1028) (i32.const 1))
      (local.set $error (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032)))
      (call $number (if (result i32) (local.get $error)
        (then (local.get $error)) (else (i32.load8_u (i32.const 1100)))))
      (br $again))"""
    loops = "(drop (call $work (i32.const 1) (i32.const 0x7fffffff)))" * 9
    return wat.wasm(
        f"""
      (data (i32.const 1200) "__wasm_signal_blocked")
      (global (export "__stack_pointer") (mut i32) (i32.const 65536))
      (type $handler (func (param i32)))
      (table 1 funcref) (elem (i32.const 0) $handle)
      (func $listen (call $callback (i32.const 1200) (i32.const 13)))
      (func $block (call $callback (i32.const 1200) (i32.const 21)))
      (func $handle (param $n i32)
        (call $number (local.get $n))
        (if (i32.eq (local.get $n) (i32.const 10)) (then
          (call $block) (call $number (i32.const 110)) (call $listen)))
        (if (i32.eq (local.get $n) (i32.const 2)) (then
          (i32.store (i32.const 1300) (i32.add (i32.load (i32.const 1300)) (i32.const 1)))
          (if (i32.eq (i32.load (i32.const 1300)) (i32.const 3)) (then (call $exit (i32.const 7)))))))
      (func (export "__wasm_signal") (param $n i32)
        {is_default}
        (call_indirect (type $handler) (local.get $n) (i32.const 0)))
      (func (export "_start") (local $error i32)
        (call $listen) (call $ready)
        {loops if computes else waits})""",
        IMPORTS,
    )


def gets(started: Started, number: signal.Signals, *lines: int) -> None:
    """It is sent a signal, and prints these numbers."""
    started.signal(number)
    prints(started, *lines)


def prints(started: Started, *lines: int) -> None:
    """It prints these numbers; in between, perhaps, that the read in which it waited was ended."""
    for wanted in lines:
        while (line := started.line()) == INTR:
            pass
        assert line == b"%d\n" % wanted


@pytest.mark.parametrize("options", [(), ON], ids=["none", "triggers"])
@pytest.mark.parametrize("computes", [False, True], ids=["waiting", "computing"])
def test_handlers(wasnap: Command, options: tuple[str, ...], computes: bool) -> None:
    """Each signal reaches its handler, and EINTR the call it waits in. A snapshot is from before: the
    process that is resumed from it knows nothing of the signal, and gets the next ones.
    """
    module = wasnap.write("m.wasm", guest(computes=computes))
    started = wasnap.start("run", *options, module)
    gets(started, signal.SIGINT, 2)
    gets(started, signal.SIGALRM, 14)
    gets(started, signal.SIGTERM, 15)
    gets(started, signal.SIGTSTP, 20)
    gets(started, signal.SIGWINCH, 28)
    gets(started, signal.SIGCONT, 18)
    gets(started, signal.SIGHUP, 1)
    gets(started, signal.SIGUSR1, 10, 110)
    gets(started, signal.SIGINT, 2)
    if not computes:
        started.signal(signal.SIGHUP)
        while started.line() != INTR:  # not while it was about to read, but in the end
            started.signal(signal.SIGHUP)
    started.signal(signal.SIGINT)
    assert started.end()[0] == 7
    if not options:
        return
    names = ["sigint", "sigalrm", "sigterm", "sigtstp", "sigint", "sigint"]
    assert taken(wasnap.directory / "j") == names
    if computes:
        return
    for at, left in ((1, 3), (4, 2)):
        started = wasnap.start("resume", "j", "--at", str(at), "--quiet", ready=False)
        started.write(b"x")
        prints(started, 120)
        for _ in range(left - 1):
            gets(started, signal.SIGINT, 2)
        gets(started, signal.SIGINT, 2)
        assert started.end()[0] == 7


@pytest.mark.parametrize("options", [(), ON], ids=["none", "triggers"])
def test_no_handler(wasnap: Command, options: tuple[str, ...]) -> None:
    """It does not abort as its libc would have it: it stands still, goes on, and ends with the signal's
    own code.
    """
    module = wasnap.write("m.wasm", guest(2, 20, 28))
    started = wasnap.start("run", *options, module)
    gets(started, signal.SIGUSR1, 10, 110)
    started.signal(signal.SIGWINCH)
    started.write(b"a")
    while started.line() != b"97\n":
        pass
    started.signal(signal.SIGTSTP)
    assert stopped(started.pid)
    started.signal(signal.SIGCONT)
    while started.line() != b"18\n":
        pass
    started.signal(signal.SIGINT)
    code, _, stderr = started.end()
    assert code == 130, stderr
    if options:
        assert taken(wasnap.directory / "j") == ["sigtstp", "sigint"]


def test_the_guest_ignores_it_and_its_grace_is_over(wasnap: Command) -> None:
    """SIGTERM is handled, by nothing; SIGINT has no deadline."""
    module = wasnap.write("m.wasm", guest())
    started = wasnap.start("run", *ON, "--grace", GRACE, module)
    gets(started, signal.SIGINT, 2)
    assert not started.over(2 * float(GRACE))
    already = len(started.printed)
    started.signal(signal.SIGTERM)
    code, printed, _ = started.end()
    assert code == 143
    handled = {b"15", b"27"}  # if the snapshot was there before the grace was over
    assert set(printed[already:].split()) <= handled


def test_stopped_by_a_command(wasnap: Command) -> None:
    """``wasnap stop`` asks nobody."""
    started = wasnap.start("run", *ON, wasnap.write("m.wasm", guest()))
    assert wasnap("stop", str(started.pid)).returncode == 0
    assert started.end()[0] == 0


def test_again_before_its_snapshot_is_there() -> None:
    """Means now, also to a guest that handles it; afterwards it is a new one."""
    requests: list[Request] = []
    trigger = Signal("sigint")
    trigger.arm(Around(requests.append, lambda: 0, lambda: True, lambda name: True, Occasions()))
    try:
        os.kill(os.getpid(), signal.SIGINT)
        requests[0].serve(1)
        os.kill(os.getpid(), signal.SIGINT)
        assert [request.then.signal for request in requests] == ["SIGINT"] * 2
        with pytest.raises(EndNow):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(1)
    finally:
        trigger.disarm()


@pytest.mark.parametrize(
    ("name", "number", "send"),
    [
        ("sigterm", 15, "(drop (call $raise (i32.const 15)))"),
        ("sigalrm", 14, "(drop (call $alarm (i32.const 14) (i64.const 1000) (i32.const 0)))"),
    ],
    ids=["raise", "alarm"],
)
def test_from_the_guest_itself(wasnap: Command, name: str, number: int, send: str) -> None:
    """The handler runs after the snapshot, and does not end the process; so it does in each that is
    resumed from it, where the trigger does not fire again."""
    module = wat.wasm(
        f"""
      (data (i32.const 1200) "__wasm_signal")
      (global (export "__stack_pointer") (mut i32) (i32.const 65536))
      (func (export "__wasm_signal") (param $n i32)
        (call $number (local.get $n)) (call $exit (i32.const 7)))
      (func (export "_start")
        (call $callback (i32.const 1200) (i32.const 13)) (call $ready)
        {send}
        (loop $for_ever (br $for_ever)))""",
        IMPORTS
        + """
      (import "wasix_32v1" "proc_raise" (func $raise (param i32) (result i32)))
      (import "wasix_32v1" "proc_raise_interval"
        (func $alarm (param i32 i64 i32) (result i32)))""",
    )
    done = wasnap("run", *ON, wasnap.write("m.wasm", module))
    printed = b"%d\n" % number
    assert (done.returncode, done.stdout) == (7, b"ready\n" + printed), done.stderr
    assert taken(wasnap.directory / "j") == [name]
    done = wasnap("resume", "--quiet", *ON[2:], "j")
    assert (done.returncode, done.stdout) == (7, printed), done.stderr
    assert taken(wasnap.directory / "j") == [name]


@pytest.mark.real
@pytest.mark.slow
def test_dash(wasnap: Command) -> None:
    """A shell that nobody here wrote: its trap, and what it has no trap for."""
    script = """trap 'echo trapped' INT; echo ready; for i in 1 2 3 4 5; do read line; echo "$line"; done"""
    run = ("run", "--quiet", *ON, "--tmp", "/", str(binary("dash.wasm")), "-c", script)
    started = wasnap.start(*run)
    started.write(b"one\n")
    assert started.line() == b"one\n"
    started.signal(signal.SIGINT)
    assert started.line() == b"trapped\n"
    started.signal(signal.SIGTSTP)
    assert stopped(started.pid)
    started.signal(signal.SIGCONT)
    started.write(b"two\n")
    while started.line() == b"\n":  # a read that was ended
        pass
    assert started.printed.endswith(b"two\n")
    started.signal(signal.SIGTERM)
    code, _, stderr = started.end()
    assert (code, stderr) == (143, "")
    assert taken(wasnap.directory / "j") == ["sigint", "sigtstp", "sigterm"]
