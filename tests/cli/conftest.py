"""The command in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from process.conftest import Run, cache, run

__all__ = ["Run", "cache", "run"]

SOURCE = Path(__file__).resolve().parents[2] / "src"
SECONDS_MAX = 60
SELDOM = ("--snapshot-timer", "3600")
"""Of the usual triggers, the timer has no say here, however slow the machine is."""


class Command:
    """``wasnap`` in a directory of the test's own."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self.runtime = directory.with_name(f"{directory.name}.run")
        """Where sockets of running processes are."""
        self.runtime.mkdir()
        self._started: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "WASNAP_CACHE_DIR": str(cache),
            "XDG_RUNTIME_DIR": str(self.runtime),
        }

    def __call__(
        self, *args: str, stdin: bytes = b"", file: BinaryIO | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end. Its stdin: these bytes, or ``file``."""
        given: dict[str, Any] = {"input": stdin} if file is None else {"stdin": file}
        return subprocess.run(
            [sys.executable, "-m", "wasnap", *args],
            **given,
            capture_output=True,
            cwd=self.directory,
            env=self._environment,
            timeout=SECONDS_MAX,
            **options,
        )

    def start(
        self,
        *args: str,
        ready: bool = True,
        file_size_max: int | None = None,
        terminal: int | None = None,
        driver: str = "",
    ) -> Started:
        """Start it, and wait until the guest has printed ``ready``. ``driver``: Python code that
        does so, with a mischief of its own, in the place of ``python -m wasnap``.

        ``file_size_max``: bytes, a disk that is full. ``terminal``: the one that controls it.
        """

        def prepare() -> None:
            if file_size_max is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, file_size_max))
            if terminal is not None:
                fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        begin = ["-c", driver] if driver else ["-m", "wasnap"]
        process = subprocess.Popen(
            [sys.executable, *begin, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # or what is read ahead is lost to communicate()
            cwd=self.directory,
            env=self._environment,
            preexec_fn=prepare,
            start_new_session=terminal is not None,
        )
        self._started.append(process)
        return Started(process, ready)

    def write(self, name: str, data: bytes) -> str:
        """A file in the test's directory; its name."""
        (self.directory / name).write_bytes(data)
        return name

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


class Started:
    """A running ``wasnap``; ``printed``, ``complained``: what was read of its stdout and stderr so far."""

    def __init__(self, process: subprocess.Popen[bytes], ready: bool) -> None:
        self._process = process
        self.printed = b""
        self.complained = b""
        if ready and self.line() != b"ready\n":
            raise AssertionError(process.communicate()[1].decode())

    def line(self) -> bytes:
        """What it prints next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.printed += line
        return line

    def complaint(self) -> bytes:
        """The next line of its stderr."""
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        self.complained += line
        return line

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def write(self, data: bytes) -> None:
        """More for its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def over(self, seconds: float) -> bool:
        """Whether it ends within this time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def end(self, stdin: bytes = b"") -> tuple[int, bytes, str]:
        """Wait for its end: exit code, all it printed, stderr.

        Its stdin ends with ``stdin``; without any, not before it ends itself.
        """
        if not stdin:
            self._process.wait(SECONDS_MAX)
        stdout, stderr = self._process.communicate(stdin, SECONDS_MAX)
        complaints = (self.complained + stderr).decode()
        return self._process.returncode, self.printed + stdout, complaints


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of compiled code for all these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def wasnap(tmp_path: Path, code_cache: Path) -> Iterator[Command]:
    """The command."""
    command = Command(tmp_path, code_cache)
    yield command
    command.close()
