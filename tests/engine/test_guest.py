"""Starting, stopping, going on and restoring a guest thread, in every order that can happen.

Nothing sleeps: a guest stops itself through a host function that asks for the stop, or by its
countdown, or it is known to wait in a host call because the host function said so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from wasnap.engine import (
    Exited,
    Failed,
    Finished,
    Guest,
    PendingCall,
    Phase,
    Program,
    Stopped,
    Trapped,
)
from wasnap.errors import CannotResume, UnsupportedModule, UsageError
from wasnap.host.protocol import Call, Exit, HostFunction, Stop, Suspended

from .guests import Snapshot, functions, host, load

FIB = """(module
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"""

SPIN = """(module
  (import "h" "spinning" (func $spinning))
  (memory (export "memory") 1)
  (func (export "run") (call $spinning) (loop $again (br $again))))"""


def stopper(guests: list[Guest]) -> HostFunction:
    """``h.stop``: asks for a stop of the first guest."""
    return host("stop", "->", lambda call: guests[0].stop())


# -- running and stopping -----------------------------------------------------------------------


def test_runs_to_its_end() -> None:
    with Guest(load(FIB), functions()) as guest:
        guest.start("fib", (20,))
        assert guest.wait(20) == Finished((6765,))
        assert guest.phase is Phase.DONE


def test_start_function_then_initialize_then_the_entry() -> None:
    order: list[int] = []
    text = """(module (import "h" "say" (func $say (param i32)))
      (func $start (call $say (i32.const 1))) (start $start)
      (func (export "_initialize") (call $say (i32.const 2)))
      (func (export "run") (call $say (i32.const 3))))"""
    with Guest(load(text), functions(host("say", "i->", lambda c, n: order.append(n)))) as guest:
        guest.start("run")
        assert guest.wait(20) == Finished(())
    assert order == [1, 2, 3]


def test_an_endless_loop_stops_and_goes_on() -> None:
    spinning = threading.Event()
    with Guest(load(SPIN), functions(host("spinning", "->", lambda c: spinning.set()))) as guest:
        guest.start("run")
        assert spinning.wait(20)
        for _ in range(3):
            guest.stop()
            assert guest.wait(20) == Stopped()
            assert [frame.size > 0 for frame in guest.frames()] == [True]
            guest.proceed()


def test_recursion_without_any_loop_stops() -> None:
    """Only call sites can notice the stop, and it comes from outside."""
    begun = threading.Event()
    fib = FIB.removeprefix("(module").rstrip()[:-1]
    text = f"""(module (import "h" "begun" (func $begun)) {fib}
      (func (export "run") (result i32) (call $begun) (call $fib (i32.const 48))))"""
    with Guest(load(text), functions(host("begun", "->", lambda c: begun.set()))) as guest:
        guest.start("run")
        assert begun.wait(20)
        guest.stop()
        assert guest.wait(20) == Stopped()
        guest.proceed()
        guest.stop()
        assert guest.wait(20) == Stopped()


@pytest.mark.parametrize("every", [1, 2, 7, 100])
def test_countdown_stops_at_the_nth_safepoint(every: int) -> None:
    stops = 0
    with Guest(load(FIB, counted=True), functions()) as guest:
        guest.start("fib", (8,), countdown=every)
        while (event := guest.wait(20)) == Stopped():
            stops += 1
            guest.proceed(countdown=every)
        assert event == Finished((21,))
    assert stops >= 60 // every


def test_each_stop_restored_in_a_fresh_guest() -> None:
    """A chain: every safepoint of a run is captured and goes on in a new instance."""
    program = load(FIB, counted=True)
    guest = Guest(program, functions())
    guest.start("fib", (7,), countdown=1)
    links = 0
    while (event := guest.wait(20)) == Stopped():
        snapshot = Snapshot(guest)
        guest.close()
        guest = Guest(program, functions())
        snapshot.restore(guest)
        guest.proceed(countdown=1)
        links += 1
    guest.close()
    assert event == Finished((13,))
    assert links == 40


def test_one_snapshot_resumes_many_times() -> None:
    program = load(FIB, counted=True)
    with Guest(program, functions()) as guest:
        guest.start("fib", (15,), countdown=500)
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
        guest.proceed()
        assert guest.wait(20) == Finished((610,))
    for _ in range(3):
        with Guest(program, functions()) as guest:
            snapshot.restore(guest)
            guest.proceed()
            assert guest.wait(20) == Finished((610,))


def test_start_function_is_not_run_again_after_a_restore() -> None:
    order: list[int] = []
    guests: list[Guest] = []
    text = """(module
      (import "h" "say" (func $say (param i32))) (import "h" "stop" (func $stop))
      (global $g (mut i32) (i32.const 0))
      (func $start (call $say (i32.const 1)) (call $stop) (global.set $g (i32.const 7)))
      (start $start)
      (func (export "run") (result i32) (call $say (i32.const 2)) (global.get $g)))"""
    program = load(text)
    provided = functions(host("say", "i->", lambda c, n: order.append(n)), stopper(guests))
    with Guest(program, provided) as guest:
        guests[:] = [guest]
        guest.start("run")
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
        assert snapshot.state.main.entry == 0
    with Guest(program, provided) as guest:
        snapshot.restore(guest)
        guest.proceed()
        assert guest.wait(20) == Finished((7,))
    assert order == [1, 2]


def test_deep_recursion_stops_and_goes_on() -> None:
    guests: list[Guest] = []
    text = """(module (import "h" "stop" (func $stop))
      (func $deep (export "run") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
          (then (call $stop) (i32.const 1))
          (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1))))))))"""
    with Guest(load(text), functions(stopper(guests))) as guest:
        guests.append(guest)
        guest.start("run", (100_000,))
        assert guest.wait(60) == Stopped()
        assert len(guest.frames()) == 100_001
        guest.proceed()
        assert guest.wait(60) == Finished((100_001,))


def test_memory_that_grew_comes_back() -> None:
    guests: list[Guest] = []
    text = """(module (import "h" "stop" (func $stop))
      (memory (export "memory") 1) (data (i32.const 10) "initial")
      (func (export "run") (result i32)
        (drop (memory.grow (i32.const 2)))
        (i32.store (i32.const 150000) (i32.const 99))
        (i32.store (i32.const 10) (i32.const 0))
        (i32.store (i32.const 14) (i32.const 0))
        (call $stop)
        (i32.add (i32.load (i32.const 150000))
                 (i32.add (i32.load (i32.const 10)) (memory.size)))))"""
    program = load(text)
    with Guest(program, functions(stopper(guests))) as guest:
        guests.append(guest)
        guest.start("run")
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
    assert snapshot.state.memories == (3 * 65536,)
    with Guest(program, functions(stopper(guests))) as guest:
        snapshot.restore(guest)
        guest.proceed()
        assert guest.wait(20) == Finished((99 + 0 + 3,))


# -- host calls that a stop interrupts --------------------------------------------------------


def waiter(entered: threading.Event, answers: list[int]) -> HostFunction:
    """``h.wait(a) -> i32``: waits for ever the first time; completed, gives progress + a."""

    def wait(call: Call, a: int) -> int:
        if call.progress is None or not answers:
            entered.set()
            seen = 0 if call.progress is None else call.progress["seen"]
            try:
                call.wait([], [], None)
            except Stop:
                raise Suspended({"seen": seen + 1}) from None
        assert call.progress is not None
        return answers.pop() + int(call.progress["seen"]) + a

    return host("wait", "i->i", wait)


WAIT = """(module (import "h" "wait" (func $wait (param i32) (result i32)))
  (memory (export "memory") 1)
  (func $inner (param i32) (result i32) (i32.add (call $wait (local.get 0)) (i32.const 1)))
  (func (export "run") (result i32) (i32.mul (call $inner (i32.const 5)) (i32.const 2))))"""


def test_a_stop_reaches_a_waiting_host_call_which_is_completed_later() -> None:
    entered, answers = threading.Event(), [100]
    with Guest(load(WAIT), functions(waiter(entered, answers))) as guest:
        guest.start("run")
        assert entered.wait(20)
        guest.stop()
        assert guest.wait(20) == Stopped()
        assert guest.pending == PendingCall("h", "wait", (5,), {"seen": 1})
        assert len(guest.frames()) == 2
        guest.proceed()
        assert guest.wait(20) == Finished(((100 + 1 + 5 + 1) * 2,))
        assert guest.pending is None


def test_a_completed_call_may_be_suspended_again() -> None:
    entered: threading.Event = threading.Event()
    answers: list[int] = []
    with Guest(load(WAIT), functions(waiter(entered, answers))) as guest:
        guest.start("run")
        for n in range(1, 4):
            assert entered.wait(20)
            entered.clear()
            guest.stop()
            assert guest.wait(20) == Stopped()
            assert guest.pending == PendingCall("h", "wait", (5,), {"seen": n})
            if n == 3:
                answers.append(10)
            guest.proceed()
        assert guest.wait(20) == Finished(((10 + 3 + 5 + 1) * 2,))


def test_a_pending_call_survives_in_a_fresh_guest() -> None:
    entered, program = threading.Event(), load(WAIT)
    with Guest(program, functions(waiter(entered, []))) as guest:
        guest.start("run")
        assert entered.wait(20)
        guest.stop()
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
    with Guest(program, functions(waiter(entered, [7]))) as guest:
        snapshot.restore(guest)
        guest.proceed()
        assert guest.wait(20) == Finished(((7 + 1 + 5 + 1) * 2,))


def test_a_stop_that_a_host_function_lets_pass_does_the_whole_call_again() -> None:
    entered = threading.Event()

    def wait(call: Call, a: int) -> int:
        if call.progress is None:
            entered.set()
            call.wait([], [], None)
        return 40

    with Guest(load(WAIT), functions(host("wait", "i->i", wait))) as guest:
        guest.start("run")
        assert entered.wait(20)
        guest.stop()
        assert guest.wait(20) == Stopped()
        assert guest.pending == PendingCall("h", "wait", (5,), {})
        guest.proceed()
        assert guest.wait(20) == Finished((82,))


def test_a_host_call_may_suspend_of_itself() -> None:
    """A trigger inside a host call: nobody asked for a stop, the guest stops all the same."""

    def wait(call: Call, a: int) -> int:
        if call.progress is None:
            raise Suspended({"trigger": "stdin"})
        return 1

    with Guest(load(WAIT), functions(host("wait", "i->i", wait))) as guest:
        guest.start("run")
        assert guest.wait(20) == Stopped()
        guest.proceed()
        assert guest.wait(20) == Finished((4,))


@pytest.mark.parametrize(
    "entry",
    ['(export "run" (func $wait))', '(func (export "run") (param i32) (result i32) '
     "(return_call $wait (local.get 0)))"],
    ids=["re-exported import", "tail call of an import"],
)  # fmt: skip
def test_a_pending_call_without_frames_gives_the_entry_its_results(entry: str) -> None:
    def wait(call: Call, a: int) -> int:
        if call.progress is None:
            raise Suspended({})
        return a + 1

    text = f"""(module (import "h" "wait" (func $wait (param i32) (result i32)))
      (memory (export "memory") 1) {entry})"""
    program = load(text)
    with Guest(program, functions(host("wait", "i->i", wait))) as guest:
        guest.start("run", (5,))
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
        guest.proceed()
        assert guest.wait(20) == Finished((6,))
    with Guest(program, functions(host("wait", "i->i", wait))) as guest:
        snapshot.restore(guest)
        guest.proceed()
        assert guest.wait(20) == Finished((6,))


def test_results_of_every_width_reach_the_frame() -> None:
    vector = bytes(range(16))

    def many(call: Call) -> Any:
        if call.progress is None:
            raise Suspended({})
        return -1, 1 << 40, 0.5, 0.25, vector

    text = """(module (import "h" "many" (func $many (result i32 i64 f32 f64 v128)))
      (func (export "run") (result i32 i64 f32 f64 v128) (call $many)))"""
    with Guest(load(text), functions(host("many", "->ilfdv", many))) as guest:
        guest.start("run")
        assert guest.wait(20) == Stopped()
        guest.proceed()
        assert guest.wait(20) == Finished(
            (0xFFFFFFFF, 1 << 40, 0x3F000000, 0x3FD0000000000000, int.from_bytes(vector, "little"))
        )


def test_exit_while_a_call_is_completed() -> None:
    def wait(call: Call, a: int) -> int:
        if call.progress is None:
            raise Suspended({})
        raise Exit(3)

    with Guest(load(WAIT), functions(host("wait", "i->i", wait))) as guest:
        guest.start("run")
        assert guest.wait(20) == Stopped()
        guest.proceed()
        assert guest.wait(20) == Exited(3)


# -- at the same moment -------------------------------------------------------------------------


def test_exit_inside_a_host_call_wins_over_a_stop() -> None:
    guests: list[Guest] = []

    def leave(call: Call) -> None:
        guests[0].stop()
        raise Exit(9)

    text = '(module (import "h" "exit" (func $exit)) (func (export "run") (call $exit)))'
    with Guest(load(text), functions(host("exit", "->", leave))) as guest:
        guests.append(guest)
        guest.start("run")
        assert guest.wait(20) == Exited(9)


def test_a_guest_that_finishes_before_the_next_safepoint_is_finished() -> None:
    """A stop that comes too late is void, and so are stops after the end."""
    guests: list[Guest] = []
    text = """(module (import "h" "stop" (func $stop))
      (func (export "run") (result i32) (i32.const 5)))"""
    with Guest(load(text), functions(stopper(guests))) as guest:
        guest.start("run")
        guest.stop()
        assert guest.wait(20) == Finished((5,))
        guest.stop()
        assert guest.wait(0) is None


def test_stops_of_a_stopped_guest_are_void() -> None:
    with Guest(load(FIB, counted=True), functions()) as guest:
        guest.start("fib", (10,), countdown=3)
        assert guest.wait(20) == Stopped()
        guest.stop()
        guest.stop()
        guest.proceed()
        assert guest.wait(20) == Finished((55,))


def test_two_stops_are_one() -> None:
    spinning = threading.Event()
    with Guest(load(SPIN), functions(host("spinning", "->", lambda c: spinning.set()))) as guest:
        guest.start("run")
        assert spinning.wait(20)
        guest.stop()
        guest.stop()
        assert guest.wait(20) == Stopped()
        assert guest.wait(0) is None


def test_a_trap_after_going_on_is_a_trap() -> None:
    guests: list[Guest] = []
    text = """(module (import "h" "stop" (func $stop))
      (func $inner (call $stop) unreachable)
      (func (export "run") (call $inner)))"""
    with Guest(load(text), functions(stopper(guests))) as guest:
        guests.append(guest)
        guest.start("run")
        assert guest.wait(20) == Stopped()
        guest.proceed()
        event = guest.wait(20)
        assert isinstance(event, Trapped)
        assert event.trap.message == "unreachable"
        assert event.trap.frames[0] == "inner"


def test_many_threads_stop_one_guest() -> None:
    """Stops from everywhere while it runs, stops and goes on: the result is the undisturbed one."""
    done = threading.Event()
    with Guest(load(FIB), functions()) as guest:

        def pester() -> None:
            while not done.is_set():
                guest.stop()

        threads = [threading.Thread(target=pester) for _ in range(3)]
        guest.start("fib", (24,))
        for thread in threads:
            thread.start()
        stops = 0
        while (event := guest.wait(20)) == Stopped():
            stops += 1
            if stops == 50:
                done.set()
            guest.proceed()
        done.set()
        for thread in threads:
            thread.join()
        assert event == Finished((46368,))


# -- refusals ----------------------------------------------------------------------------------


def test_unknown_entry() -> None:
    with (
        Guest(load("(module)"), functions()) as guest,
        pytest.raises(UnsupportedModule, match="'_start'"),
    ):
        guest.start()


@pytest.mark.parametrize("args", [(), (1, 2), (1 << 32,), (-1,)])
def test_wrong_entry_arguments(args: tuple[int, ...]) -> None:
    with Guest(load(FIB), functions()) as guest, pytest.raises(UsageError, match=r"\(i32\)"):
        guest.start("fib", args)


def test_out_of_turn_is_our_own_bug() -> None:
    with Guest(load(FIB), functions()) as guest:
        with pytest.raises(RuntimeError, match="new"):
            guest.proceed()
        with pytest.raises(RuntimeError, match="new"):
            guest.capture()
        guest.start("fib", (3,))
        guest.wait(20)
        with pytest.raises(RuntimeError, match="done"):
            guest.start("fib", (3,))


def test_a_snapshot_of_another_program_is_refused() -> None:
    with Guest(load(FIB, counted=True), functions()) as guest:
        guest.start("fib", (9,), countdown=5)
        assert guest.wait(20) == Stopped()
        snapshot = Snapshot(guest)
    with (
        Guest(load(SPIN), functions(host("spinning", "->", lambda c: None))) as guest,
        pytest.raises(CannotResume, match="memories"),
    ):
        snapshot.restore(guest)


# -- ending -----------------------------------------------------------------------------------


def test_close_ends_a_running_guest() -> None:
    spinning = threading.Event()
    guest = Guest(load(SPIN), functions(host("spinning", "->", lambda c: spinning.set())))
    guest.start("run")
    assert spinning.wait(20)
    assert guest.close()
    assert guest.close()
    assert guest.phase is Phase.DONE


def test_close_ends_a_waiting_guest() -> None:
    entered = threading.Event()
    guest = Guest(load(WAIT), functions(waiter(entered, [])))
    guest.start("run")
    assert entered.wait(20)
    assert guest.close()


def test_close_without_a_start() -> None:
    assert Guest(load(FIB), functions()).close()


LEAVE = """
import threading
from engine.guests import functions, host, load
from engine.test_guest import SPIN
from wasnap.engine import Guest
spinning = threading.Event()
guest = Guest(load(SPIN), functions(host("spinning", "->", lambda call: spinning.set())))
guest.start("run")
spinning.wait(20)
print("leaving")
"""


def test_the_interpreter_may_end_while_a_guest_runs() -> None:
    """Without the exit hook the guest's thread would be killed inside the engine: SIGABRT."""
    tests = Path(__file__).resolve().parent.parent
    ended = subprocess.run(
        [sys.executable, "-c", LEAVE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        capture_output=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"leaving\n", b"", 0)


def test_failing_is_reported_and_ends_the_guest() -> None:
    def fail(call: Call, a: int) -> int:
        raise ZeroDivisionError("host")

    with Guest(load(WAIT), functions(host("wait", "i->i", fail))) as guest:
        guest.start("run")
        event = guest.wait(20)
        assert isinstance(event, Failed)
        assert isinstance(event.error, ZeroDivisionError)
        assert guest.phase is Phase.DONE


def test_program_serves_many_guests_at_once() -> None:
    program: Program = load(FIB, counted=True)
    guests = [Guest(program, functions()) for _ in range(4)]
    for n, guest in enumerate(guests):
        guest.start("fib", (10 + n,), countdown=10 + n)
    results = []
    for guest in guests:
        while (event := guest.wait(20)) == Stopped():
            guest.proceed(countdown=50)
        results.append(event)
        guest.close()
    assert results == [Finished((n,)) for n in (55, 89, 144, 233)]
