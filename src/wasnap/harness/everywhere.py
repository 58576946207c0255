"""A program, stopped and captured at chosen safepoints, going on in place or in a new instance.

No journal and no second process: this is about the transform and the engine, a thousand stops a
second. The host is the same one all the time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from wasnap.engine import (
    BufferExtent,
    Exited,
    Failed,
    Finished,
    Guest,
    MemoryImage,
    Program,
    Stopped,
    Trapped,
)
from wasnap.harness.job import Make, Outcome, opened, outcome
from wasnap.host import FakeClock, Host, HostConfig, SeededRandom
from wasnap.launch import mappings

NEVER = 1 << 62


class Everywhere(NamedTuple):
    """What came of it, how often it was stopped, and how many safepoints it passed in all."""

    outcome: Outcome
    stops: int
    safepoints: int


def everywhere(
    make: Make, directory: Path, *, every: int | Iterable[int] = 1, fresh: bool = False
) -> Everywhere:
    """Run the job in a new ``directory``, stopping it at every so-manieth safepoint.

    ``every``: 0 for never; or how many to pass before each stop, and none after the last.
    ``fresh``: each time what was captured goes on in a new instance. Raises GuestTrap.
    """
    steps = itertools.repeat(every) if isinstance(every, int) else iter(every)
    world = directory / "world"
    world.mkdir(parents=True)
    job = make(world)
    with ExitStack() as cleanup:
        config = HostConfig(
            args=(job.module.name, *job.args),
            env=dict(job.env),
            dirs=mappings(job.granted),
            stdin=opened(cleanup, job.stdin or Path(os.devnull)),
            stdout=opened(cleanup, directory / "stdout", os.O_WRONLY | os.O_CREAT),
            stderr=opened(cleanup, directory / "stderr", os.O_WRONLY | os.O_CREAT),
            unknown_imports=job.unknown_imports,
        )
        program = Program.load(job.module.read_bytes(), counted=True)
        host = Host(config, FakeClock(), SeededRandom(b"harness"))
        cleanup.callback(host.close)

        provide = host.provider(program.info.imports)
        guest = Guest(program, provide)
        stops = passed = 0
        step = next(steps, 0)
        guest.start(countdown=step or NEVER)
        try:
            while True:
                match guest.wait():
                    case Stopped():
                        stops += 1
                        passed += step
                        guest = _again(guest, Guest(program, provide) if fresh else None)
                        step = next(steps, 0)
                        guest.proceed(countdown=step or NEVER)
                    case Exited(code):
                        break
                    case Finished():
                        code = 0
                        break
                    case Trapped(trap):
                        raise trap
                    case Failed(error):
                        raise error
            passed += (step or NEVER) - guest.countdown
        finally:
            guest.close()
    found = outcome(code, (directory / "stdout").read_bytes(), job)
    return Everywhere(found, stops, passed)


def _again(guest: Guest, other: Guest | None) -> Guest:
    """Capture the guest; it, or the other one in its place."""
    state = guest.capture()
    if other is None:
        return guest
    images = [MemoryImage(m.size, [BufferExtent(0, m.read(0, m.size))]) for m in guest.memories]
    guest.close()
    other.restore(state, images)
    return other
