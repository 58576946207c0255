"""Signals at random moments: none is lost, nothing hangs, and every snapshot can be resumed.

``WASNAP_SIGNALS``: how many (1000); ``WASNAP_SEEDS``: how many rounds of each test (1).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process import wat

from triggers.conftest import Command, printed_before, taken, until_taken
from wasnap.host import HostState
from wasnap.host.clock import SystemClockState
from wasnap.host.protocol import CLOCK_AHEAD_NS_MAX
from wasnap.journal import HostRecord, Journal

COUNT = int(os.environ.get("WASNAP_SIGNALS", "1000"))
SEEDS = range(int(os.environ.get("WASNAP_SEEDS", "1")))
STEPS = 10_000_000
WORKER = wat.worker(STEPS)
WHOLE = wat.counted(20_000, STEPS)
RESUMED = 5
TESTS = Path(__file__).resolve().parents[1]
SECONDS_MAX = 60

pytestmark = pytest.mark.slow


def moment(journal: Path) -> int:
    """When the guest stood still for the newest snapshot: CLOCK_MONOTONIC, ns, of a process that was
    never resumed.
    """
    with Journal.open(journal) as opened:
        newest = opened.load(opened.snapshots[-1].id)
        state = HostState.from_plain(newest.record(HostRecord).state)
    assert isinstance(state.clock, SystemClockState)
    return state.clock.monotonic_ns - CLOCK_AHEAD_NS_MAX


def is_part(printed: bytes, before: int) -> bool:
    """Whether this is what the worker prints after so many bytes, for a while."""
    return WHOLE[before:].startswith(printed) and printed[-1:] in (b"", b"\n")


def resume_some(wasnap: Command, chance: random.Random, at_least: int) -> None:
    """From some of the snapshots the worker goes on where it was."""
    journal = wasnap.directory / "j"
    with Journal.open(journal) as opened:
        assert opened.gaps == []
    ids = range(1, len(taken(journal)) + 1)
    assert len(ids) >= at_least
    for snapshot in chance.sample(ids, min(RESUMED, len(ids))):
        copy = Path(shutil.copy(journal, journal.with_suffix(".copy")))
        options = ("--snapshot-on", "explicit", "--at", str(snapshot))
        done = wasnap("resume", *options, copy.name, stdin=b"end\n")
        assert (done.returncode, done.stderr) == (7, b"")
        assert is_part(done.stdout, printed_before(journal, snapshot))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thousand_signals(wasnap: Command, seed: int) -> None:
    """SIGALRM, SIGTSTP and SIGCONT from another process, with the timer in between: the program goes
    on and prints what it should, and the last SIGALRM has its snapshot, too.
    """
    on = ("--snapshot-on", "sigalrm", "--snapshot-on", "sigtstp", "--snapshot-timer", "0.05")
    module = wasnap.write("m.wasm", WORKER)
    started = wasnap.start("run", "--journal", "j", *on, module)
    sender = [sys.executable, "-m", "triggers.sender", str(started.pid), str(seed), str(COUNT)]
    sent = subprocess.run(sender, cwd=TESTS, capture_output=True, check=True, timeout=600)
    last = max(map(int, sent.stdout.split()))
    until = time.monotonic_ns() + SECONDS_MAX * 10**9
    while moment(wasnap.directory / "j") < last:
        started.signal(signal.SIGCONT)  # it may stand still, or be about to
        assert time.monotonic_ns() < until, "the last SIGALRM was not heard"
    started.write(b"end\n")
    while not started.over(0.05):
        started.signal(signal.SIGCONT)
    code, printed, stderr = started.end()
    assert (code, stderr) == (7, "")
    assert is_part(printed, 0)
    resume_some(wasnap, random.Random(seed), at_least=RESUMED)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_signal_is_heard(wasnap: Command, seed: int) -> None:
    """Two at a time, so that the system hands them to different threads: each has its snapshot."""
    chance = random.Random(seed)
    on = ("--snapshot-on", "sigalrm", "--snapshot-on", "sigtstp")
    started = wasnap.start("run", "--journal", "j", *on, wasnap.write("m.wasm", WORKER))
    rounds = max(10, COUNT // 20)
    for done in range(1, rounds + 1):
        pair = [signal.SIGALRM, signal.SIGTSTP]
        chance.shuffle(pair)
        for number in pair:
            started.signal(number)
        assert os.WIFSTOPPED(os.waitpid(started.pid, os.WUNTRACED)[1])
        started.signal(signal.SIGCONT)
        until_taken(wasnap.directory / "j", 2 * done)
        busy_until = time.monotonic_ns() + chance.randrange(2_000_000)
        while time.monotonic_ns() < busy_until:
            pass
    started.write(b"end\n")
    code, printed, stderr = started.end()
    assert (code, stderr) == (7, "")
    assert is_part(printed, 0)
    triggers = taken(wasnap.directory / "j")
    assert sorted(triggers) == ["sigalrm"] * rounds + ["sigtstp"] * rounds
    resume_some(wasnap, chance, at_least=RESUMED)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_again_and_at_once(wasnap: Command, number: signal.Signals, seed: int) -> None:
    """Twice at random moments, while the timer takes snapshots: it ends, with one exit code and
    without a word, and the journal is whole.
    """
    chance = random.Random(seed)
    module = wasnap.write("m.wasm", WORKER)
    for _ in range(max(3, COUNT // 200)):
        (wasnap.directory / "j").unlink(missing_ok=True)
        started = wasnap.start("run", "--journal", "j", "--snapshot-timer", "0.005", module)
        for longest in (50_000_000, 5_000_000):
            busy_until = time.monotonic_ns() + chance.randrange(longest)
            while time.monotonic_ns() < busy_until:
                pass
            started.signal(number)
        code, printed, stderr = started.end()
        assert (code, stderr) == (128 + number, "")
        assert is_part(printed, 0)
        resume_some(wasnap, chance, at_least=0)
