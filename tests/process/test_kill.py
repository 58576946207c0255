"""SIGKILL at random moments while snapshots are written: what was committed stays, and goes on.

``WASNAP_POINTS`` kills (6 unless set); ``WASNAP_SEEDS`` is not used: the seed is the number of kills.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from moments import wait_for_work

from process import wat
from wasnap.journal import Journal

POINTS = int(os.environ.get("WASNAP_POINTS", "6"))
SOURCE = Path(__file__).resolve().parents[2] / "src"


def wasnap(directory: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "wasnap", *arguments]
    return subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )


def committed(journal: Path) -> list[int]:
    """Their ids; nothing but the tail may be damaged."""
    if not journal.exists() or not journal.stat().st_size:
        return []
    with Journal.open(journal, verify=True) as opened:
        assert not opened.damaged
        return [info.id for info in opened.snapshots]


@pytest.mark.slow
def test_killed_while_snapshots_are_written(tmp_path: Path) -> None:
    """After each kill all snapshots that were there are, and the newest is resumed; the run that is
    left alone in the end prints what an undisturbed one prints."""
    module = wat.counter(400, 2_000_000, code=7)
    (tmp_path / "m.wasm").write_bytes(module)
    chance = random.Random(POINTS)
    options = ["--snapshot-timer", "0.001", "--journal", "j"]
    there: list[int] = []
    for _ in range(POINTS):
        running = wasnap(tmp_path, "run", *options, "m.wasm")
        wait_for_work(running.pid, chance.randrange(100_000_000, 900_000_000))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        now = committed(tmp_path / "j")
        assert now[: len(there)] == there, f"of {POINTS} kills"
        there = now
    last = wasnap(tmp_path, "run", "--journal", "j", "m.wasm")
    output, _ = last.communicate()
    assert last.returncode == 7
    assert wat.counted(400, 2_000_000).endswith(output)
