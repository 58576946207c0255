"""Web servers nobody here wrote, under load while snapshots are taken every 100 ms: killed and
resumed, or moved from process to process.

``WASNAP_POINTS``: hundreds of requests (3 unless set).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import guests
import pytest
from cli.conftest import Command, Started, cache, code_cache, run, wasnap
from load import Load, count, free_port, listens

from wasnap.journal import Journal

__all__ = ["cache", "code_cache", "run", "wasnap"]

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
REQUESTS = 100 * int(os.environ.get("WASNAP_POINTS", "3"))
MOVES = 3
pytestmark = [pytest.mark.real, pytest.mark.slow]


def go(wasnap: Command, port: int) -> Started:
    """Go's net/http: many connections at once, kept alive."""
    at = f"127.0.0.1:{port},nonblock"
    module = str(guests.go(PROGRAMS / "web.go"))
    return wasnap.start("run", "--journal", "j", "--snapshot-timer", "0.1", "--listen", at, module)


def python(wasnap: Command, port: int) -> Started:
    """CPython's http.server: one connection after the other."""
    options = ("--journal", "j", "--snapshot-timer", "0.1", "--dir", f"{PROGRAMS}::/programs:ro")
    at = ("--listen", f"127.0.0.1:{port}")
    module = str(guests.path("python312"))
    return wasnap.start("run", *options, *at, module, "/programs/web.py")


def snapshots(wasnap: Command) -> int:
    """How many there are."""
    with Journal.open(wasnap.directory / "j") as journal:
        return len(journal.snapshots)


@pytest.mark.parametrize("server", [go, python])
def test_under_load(wasnap: Command, server: object) -> None:
    """No request fails, no body is wrong, no number is lost or given twice; after kill -9 it goes
    on, on the same address, with the state of its newest snapshot."""
    assert callable(server)
    port = free_port()
    running: Started = server(wasnap, port)
    requests = REQUESTS if server is go else REQUESTS // 5
    load = Load(port, requests, keep=server is go, more=True)
    load.reached(requests)
    while snapshots(wasnap) < 4 and not load.failures:
        load.reached(load.done + 10)
    load.more = False
    load.join()
    assert load.failures == []
    assert sorted(load.counts) == list(range(1, len(load.counts) + 1))
    taken = wasnap("snapshot", str(running.pid))
    assert taken.returncode == 0, taken.stderr
    running.signal(signal.SIGKILL)
    running.end()
    again = wasnap.start("resume", "j", ready=False)
    while not listens(port):
        assert not again.over(0.02)
    assert count(port) == len(load.counts) + 1
    assert Load(port, 40, keep=server is go).join().failures == []
    again.signal(signal.SIGKILL)


def test_taken_over_under_load(wasnap: Command) -> None:
    """Again and again: no request fails, nothing is counted twice or not at all, and the file that
    the server writes has each line once. The last one is killed, and goes on from its journal."""
    port = free_port()
    data = wasnap.directory / "data"
    data.mkdir()
    options = ("--snapshot-timer", "0.1", "--dir", f"{data}::/data")
    module = str(guests.go(PROGRAMS / "web.go"))
    at = f"127.0.0.1:{port},nonblock"
    running = wasnap.start("run", "--journal", "j", *options, "--listen", at, module)
    load = Load(port, REQUESTS, append=True, more=True)
    for part in range(1, MOVES + 1):
        load.reached(REQUESTS * part // (MOVES + 1))
        assert not load.over, load.failures[:3]
        arguments = ("--take-over", str(running.pid), "--snapshot-timer", "0.1", "j")
        new = wasnap.start("resume", *arguments, ready=False)
        code, _, complaints = running.end()
        assert code == 0, complaints
        running = new
    load.more = False
    load.join()
    assert load.failures == []
    assert load.done >= REQUESTS
    assert sorted(load.counts) == list(range(1, len(load.counts) + 1))
    assert sorted(load.lines) == list(range(1, len(load.lines) + 1))
    lines = [int(line) for line in (data / "lines").read_text().splitlines()]
    assert lines == list(range(1, len(lines) + 1))
    assert len(lines) == len(load.lines)
    assert wasnap("snapshot", str(running.pid)).returncode == 0
    running.signal(signal.SIGKILL)
    running.end()
    again = wasnap.start("resume", "j", ready=False)
    while not listens(port):
        assert not again.over(0.02)
    assert count(port) == len(load.counts) + 1
