"""What the guest itself sets off: once, before it happens, and never again in a resumed process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from process import wat

from triggers.conftest import Command, goes_on, printed_before, taken, until_taken
from wasnap.journal import Journal, StackRecord


def pending(journal: Path, snapshot: int = 1) -> str | None:
    """The host call that the guest waited in."""
    with Journal.open(journal) as opened:
        call = opened.load(snapshot).record(StackRecord).pending
    return None if call is None else call.name


def test_stdin(wasnap: Command) -> None:
    """Before the first read, once; resumed, also from there, never again."""
    module = wasnap.write("m.wasm", wat.reader())
    on = ("--snapshot-on", "stdin")
    done = wasnap("run", "--journal", "j", *on, module, stdin=b"abc")
    whole = b"ready\n97\n98\n99\n"
    assert (done.returncode, done.stdout) == (7, whole)
    journal = wasnap.directory / "j"
    assert (taken(journal), pending(journal)) == (["stdin"], "fd_read")
    assert goes_on(wasnap, whole, options=on, stdin=b"abc") == [[]]


def test_stdin_is_there_before_anybody_types(wasnap: Command) -> None:
    """The snapshot is not behind the read, and a kill while it waits loses nothing."""
    started = wasnap.start(
        "run", "--journal", "j", "--snapshot-on", "stdin", wasnap.write("m.wasm", wat.reader())
    )
    until_taken(wasnap.directory / "j")
    started.signal(signal.SIGKILL)
    started.end()
    done = wasnap("resume", "j", stdin=b"a")
    assert (done.returncode, done.stdout) == (7, b"97\n")


def test_stdin_that_is_a_file(wasnap: Command) -> None:
    """A file as stdin is input, too."""
    module = wasnap.write("m.wasm", wat.reader())
    wasnap.write("input", b"ab")
    with open(wasnap.directory / "input", "rb") as file:
        done = wasnap("run", "--journal", "j", "--snapshot-on", "stdin", module, file=file)
    assert (done.returncode, done.stdout) == (7, b"ready\n97\n98\n")
    assert taken(wasnap.directory / "j") == ["stdin"]
    goes_on(wasnap, b"ready\n97\n98\n", stdin=b"ab")


@pytest.mark.parametrize(
    ("asked", "count"), [("stdin:every:0", 4), ("stdin:every:3600", 1), ("stdin:every", 1)]
)
def test_every_read(wasnap: Command, asked: str, count: int) -> None:
    """``every`` is each read (the last finds the end), but not sooner than the seconds say."""
    module = wasnap.write("m.wasm", wat.reader())
    done = wasnap("run", "--journal", "j", "--snapshot-on", asked, module, stdin=b"abc")
    whole = b"ready\n97\n98\n99\n"
    assert (done.returncode, done.stdout) == (7, whole)
    journal = wasnap.directory / "j"
    assert taken(journal)[:count] == ["stdin"] * count
    if asked != "stdin:every":  # whose second may pass on a slow machine
        assert len(taken(journal)) == count
    for snapshot in range(1, count + 1):  # one byte was read between each two
        resumed = wasnap("resume", "j", "--at", str(snapshot), stdin=b"abc"[snapshot - 1 :])
        assert resumed.stdout == whole[printed_before(journal, snapshot) :]


def test_nondeterministic(wasnap: Command) -> None:
    """Before the first call whose answer comes from outside; once."""
    module = wasnap.write("m.wasm", wat.curious())
    on = ("--snapshot-on", "nondeterministic")
    done = wasnap("run", "--journal", "j", *on, module)
    whole = b"ready\n1\n2\n3\n"
    assert (done.returncode, done.stdout) == (7, whole)
    journal = wasnap.directory / "j"
    assert (taken(journal), pending(journal)) == (["nondeterministic"], "clock_time_get")
    assert goes_on(wasnap, whole, options=on) == [[]]


def test_every_nondeterministic_call(wasnap: Command) -> None:
    """Clock and random in turn; a resumed process goes on with the next one."""
    module = wasnap.write("m.wasm", wat.curious())
    on = ("--snapshot-on", "nondeterministic:every:0")
    wasnap("run", "--journal", "j", *on, module)
    journal = wasnap.directory / "j"
    names = ["clock_time_get", "random_get"] * 3
    assert [pending(journal, n) for n in range(1, 7)] == names
    new = goes_on(wasnap, b"ready\n1\n2\n3\n", options=on)
    assert [len(triggers) for triggers in new] == [5, 4, 3, 2, 1, 0]


def test_once_is_once_in_its_life(wasnap: Command) -> None:
    """What came before the snapshot of another trigger does not come again after it."""
    module = wasnap.write("m.wasm", wat.reader())
    on = ("--snapshot-on", "stdin", "--snapshot-on", "sigterm")
    started = wasnap.start("run", "--journal", "j", *on, module)
    until_taken(wasnap.directory / "j")
    started.signal(signal.SIGTERM)
    assert started.end()[0] == 143
    assert taken(wasnap.directory / "j") == ["stdin", "sigterm"]
    assert goes_on(wasnap, b"ready\n97\n", options=on, stdin=b"a") == [[], []]


def test_idle(wasnap: Command) -> None:
    """While it waits for input: one, however long it waits; and one when it has run again."""
    module = wasnap.write("m.wasm", wat.reader())
    started = wasnap.start("run", "--journal", "j", "--snapshot-on", "idle:0.01", module)
    journal = wasnap.directory / "j"
    for count, byte in enumerate(b"abc", start=1):
        until_taken(journal, count)
        started.write(bytes([byte]))
    code, printed, _ = started.end(b"\n")
    whole = b"ready\n97\n98\n99\n10\n"
    assert (code, printed) == (7, whole)
    assert set(taken(journal)) == {"idle"}
    assert len(taken(journal)) in (3, 4, 5)  # also before the newline, and before the end of stdin
    resumed = wasnap("resume", "--snapshot-on", "idle:0.01", "j", "--at", "2", stdin=b"bc\n")
    assert (resumed.returncode, resumed.stdout) == (7, whole[9:])


def sleeping(wasnap: Command, *on: str) -> list[str]:
    """The snapshots of a program that sleeps twice. A busy machine may let a short sleep pass before
    it looks: then there is a longer one.
    """
    found: list[str] = []
    for milliseconds in (300, 2_000, 15_000):
        module = wasnap.write("m.wasm", wat.waker(2, milliseconds))
        done = wasnap("run", "--fresh", "--journal", "j", *on, module)
        assert (done.returncode, done.stdout) == (7, b"ready\n1\n2\n")
        found = taken(wasnap.directory / "j")
        if len(found) >= 2:
            break
    return found


def test_idle_once_in_a_wait(wasnap: Command) -> None:
    """A sleep of many idle times has one snapshot; a resumed sleep has none."""
    on = ("--snapshot-on", "idle:0.01")
    found = sleeping(wasnap, *on)
    assert found == ["idle"] * 2
    new = goes_on(wasnap, b"ready\n1\n2\n", options=on)
    assert new in ([["idle"], []], [[], []])  # a busy machine may let the second sleep pass


def test_not_idle(wasnap: Command) -> None:
    """Waits that are shorter, and computing, are not idleness."""
    for module, idle in (
        (wat.waker(20, 1), "idle:60"),
        (wat.counter(3, 10_000_000, code=7), "idle:0"),
    ):
        name = wasnap.write("m.wasm", module)
        done = wasnap("run", "--fresh", "--journal", "j", "--snapshot-on", idle, name)
        assert done.returncode == 7
        assert taken(wasnap.directory / "j") == []


def test_the_timer_lets_sleepers_sleep(wasnap: Command) -> None:
    """A program that only waits since its last snapshot gets no other, with a timer of 10 ms."""
    on = ("--snapshot-timer", "0.01")
    found = sleeping(wasnap, *on)
    # One in each sleep, and what came before and between: more, if it does not get on there.
    assert 2 <= len(found) <= 20
    goes_on(wasnap, b"ready\n1\n2\n", options=on)


def test_explicit_from_the_guest(wasnap: Command) -> None:
    """``wasnap.snapshot`` gives 0 in the process that asked and in those resumed from it."""
    module = wasnap.write("m.wasm", wat.asker())
    done = wasnap("run", "--journal", "j", "--snapshot-on", "timer", module)
    whole = b"ready\n0\n0\n"
    assert (done.returncode, done.stdout) == (7, whole)
    assert taken(wasnap.directory / "j") == ["explicit", "explicit"]
    assert goes_on(wasnap, whole) == [["explicit"], []]


def test_explicit_without_a_journal(wasnap: Command) -> None:
    """It gives NOTSUP, 58, and the program goes on."""
    done = wasnap("run", wasnap.write("m.wasm", wat.asker()))
    assert (done.returncode, done.stdout) == (7, b"ready\n58\n58\n")


def test_stop_after_snapshot(wasnap: Command) -> None:
    """The guest's own request ends it, too; resumed, it goes on behind it."""
    module = wasnap.write("m.wasm", wat.asker())
    done = wasnap("run", "--journal", "j", "--stop-after-snapshot", module)
    assert (done.returncode, done.stdout) == (0, b"ready\n")
    goes_on(wasnap, b"ready\n0\n0\n")
