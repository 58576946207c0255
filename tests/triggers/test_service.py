"""Service manners: any death is continued by the same command line, deadlines hold, commands follow
snapshots."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest
from cli.test_run import BIG
from moments import wait_for_work
from process import wat

from triggers.conftest import SELDOM, Command, goes_on, taken, until_taken

COUNTER = wat.counter(60, 1_000_000, code=7, held=True)
COUNTED = wat.counted(60, 1_000_000)


# A value that cannot be saved lives as long as the loop runs: nothing can stop there, nor on the
# way from "ready" to it.
UNSTOPPABLE = wat.wasm("""
  (func $spin (param $alive externref)
    (call $ready)
    (loop $for_ever (br_if $for_ever (ref.is_null (local.get $alive)))))
  (func (export "_start")
    (call $spin (ref.null extern)))""")


def test_the_deadline(wasnap: Command) -> None:
    """A guest that cannot be stopped: SIGTERM ends it all the same, when the grace is over."""
    module = wasnap.write("m.wasm", UNSTOPPABLE)
    options = ["--journal", "j", "--grace", "0.2", "--log-format", "json"]
    started = wasnap.start("run", *options, module)
    started.signal(signal.SIGTERM)
    code, printed, _ = started.end()
    assert (code, printed) == (143, b"ready\n")
    assert taken(wasnap.directory / "j") == []


def test_in_time(wasnap: Command) -> None:
    """Where there is time for it, the snapshot is there."""
    started = wasnap.start(
        "run", "--journal", "j", *SELDOM, "--grace", "60", wasnap.write("m.wasm", COUNTER)
    )
    started.signal(signal.SIGTERM)
    code, printed, _ = started.end()
    assert code == 143
    assert taken(wasnap.directory / "j") == ["sigterm"]
    goes_on(wasnap, COUNTED)
    done = wasnap("run", "--journal", "j", "m.wasm")
    assert (done.returncode, printed + done.stdout) == (7, COUNTED)


@pytest.mark.parametrize("grace", [True, False], ids=["grace", "none"])
def test_a_signal_and_a_full_disk(wasnap: Command, grace: bool) -> None:
    """With a deadline it ends, since there can be no snapshot; without, the program comes first."""
    module = wasnap.write("big.wasm", BIG)
    wasnap("run", module)  # compiled, and in the cache
    on = ("--snapshot-on", "sigterm", "--grace", "60") if grace else ("--snapshot-on", "sigterm")
    started = wasnap.start("run", "--journal", "j", *on, module, file_size_max=300_000)
    started.signal(signal.SIGTERM)
    told = started.complaint()
    code, printed, _ = started.end(b"" if grace else b"\n")
    if grace:
        assert code == 143
    else:
        assert (code, printed) == (7, COUNTED)
    assert b"File too large" in told
    assert taken(wasnap.directory / "j") == []


@pytest.mark.slow
def test_any_death_is_continued(wasnap: Command) -> None:
    """One command line, killed at random moments by whatever kills, until the job is done."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    module = wasnap.write("m.wasm", wat.counter(200, 10_000_000, code=7))
    whole = wat.counted(200, 10_000_000)
    arguments = ["run", "--journal", "j", "--snapshot-timer", "0.02", "--grace", "5", module]
    deaths = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV)
    code, lives = -1, 0
    while lives < 200:
        lives += 1
        started = wasnap.start(*arguments, ready=False)
        wait_for_work(started.pid, chance.randrange(500_000_000, 1_000_000_000))
        if started.over(0):
            code, rest, _ = started.end()
            break
        started.signal(chance.choice(deaths))
        started.end()
    print(f"{lives} lives")
    assert code == 7
    assert lives > 1
    assert rest
    assert whole.endswith(rest)


def seen(path: Path) -> list[dict[str, str]]:
    """What the command wrote, an object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


TELL = """printf '{"id":"%s","journal":"%s"}\\n' "$WASNAP_SNAPSHOT" "$WASNAP_JOURNAL" >> seen"""


def test_after_snapshot(wasnap: Command) -> None:
    """For each snapshot, in order, with its number; the last one is waited for."""
    module = wasnap.write("m.wasm", wat.asker())
    slowly = f"head -c 1 /dev/zero > /dev/null; {TELL}"
    done = wasnap("run", "--journal", "j", "--after-snapshot", slowly, module)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"ready\n0\n0\n", b"")
    journal = str(wasnap.directory / "j")
    told = seen(wasnap.directory / "seen")
    assert told == [{"id": "1", "journal": journal}, {"id": "2", "journal": journal}]


def test_the_guest_does_not_wait_for_it(wasnap: Command) -> None:
    """It goes on while the command runs, which has neither its input nor its output."""
    hold = wasnap.directory / "hold"
    module = wasnap.write("m.wasm", wat.reader())
    command = f"cat; echo noise; while [ ! -e hold ]; do :; done; {TELL}"
    options = ["--journal", "j", "--snapshot-on", "stdin", "--after-snapshot", command]
    started = wasnap.start("run", *options, module)
    until_taken(wasnap.directory / "j")
    started.write(b"ab")
    assert started.line() == b"97\n"
    assert started.line() == b"98\n"
    hold.touch()
    assert started.end(b"c") == (7, b"ready\n97\n98\n99\n", "noise\n")
    assert [one["id"] for one in seen(wasnap.directory / "seen")] == ["1"]


@pytest.mark.parametrize(
    ("command", "says"),
    [("exit 3", "exit code 3"), ("kill -9 $$", "SIGKILL"), ("nowhere-x", "127")],
)
def test_a_command_that_fails(wasnap: Command, command: str, says: str) -> None:
    """It is told, with the snapshot's number, and harms nothing."""
    module = wasnap.write("m.wasm", wat.asker())
    done = wasnap("run", "--journal", "j", "--after-snapshot", command, module)
    assert (done.returncode, done.stdout) == (7, b"ready\n0\n0\n")
    told = [line for line in done.stderr.decode().splitlines() if line.startswith("wasnap: ")]
    assert [line.split()[5] for line in told] == ["1", "2"]
    assert all(says in line for line in told)


def test_ctrl_c_does_not_wait_for_it(wasnap: Command) -> None:
    """SIGINT while the process's end waits for a command that does not end."""
    module = wasnap.write("m.wasm", wat.asker())
    command = "echo $$ > pid; mv pid begun; exec sleep 1000"
    started = wasnap.start("run", "--journal", "j", "--after-snapshot", command, module)
    while not (wasnap.directory / "begun").exists():
        pass
    assert started.line() == b"0\n"
    assert started.line() == b"0\n"
    started.signal(signal.SIGINT)
    while not started.over(0.05):
        started.signal(signal.SIGINT)
    os.kill(int((wasnap.directory / "begun").read_text()), signal.SIGKILL)  # it went on alone
    assert started.end()[0] == 130
