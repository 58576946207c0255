"""What a web server's clients see of snapshots: latency with them and without, side by side.

Two processes run the same server (Go's net/http, tests/programs/web.go). Batches of requests go to
one and the other in turn. Then the one with snapshots is moved to a new process, under load.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import guests
import load

from bench.measure import REPETITIONS, Table

SOURCE = Path(__file__).resolve().parent.parent / "src"
PROGRAM = Path(guests.__file__).parent / "programs" / "web.go"
REQUESTS = 400
CLIENTS = 4


def measure() -> Table:
    """Milliseconds."""
    table = Table(
        "sockets",
        "A web server and its snapshots",
        ("side", "requests", "median ms", "p99 ms", "maximum ms", "over without (median, p99)"),
    )
    with tempfile.TemporaryDirectory() as directory:
        sides = {"without": Served(directory, []), "every 100 ms": Served(directory, SNAPSHOTS)}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        try:
            for server in sides.values():  # all is compiled, and everybody awake
                server.load(REQUESTS)
            for repetition in range(REPETITIONS):
                for name, server in sides.items():
                    seconds[name] += server.load(REQUESTS, seed=repetition)
            base = figures(seconds["without"])
            for name, sample in seconds.items():
                own = figures(sample)
                over = f"{own[0] / base[0]:.2f}, {own[1] / base[1]:.2f}"
                table.add(name, str(len(sample)), *(f"{1e3 * s:.1f}" for s in own), over)
            moved = sides["every 100 ms"].moved()
            own = figures(moved)
            table.add("taken over once", str(len(moved)), *(f"{1e3 * s:.1f}" for s in own), "–")
        finally:
            for server in sides.values():
                server.process.kill()
    table.notes += [
        f"{CLIENTS} clients at once on connections that are kept; echoes of up to 20,000 bytes, "
        "answers of up to 100,000 bytes, and a counter. Server, clients and snapshots share the "
        "machine's cores. No request failed, and no answer was wrong (else the bench ends).",
        "Taken over: the maximum is what the clients that wait for the new process see.",
    ]
    return table


SNAPSHOTS = ["--journal", "j", "--snapshot-timer", "0.1"]


def figures(seconds: list[float]) -> tuple[float, float, float]:
    """Median, 99th percentile, maximum."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98], max(seconds)


class Served:
    """A server in a process of its own."""

    def __init__(self, directory: str, options: list[str]) -> None:
        self._directory = directory
        self.port = load.free_port()
        listen = ["--listen", f"127.0.0.1:{self.port},nonblock"]
        self.process = self._start("run", *options, *listen, str(guests.go(PROGRAM)))
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "wasnap", *arguments],
            cwd=self._directory,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
        )

    def load(self, requests: int, seed: int = 0) -> list[float]:
        """Seconds of each."""
        return _right(load.Load(self.port, requests, clients=CLIENTS, seed=seed).join())

    def moved(self) -> list[float]:
        """The same, while another process takes over."""
        running = load.Load(self.port, REQUESTS, clients=CLIENTS, more=True)
        running.reached(REQUESTS // 2)
        old = self.process
        arguments = ("--take-over", str(old.pid), "--snapshot-timer", "0.1", "j")
        self.process = self._start("resume", *arguments)
        assert old.wait() == 0
        running.reached(running.done + REQUESTS // 2)
        running.more = False
        return _right(running.join())


def _right(done: load.Load) -> list[float]:
    assert not done.failures, done.failures[:3]
    return done.seconds
