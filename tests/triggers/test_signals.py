"""Signals from outside and from the guest: a snapshot, the signal's effect, and a resume that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from cli.conftest import SOURCE
from process import wat

from triggers.conftest import SELDOM, Command, goes_on, taken, until_taken

WASI = {"sigint": 2, "sigterm": 15, "sigalrm": 14, "sigtstp": 19, "sigstop": 18}
COUNTER = wat.counter(60, 1_000_000, code=7, held=True)
COUNTED = wat.counted(60, 1_000_000)


def stopped(pid: int) -> bool:
    """Wait until the process has changed its state: whether it stands still now."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    return os.WIFSTOPPED(status)


def test_sigalrm_from_outside(wasnap: Command) -> None:
    """Armed as a trigger only, it is a snapshot and nothing else; any number of times."""
    module = wasnap.write("m.wasm", COUNTER)
    started = wasnap.start("run", "--journal", "j", "--snapshot-on", "sigalrm", module)
    for count in (1, 2, 3):
        started.signal(signal.SIGALRM)
        until_taken(wasnap.directory / "j", count)
    assert started.end(b"\n") == (7, COUNTED, "")
    assert taken(wasnap.directory / "j") == ["sigalrm"] * 3
    goes_on(wasnap, COUNTED)


def test_sigalrm_that_is_no_trigger(wasnap: Command) -> None:
    """It ends the process, as it ends any."""
    module = wasnap.write("m.wasm", wat.endless())
    started = wasnap.start("run", "--journal", "j", *SELDOM, module)
    started.signal(signal.SIGALRM)
    assert started.end()[0] == -signal.SIGALRM
    assert taken(wasnap.directory / "j") == []


@pytest.mark.parametrize("module", [COUNTER, wat.reader()], ids=["computing", "reading"])
def test_sigtstp(wasnap: Command, module: bytes) -> None:
    """A snapshot is there when the process stands still; SIGCONT lets it go on, twice."""
    whole = COUNTED if module == COUNTER else b"ready\n104\n105\n"
    name = wasnap.write("m.wasm", module)
    started = wasnap.start("run", "--journal", "j", "--snapshot-on", "sigtstp", name)
    for count in (1, 2):
        started.signal(signal.SIGTSTP)
        assert stopped(started.pid)
        assert taken(wasnap.directory / "j") == ["sigtstp"] * count
        started.signal(signal.SIGCONT)
    stdin = b"\n" if module == COUNTER else b"hi"
    assert started.end(stdin) == (7, whole, "")
    goes_on(wasnap, whole, stdin=stdin)


def test_killed_while_it_stands_still(wasnap: Command) -> None:
    """Ctrl-Z, then the machine goes down: nothing is lost."""
    module = wasnap.write("m.wasm", COUNTER)
    started = wasnap.start("run", "--journal", "j", "--snapshot-on", "sigtstp", module)
    started.signal(signal.SIGTSTP)
    assert stopped(started.pid)
    started.signal(signal.SIGKILL)
    code, printed, _ = started.end()
    assert code == -signal.SIGKILL
    done = wasnap("run", "--journal", "j", module)
    assert (done.returncode, printed + done.stdout) == (7, COUNTED)


@pytest.mark.parametrize(
    ("name", "code"), [("sigint", 130), ("sigterm", 143), ("sigalrm", 142)], ids=str
)
@pytest.mark.parametrize("trigger", [True, False], ids=["trigger", "none"])
def test_from_the_guest_ending(wasnap: Command, name: str, code: int, trigger: bool) -> None:
    """``raise``: after a snapshot, if it is a trigger, the process ends; resumed, it goes on."""
    module = wasnap.write("m.wasm", wat.raiser(WASI[name]))
    on = name if trigger else "timer"
    done = wasnap("run", "--journal", "j", "--snapshot-on", on, module)
    assert (done.returncode, done.stdout) == (code, b"ready\n"), done.stderr
    assert taken(wasnap.directory / "j") == [name] * trigger
    assert goes_on(wasnap, b"ready\n0\n", options=("--snapshot-on", name)) == [[]] * trigger


@pytest.mark.parametrize("name", ["sigtstp", "sigstop"])
@pytest.mark.parametrize("trigger", [True, False], ids=["trigger", "none"])
def test_from_the_guest_pausing(wasnap: Command, name: str, trigger: bool) -> None:
    """The process stands still until SIGCONT, and goes on behind the guest's call."""
    module = wasnap.write("m.wasm", wat.raiser(WASI[name]))
    on = name if trigger else "timer"
    started = wasnap.start("run", "--journal", "j", "--snapshot-on", on, *SELDOM, module)
    assert stopped(started.pid)
    assert taken(wasnap.directory / "j") == [name] * trigger
    started.signal(signal.SIGCONT)
    assert started.end() == (7, b"ready\n0\n", "")
    assert goes_on(wasnap, b"ready\n0\n", options=("--snapshot-on", name)) == [[]] * trigger


PAUSES = """
import os, threading
from wasnap.host.signals import pause

def run():
    for _ in range(40):
        pause()
        os.write(1, b"x")

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_a_thread_that_pauses_the_process_does_not_run_on() -> None:
    """Guests send themselves signals on threads of their own: nothing comes behind that before SIGCONT,
    be it the guest's or what is done about its terminal.
    """
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", PAUSES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as pausing:
        assert pausing.stdout is not None
        os.set_blocking(pausing.stdout.fileno(), False)
        try:
            for number in range(40):
                assert stopped(pausing.pid)
                assert (pausing.stdout.read() or b"") == b"x" * min(number, 1)
                pausing.send_signal(signal.SIGCONT)
            assert pausing.wait(60) == 0
        finally:
            pausing.kill()


def test_a_signal_to_oneself_without_a_journal(wasnap: Command) -> None:
    """It has its effect."""
    done = wasnap("run", wasnap.write("m.wasm", wat.raiser(WASI["sigterm"])))
    assert (done.returncode, done.stdout) == (143, b"ready\n")


def test_from_the_terminal(wasnap: Command) -> None:
    """Ctrl-Z and Ctrl-C, typed: the process stands still, goes on, and ends, with a snapshot each."""
    ours, theirs = os.openpty()
    try:
        on = ("--snapshot-on", "sigtstp", "--snapshot-on", "sigint")
        module = wasnap.write("m.wasm", wat.endless())
        started = wasnap.start("run", "--journal", "j", *on, module, terminal=theirs)
        os.write(ours, b"\x1a")
        assert stopped(started.pid)
        assert taken(wasnap.directory / "j") == ["sigtstp"]
        started.signal(signal.SIGCONT)
        os.write(ours, b"\x03")
        assert started.end()[:2] == (130, b"ready\n")
        assert taken(wasnap.directory / "j") == ["sigtstp", "sigint"]
    finally:
        os.close(ours)
        os.close(theirs)
