"""A program, stopped and captured at every n-th safepoint, going on in place or in a new instance.

No journal and no second process: this is about the transform and the engine, a thousand stops a
second. The host is the same one all the time.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

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
from wasnap.harness.job import Make, Outcome, outcome
from wasnap.host import FakeClock, Host, HostConfig, Mapping, SeededRandom


def everywhere(
    make: Make, directory: Path, *, every: int = 1, fresh: bool = False
) -> tuple[Outcome, int]:
    """Run the job in a new ``directory``; what came of it, and how often it was stopped.

    ``fresh``: each time what was captured goes on in a new instance. ``every`` 0: never stopped.
    Raises GuestTrap.
    """
    world = directory / "world"
    world.mkdir(parents=True)
    job = make(world)
    with ExitStack() as cleanup:
        stdout = cleanup.enter_context(open(directory / "stdout", "wb"))
        config = HostConfig(
            args=(job.module.name, *job.args),
            env=dict(job.env),
            dirs=tuple(Mapping(str(host), guest) for guest, host in job.dirs.items()),
            stdin=cleanup.enter_context(open(job.stdin or os.devnull, "rb")).fileno(),
            stdout=stdout.fileno(),
            stderr=cleanup.enter_context(open(directory / "stderr", "wb")).fileno(),
            unknown_imports=job.unknown_imports,
        )
        program = Program.load(job.module.read_bytes(), counted=True)
        types = {(i.module, i.name): (i.params, i.results) for i in program.info.imports}
        host = Host(config, FakeClock(), SeededRandom(b"harness"))
        cleanup.callback(host.close)

        def new_guest() -> Guest:
            return Guest(
                program, lambda module, name: host.function(module, name, types.get((module, name)))
            )

        guest = new_guest()
        stops = 0
        guest.start(countdown=every)
        try:
            while True:
                match guest.wait():
                    case Stopped():
                        stops += 1
                        guest = _again(guest, new_guest() if fresh else None)
                        guest.proceed(countdown=every)
                    case Exited(code):
                        break
                    case Finished():
                        code = 0
                        break
                    case Trapped(trap):
                        raise trap
                    case Failed(error):
                        raise error
        finally:
            guest.close()
    return outcome(code, (directory / "stdout").read_bytes(), job), stops


def _again(guest: Guest, other: Guest | None) -> Guest:
    """Capture the guest; it, or the other one in its place."""
    state = guest.capture()
    if other is None:
        return guest
    images = [MemoryImage(m.size, [BufferExtent(0, m.read(0, m.size))]) for m in guest.memories]
    guest.close()
    other.restore(state, images)
    return other
