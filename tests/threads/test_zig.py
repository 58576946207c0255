"""Zig's threads under disturbance: what they print must not depend on when they are stopped.

``WASNAP_POINTS``: how often the world is stopped (in all, over the guests; an eighth of that where
all is restored into new instances each time); ``WASNAP_SEEDS``: how many seeds of the harness.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

import threads
from wasnap.engine import BufferExtent, Exited, Finished, Guest, MemoryImage, Program, Stopped
from wasnap.harness import Job, chain, differential
from wasnap.harness.differential import undisturbed
from wasnap.host import Host, HostConfig
from wasnap.host.protocol import Call, HostFunction, Result
from wasnap.instrument import abi

POINTS = int(os.environ.get("WASNAP_POINTS", "300"))
SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))
FIRST_SEED = int(os.environ.get("WASNAP_FIRST_SEED", "0"))
KINDS = list(threads.ZIG)

pytestmark = [pytest.mark.real, pytest.mark.slow]


def job(kind: str, long: bool) -> Job:
    return Job(threads.zig(), (kind, *threads.ZIG[kind][long].split()))


@pytest.mark.parametrize("kind", KINDS)
def test_differential(kind: str, tmp_path: Path) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        differential(
            lambda _: job(kind, True),
            tmp_path,
            seed=seed,
            snapshots=2,
            system_clock=kind == "sleep",
        )


def test_a_lock_that_nobody_holds_costs_no_host_call() -> None:
    """One thread takes a mutex a thousand times."""
    program = Program.load(threads.zig().read_bytes())
    host = Host(HostConfig(args=("guests", "count", "8000", "1"), stdin=None, stdout=None))
    asked: Counter[str] = Counter()

    def provide(module: str, name: str) -> HostFunction | None:
        function = host.function(module, name)
        if function is None or module != abi.HOST:
            return function

        def call(call: Call, *args: int) -> Result:
            asked[name] += 1
            return function.call(call, *args)

        return function._replace(call=call)

    with Guest(program, provide) as guest:
        guest.start()
        assert guest.wait(60) in (Exited(0), Finished(()))
    host.close()
    assert sum(asked.values()) < 20  # of starting and joining it


@pytest.mark.parametrize("kind", ["pipeline", "park"])
def test_chain(kind: str, tmp_path: Path) -> None:
    """Saved and resumed again and again: by counted safepoints, and by commands with a timer."""
    assert chain(lambda _: job(kind, True), tmp_path, links=10, step=200) == 10
    chain(lambda _: job(kind, True), tmp_path, links=4, commands=True)


def stressed(kind: str, output: Path, stops: int, seed: int, fresh: bool) -> Counter[str]:
    """Run it, stopping the world so often at random moments; where its threads then stood."""
    chance = random.Random(seed)
    program = Program.load(threads.zig().read_bytes())
    args = ("guests", kind, *threads.ZIG[kind][True].split())
    where: Counter[str] = Counter()
    with open(output, "wb") as file:
        config = HostConfig(args=args, stdin=None, stdout=file.fileno(), stderr=None)
        host = Host(config)

        def new() -> Guest:
            return Guest(program, lambda module, name: host.function(module, name))

        guest = new()
        guest.start()
        for left in range(stops, -1, -1):
            event = guest.wait(chance.choice((0, 0.0005, 0.003)) if left else 60)
            if event is None:
                guest.stop()
                event = guest.wait(60)
            if not isinstance(event, Stopped):
                break
            state = guest.capture()
            for thread in state.threads:
                where[thread.pending.name if thread.pending else str(thread.begun)] += 1
            if fresh:
                held = host.capture()
                images = [
                    MemoryImage(m.size, [BufferExtent(0, m.read(0, m.size))])
                    for m in guest.memories
                ]
                assert guest.close()
                host.close()
                host = Host(config)
                host.restore(held)
                guest = new()
                guest.restore(state, images)
            where["stops"] += 1
            guest.proceed()
        where["threads"] += host.threads.capture().last
        assert event in (Exited(0), Finished(())), f"{event} (seed {seed})"
        assert guest.close()
        host.close()
    return where


@pytest.mark.parametrize("fresh", [False, True], ids=["in place", "in new instances"])
def test_stopped_again_and_again(fresh: bool, tmp_path: Path) -> None:
    """No deadlock, and nothing lost; thread after thread is started and joined meanwhile. Until they
    have been stopped while they waited, ran, and had not begun."""
    wanted = {
        kind: undisturbed(lambda _, k=kind: job(k, True), tmp_path / kind, counted=False)  # type: ignore[misc]
        for kind in KINDS
    }
    points = POINTS // 8 if fresh else POINTS
    done: Counter[str] = Counter()
    seed = FIRST_SEED
    while done["stops"] < points or not (done["wait32"] and done["True"] and done["False"]):
        kind = KINDS[seed % len(KINDS)]
        output = tmp_path / "output"
        done += stressed(kind, output, min(60, points), seed, fresh)
        assert output.read_bytes() == wanted[kind].outcome.stdout, f"{kind}, seed {seed}"
        seed += 1
    print(f"seeds {FIRST_SEED} to {seed - 1}: {dict(done)}")
