"""Clients of a web server (programs/web.go, web.py) that believe nothing.

Each request's answer is known: an echo, a pattern, or a number that no other request got. What is
not as it must be is a failure, and so is a connection that breaks.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from pathlib import Path

SECONDS_MAX = 60


def pattern(n: int) -> bytes:
    """What ``/bytes?n=`` answers."""
    return bytes(i * 7 >> 3 & 255 for i in range(n))


class Load:
    """``clients`` at once send ``requests`` in all, or more: as long as ``more`` is set. ``keep``: each
    on one connection. ``append``: some of them have the server write to its file.
    """

    def __init__(
        self,
        port: int,
        requests: int,
        *,
        clients: int = 8,
        keep: bool = True,
        append: bool = False,
        more: bool = False,
        seed: int = 1,
    ) -> None:
        self.port = port
        self.failures: list[str] = []
        self.counts: list[int] = []
        self.lines: list[int] = []
        self.seconds: list[float] = []
        """What each request took."""
        self._keep = keep
        self._append = append
        self.more = more
        self._left = requests
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(random.Random(f"{seed} {n}"),), daemon=True)
            for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> Load:
        """Wait until all have been answered."""
        for thread in self._threads:
            thread.join(SECONDS_MAX * 10)
            assert not thread.is_alive(), "a client hangs"
        return self

    @property
    def done(self) -> int:
        """How many have been answered."""
        return len(self.seconds)

    @property
    def over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def reached(self, n: int) -> None:
        """Wait until that many have been answered, or all."""
        while self.done < n and not self.over:
            self._some.wait(0.1)
            self._some.clear()

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self.more or self._left >= 0

    def _client(self, chance: random.Random) -> None:
        connection: http.client.HTTPConnection | None = None
        while self._take():
            if connection is None:
                connection = connect(self.port)
            began = time.perf_counter()
            try:
                self._ask(connection, chance)
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()
                connection = None
            self.seconds.append(time.perf_counter() - began)
            self._some.set()
            if not self._keep and connection is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, chance: random.Random) -> None:
        kind = chance.randrange(4)
        if kind == 0:
            body = chance.randbytes(chance.randrange(1, 20_000))
            if ask(connection, "POST", "/echo", body) != body:
                self.failures.append(f"an echo of {len(body)} bytes")
        elif kind == 1:
            n = chance.randrange(1, 100_000)
            if ask(connection, "GET", f"/bytes?n={n}") != pattern(n):
                self.failures.append(f"a pattern of {n} bytes")
        elif kind == 2 and self._append:
            self.lines.append(int(ask(connection, "GET", "/append")))
        else:
            self.counts.append(int(ask(connection, "GET", "/count")))


def connect(port: int) -> http.client.HTTPConnection:
    """A client of that port on loopback."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> bytes:
    """The body of the answer, which must be a good one."""
    connection.request(method, path, body)
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status == 200, (answer.status, data)
    return data


def count(port: int) -> int:
    """What the server has counted, with this one."""
    with contextlib.closing(connect(port)) as connection:
        return int(ask(connection, "GET", "/count"))


def free_port() -> int:
    """On loopback; for a server that is started soon. The system hands none of these to anybody, so
    it stays free until then, and while nobody listens there for a moment.
    """
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    while True:
        port = random.SystemRandom().randrange(int(first) // 2, int(first))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Whether anybody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
