"""How soon CPython's prompt is there: started anew, and resumed from its ``stdin`` snapshot.

Each side is a process on a pseudo-terminal of its own, timed from its start until ``>>> `` is shown,
and until it has answered a line that is typed then: what a resume paints is not yet an answer.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import guests
import plain

from bench.measure import REPETITIONS, Sample, Table, users_environment

SIGN, TYPED, ANSWER = b">>> ", b"6 * 7\n", b"42\r\n"
SECONDS_MAX = 600
COMMAND = (sys.executable, "-m", "wasnap")


def measure() -> Table:
    """Seconds."""
    table = Table(
        "prompt",
        "CPython's prompt: fresh and resumed",
        ("side", "prompt, minimum (median) s", "first answer, minimum (median) s", "resumed, times sooner"),
    )  # fmt: skip
    module = str(guests.path("python312"))
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        warm = {"WASNAP_CACHE_DIR": str(here / "warm")}
        journal = str(here / "journal")
        saving = (
            "--quiet",
            "--journal",
            journal,
            "--snapshot-on",
            "stdin",
            "--stop-after-snapshot",
        )
        told = Terminal((*COMMAND, "run", *saving, module, "-i"), warm)
        told.until_ended()
        run = (*COMMAND, "run", "--quiet", module, "-i")
        resume = (*COMMAND, "resume", "--quiet", "--snapshot-on", "explicit", journal)
        by_wasmtime = (sys.executable, plain.__file__, module, "--", "-i")
        cold = str(here / "cold")
        sides: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
            "`wasnap resume`, code cache warm": (resume, warm),
            "`wasnap run`, code cache empty": (run, {"WASNAP_CACHE_DIR": cold}),
            "`wasnap run`, code cache warm": (run, warm),
            "`wasnap resume`, code cache empty": (resume, {"WASNAP_CACHE_DIR": cold}),
            "plain wasmtime, nothing compiled": (by_wasmtime, {"WASNAP_GUESTS": cold}),
            "plain wasmtime, compiled before": (by_wasmtime, {"WASNAP_GUESTS": str(here / "own")}),
        }
        for command, environment in sides.values():
            if environment.get("WASNAP_CACHE_DIR", environment.get("WASNAP_GUESTS")) != cold:
                prompt(command, environment)  # whatever is compiled at a first use
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(REPETITIONS):
            for name, (command, environment) in sides.items():
                shutil.rmtree(cold, ignore_errors=True)
                taken[name].append(prompt(command, environment))
    ours: tuple[Sample, Sample] | None = None
    for name, both in taken.items():
        shown, answered = (Sample(seconds) for seconds in zip(*both, strict=True))
        if ours is None:
            ours = shown, answered
        ratios = f"{shown.minimum / ours[0].minimum:.1f}, answer {answered.minimum / ours[1].minimum:.1f}"
        cells = [f"{side.minimum:.2f} ({side.median:.2f})" for side in (shown, answered)]
        table.add(name, *cells, ratios)
    table.notes += [
        "From the start of the process until `>>> ` is on its pseudo-terminal, and until `6 * 7`, "
        "typed then, is answered. The snapshot is that of `--snapshot-on stdin`.",
        "Ratios are of the minima, over the first row. Resumed or fresh, a process whose code is in "
        "no cache waits for the compiler: there is nothing to win then.",
    ]
    return table


def prompt(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds to the prompt, and to the first answer."""
    began = time.perf_counter()
    terminal = Terminal(command, environment)
    terminal.until(SIGN)
    shown = time.perf_counter()
    terminal.type(TYPED)
    terminal.until(ANSWER)
    answered = time.perf_counter()
    terminal.close()
    return shown - began, answered - began


class Terminal:
    """A command on a pseudo-terminal of its own."""

    def __init__(self, command: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._seen = b""
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**users_environment(), **environment},
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def until(self, text: bytes) -> None:
        """Read until this is shown."""
        while text not in self._seen:
            if not self._read():
                raise RuntimeError(self._seen.decode(errors="replace"))

    def until_ended(self) -> None:
        while self._read():
            pass
        code = self._process.wait()
        if code:
            raise RuntimeError(f"{code}: {self._seen.decode(errors='replace')}")
        os.close(self._ours)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        """More of what is shown; False when nobody has the terminal any more."""
        if not select.select([self._ours], [], [], SECONDS_MAX)[0]:
            raise TimeoutError(self._seen.decode(errors="replace"))
        try:
            self._seen += (more := os.read(self._ours, 65536))
        except OSError:
            return False
        return bool(more)
