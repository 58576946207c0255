"""Servers and a client of wasmerio/wasix-integration-tests as they are: under load while snapshots are
taken, killed and resumed, moved from process to process.

``WASNAP_POINTS``: hundreds of requests (2 unless set). See test_public.py for where they come from.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli.conftest import SOURCE, Command, Started, cache, code_cache, run, wasnap
from load import ask, connect, free_port, listens

from wasnap.journal import Journal

from .test_public import binary

__all__ = ["cache", "code_cache", "run", "wasnap"]

REQUESTS = 100 * int(os.environ.get("WASNAP_POINTS", "2"))
MOVES = 2
CLIENTS = 4
pytestmark = [pytest.mark.real, pytest.mark.slow]


class Site:
    """static-web-server with files of random bytes, and clients who know them."""

    def __init__(self, wasnap: Command) -> None:
        self.wasnap = wasnap
        self.port = free_port()
        chance = random.Random(1)
        self.files = {f"f{n}.bin": chance.randbytes(chance.randrange(1, 100_000)) for n in range(9)}
        pages = wasnap.directory / "site" / "pages"
        pages.mkdir(parents=True)
        for name, data in self.files.items():
            (pages / name).write_bytes(data)
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._left = 0

    def start(self) -> Started:
        """The first process."""
        site = self.wasnap.directory / "site"
        rights = ("--listen", f"127.0.0.1:{self.port}", "--dir", f"{site}::/:ro")
        guest = ("--host", "127.0.0.1", "--port", str(self.port), "--root", "pages")
        module = str(binary("web-server.wasm"))
        every = ("--journal", "j", "--snapshot-timer", "0.1")
        started = self.wasnap.start("run", *every, *rights, module, *guest, ready=False)
        while not listens(self.port):
            assert not started.over(0.02), started.end()[2]
        return started

    def load(self, requests: int) -> list[threading.Thread]:
        """Clients at once, each on one connection as long as the server keeps it."""
        self._left = requests
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def _client(self, n: int) -> None:
        chance = random.Random(n)
        connection: http.client.HTTPConnection | None = None
        while self._left > 0:
            self._left -= 1
            name = chance.choice(list(self.files))
            began = time.perf_counter()
            connection = connection or connect(self.port)
            try:
                if ask(connection, "GET", f"/{name}") != self.files[name]:
                    self.failures.append(f"{name} is another")
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()
                connection = None
            self.seconds.append(time.perf_counter() - began)
        if connection is not None:
            connection.close()

    def snapshots(self) -> int:
        """How many there are."""
        with Journal.open(self.wasnap.directory / "j") as journal:
            return len(journal.snapshots)

    def resumed(self) -> float:
        """Another process, after the first was killed: seconds until it served."""
        began = time.perf_counter()
        again = self.wasnap.start("resume", "j", ready=False)
        while not listens(self.port):
            assert not again.over(0.005), again.end()[2]
        with contextlib.closing(connect(self.port)) as connection:
            assert ask(connection, "GET", "/f3.bin") == self.files["f3.bin"]
        return time.perf_counter() - began


def test_under_load(wasnap: Command) -> None:
    """No request fails, no body is wrong; after kill -9 it goes on, on the same address."""
    site = Site(wasnap)
    running = site.start()
    while len(site.seconds) < REQUESTS or site.snapshots() < 4:  # some under load
        for thread in site.load(REQUESTS):
            thread.join()
    assert site.failures == []
    assert wasnap("snapshot", str(running.pid)).returncode == 0
    running.signal(signal.SIGKILL)
    running.end()
    print(f"served {site.resumed():.2f} s after the resume began")
    for thread in site.load(20):
        thread.join()
    assert site.failures == []


def test_taken_over_under_load(wasnap: Command) -> None:
    """Again and again: no request fails."""
    site = Site(wasnap)
    running = site.start()
    threads = site.load(REQUESTS)
    for part in range(1, MOVES + 1):
        while len(site.seconds) < REQUESTS * part // (MOVES + 1):
            assert not running.over(0.02)
        arguments = ("--take-over", str(running.pid), "--snapshot-timer", "0.1", "j")
        new = wasnap.start("resume", *arguments, ready=False)
        code, _, complaints = running.end()
        assert code == 0, complaints
        running = new
    for thread in threads:
        thread.join()
    assert site.failures == []
    assert len(site.seconds) >= REQUESTS


def test_the_listener(wasnap: Command) -> None:
    """It accepts again and again, on an address of its own choice."""
    if listens(7878):
        pytest.skip("127.0.0.1:7878 is taken")
    module = str(binary("example-tcp-listener.wasm"))
    on = ("--journal", "j", "--snapshot-on", "explicit")
    running = wasnap.start("run", *on, "--listen", "127.0.0.1:7878", module, ready=False)
    assert running.line() == b"Listening on 127.0.0.1:7878\n"
    with socket.create_connection(("127.0.0.1", 7878), timeout=60):
        assert running.line() == b"Connection established!\n"
    assert wasnap("snapshot", str(running.pid)).returncode == 0
    running.signal(signal.SIGKILL)
    running.end()
    again = wasnap.start("resume", "j", ready=False)
    while not listens(7878):
        assert not again.over(0.02)
    assert again.line() == b"Connection established!\n"


def test_the_client(tmp_path: Path) -> None:
    """It connects to port 53 of an address that is on loopback, in a network of the test's own."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("this takes root, for a network of its own")
    script = """
import socket, subprocess, sys
subprocess.run("ip link set lo up && ip addr add 8.8.8.8/32 dev lo", shell=True, check=True)
listening = socket.create_server(("8.8.8.8", 53))
command = [sys.executable, "-m", "wasnap", "run", *sys.argv[1:]]
sys.exit(subprocess.run(command).returncode)
"""
    module = str(binary("example-tcp-client.wasm"))
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}

    def client(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-n", sys.executable, "-c", script, *options, module]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    allowed = client("--net-allow", "8.8.8.0/24:53")
    assert allowed.stdout == "Successfully connected to server in port 53\nFinished.\n"
    assert allowed.returncode == 0
    refused = client()
    assert refused.stdout.startswith("Failed to connect: ")
    assert "--net-allow 8.8.8.8:53" in refused.stderr
