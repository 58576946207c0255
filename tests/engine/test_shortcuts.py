"""The engine's own answers: the same as the host's, and the host's wherever anything is unusual."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from wasnap.engine import Finished, Guest, Stopped
from wasnap.host import FakeClock, Host, HostConfig, SeededRandom
from wasnap.host.clock import SystemClock
from wasnap.host.protocol import CLOCK, CLOCK_AHEAD_NS_MAX, RANDOM, Shortcut

from .guests import Snapshot, functions, host, load

PAGE = 1 << 16
AT = 64
LONG_WAY = 99
"""What the host functions here return, so that one sees who answered."""

TEXT = """(module
  (import "h" "clock" (func $clock (param i32 i64 i32) (result i32)))
  (import "h" "random" (func $random (param i32 i32) (result i32)))
  (import "h" "stop" (func $stop))
  (memory (export "memory") 1 2)
  (table 3 funcref)
  (elem (i32.const 0) func $clock $random)
  (func (export "clock") (param i32 i32) (result i32)
    (call $clock (local.get 0) (i64.const 1) (local.get 1)))
  (func (export "random") (param i32 i32) (result i32)
    (call $random (local.get 0) (local.get 1)))
  (func (export "by table") (result i32)
    (call_indirect (param i32 i64 i32) (result i32)
      (i32.const 0) (i64.const 0) (i32.const 64) (i32.const 0)))
  (func (export "swap")
    (table.set (i32.const 1) (table.get (i32.const 0))))
  (func (export "stopped") (result i32)
    (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 64)))
    (call $stop)
    (call $clock (i32.const 1) (i64.const 0) (i32.const 72))))
"""


class World:
    """A guest that calls; what the host is asked, and what it says of its clock."""

    def __init__(self) -> None:
        self.clock: Callable[[], int | None] = lambda: 0
        self.random: Callable[[], int | None] = lambda: 0
        self.asked: list[str] = []
        clock = Shortcut(CLOCK, lambda: self.clock())
        random = Shortcut(RANDOM, lambda: self.random())
        self.functions = functions(
            host("clock", "ili->i", lambda *args: self.long_way("clock"))._replace(shortcut=clock),
            host("random", "ii->i", lambda *args: self.long_way("random"))._replace(
                shortcut=random
            ),
            host("stop", "->", lambda call: self.guest.stop()),
        )
        self.program = load(TEXT)
        self.guest = Guest(self.program, self.functions)

    def long_way(self, name: str) -> int:
        self.asked.append(name)
        return LONG_WAY

    def __call__(self, export: str, *args: int) -> int:
        self.guest.call(export, args)
        event = self.guest.wait(20)
        assert isinstance(event, Finished), event
        return event.results[0] if event.results else 0

    def time(self, clock: int = 1, at: int = AT) -> int:
        assert self("clock", clock, at) == 0
        return self.guest.memories[0].u64(at)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.guest.close()


def test_the_clocks_are_the_machines(world: World) -> None:
    for _ in range(3):
        before = time.monotonic_ns()
        assert before <= world.time() <= time.monotonic_ns() + CLOCK_AHEAD_NS_MAX
        before = time.time_ns()
        assert before <= world.time(0) <= time.time_ns()
    assert world.asked == []


def test_the_offset_is_asked_for_each_time_the_guest_runs(world: World) -> None:
    offset = 10**15
    world.clock = lambda: offset
    assert world.time() - time.monotonic_ns() == pytest.approx(offset, abs=10**11)
    offset = -(
        time.monotonic_ns() // 2
    )  # a clock counts from 0, which may be when this machine began
    assert world.time() - time.monotonic_ns() == pytest.approx(offset, abs=10**11)
    assert world.time(0) == pytest.approx(time.time_ns(), abs=10**11)
    world.clock = lambda: None
    assert world("clock", 1, AT) == LONG_WAY
    assert world.asked == ["clock"]
    world.clock = lambda: 0
    assert world.time() == pytest.approx(time.monotonic_ns(), abs=10**11)


def test_exactly_what_was_asked_for_is_filled(world: World) -> None:
    memory = world.guest.memories[0]
    for length in (0, 1, 31, 32, 4096, PAGE - 2 * AT):
        memory.write(0, b"\xa5" * PAGE)
        assert world("random", AT, length) == 0
        assert memory.read(0, AT) == b"\xa5" * AT
        assert memory.read(AT + length, PAGE - AT - length) == b"\xa5" * (PAGE - AT - length)
        if length > 8:
            assert memory.read(AT, 8) != b"\xa5" * 8
    assert world("random", AT, 16) == 0
    first = memory.read(AT, 16)
    assert world("random", AT, 16) == 0
    assert memory.read(AT, 16) != first
    assert world.asked == []


@pytest.mark.parametrize(
    ("export", "args"),
    [
        ("clock", (2, AT)),
        ("clock", (3, AT)),
        ("clock", (0xFFFFFFFF, AT)),
        ("clock", (1, PAGE - 7)),
        ("clock", (0, PAGE)),
        ("clock", (1, 0xFFFFFFFF)),
        ("random", (0, PAGE + 1)),
        ("random", (1, PAGE)),
        ("random", (PAGE + 1, 0)),
        ("random", (0xFFFFFFFF, 0xFFFFFFFF)),
        ("random", (0xFFFFFFFF, 1)),
    ],
)
def test_whatever_is_unusual_goes_to_the_host(
    world: World, export: str, args: tuple[int, ...]
) -> None:
    memory = world.guest.memories[0]
    memory.write(0, b"\xa5" * PAGE)
    assert world(export, *args) == LONG_WAY
    assert world.asked == [export]
    assert memory.read(0, PAGE) == b"\xa5" * PAGE


def test_the_last_bytes_of_memory_can_be_written(world: World) -> None:
    assert world.time(at=PAGE - 8) > 0
    assert world("random", PAGE - 1, 1) == 0
    assert world("random", PAGE, 0) == 0
    assert world("clock", 1, AT + 1) == 0  # not aligned
    assert world.asked == []


def test_through_a_table_that_is_saved(world: World) -> None:
    """A reference to the import is one of the module's own functions, as without a door."""
    assert world("by table") == 0
    world("swap")
    world.guest.close()
    world.guest = Guest(world.program, world.functions)
    world.guest.start("stopped")
    assert world.guest.wait(20) == Stopped()
    assert world.guest.capture().main.tables["wasnap.t0"][:3] == [0, 1, -1]


@pytest.mark.parametrize("memory", ["", "(memory i64 1)"])
def test_without_the_usual_memory_the_host_is_always_asked(memory: str) -> None:
    text = f"""(module (import "h" "clock" (func $clock (param i32 i64 i32) (result i32)))
      {memory} (func (export "clock") (result i32)
        (call $clock (i32.const 1) (i64.const 1) (i32.const 0))))"""
    clock = host("clock", "ili->i", lambda *args: LONG_WAY)
    clock = clock._replace(shortcut=Shortcut(CLOCK, lambda: 0))
    with Guest(load(text), functions(clock)) as guest:
        guest.call("clock")
        assert guest.wait(20) == Finished((LONG_WAY,))


def test_time_goes_on_over_a_stop_and_a_resume_in_another_guest(world: World) -> None:
    """No jump back: the host's own clock may be a little behind what the guest was told."""
    clock = SystemClock()
    clock._offset = 10**15
    world.clock = lambda: clock.offset()
    world.guest.start("stopped")
    assert world.guest.wait(20) == Stopped()
    saved = Snapshot(world.guest)
    state = clock.capture()
    world.guest.proceed()
    assert world.guest.wait(20) == Finished((0,))
    memory = world.guest.memories[0]
    assert 10**15 < memory.u64(AT) <= memory.u64(AT + 8)
    clock = SystemClock.restore(state)
    with Guest(world.program, world.functions) as other:
        saved.restore(other)
        other.proceed()
        assert other.wait(20) == Finished((0,))
        first, second = other.memories[0].u64(AT), other.memories[0].u64(AT + 8)
        assert first <= state.monotonic_ns <= second < first + 60 * 10**9
    assert world.asked == []


def test_a_host_gives_shortcuts_only_for_what_is_the_machines() -> None:
    for clock, random, given in ((None, None, 0), (FakeClock(), SeededRandom(b""), None)):
        world = Host(HostConfig(stdin=None, stdout=None, stderr=None), clock, random)
        for module in ("wasi_snapshot_preview1", "wasi_unstable"):
            for name in ("clock_time_get", "random_get"):
                function = world.function(module, name)
                assert function is not None and function.shortcut is not None
                assert function.shortcut.offset() == given
        world.close()
