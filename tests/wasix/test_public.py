"""Binaries of wasmerio/wasix-integration-tests as they are, undisturbed and under the harness.

No registry has them: they are taken from ``wasix/`` in the guests' cache (see guests.py), under the
names they have in that repository, and skipped where they are not there. (The repository has no
example-sleep.) ``WASNAP_POINTS``: from how many snapshots of each example a process goes on;
``WASNAP_SEEDS``: how many seeds of the harness.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import guests
import pytest
from cli.conftest import Command, cache, code_cache, run, wasnap
from cli.test_terminal import User
from threads import wasm

from wasnap.harness import Job, chain, commands, differential, undisturbed
from wasnap.harness.job import process_of, written
from wasnap.journal import Journal

from .processes import TELL

__all__ = ["cache", "code_cache", "run", "wasnap"]

POINTS = int(os.environ.get("WASNAP_POINTS", "3"))
SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))

pytestmark = [pytest.mark.real, pytest.mark.slow]

LONGJMP = b"""(A1)
(B1)
(A2) r=10001
(B2) r=20001
(A3) r=10002
(B3) r=20002
(A4) r=10003
"""
SCRIPT = """
fact() { if [ $1 -le 1 ]; then echo 1; else echo $(($1 * $2)); fi; }
i=0
while [ $i -lt 40 ]; do
  i=$((i+1))
  case $i in 3) continue ;; 35) break ;; esac
  fact $i $((i-1))
done
trap 'echo "USR1 at $i"' USR1
kill -USR1 $$
trap 'echo bye' EXIT
for x in a b c; do echo "[$x]"; cd /; done
eval 'y=5; echo $((y*y))'
echo "$(pwd)" || echo unreachable
echo one two three | while read a b c; do echo "$c $b $a"; done
for j in 1 2; do (echo "bg $j") & wait; done
while read l; do echo "$l"; done <<EOF
here $i
EOF
x=$(echo captured); echo "x=$x"
/bin/tell a b
(echo sub; exit 3)
echo after
exit 5
"""
BASH_SCRIPT = """
i=0
while [ $i -lt 40 ]; do
  i=$((i+1))
  case $i in 3) continue ;; 35) break ;; esac
  echo $((i * (i-1)))
done
trap 'echo never' USR1
trap '' USR1
kill -USR1 $$
for x in a b c; do echo "[$x]"; cd /; done
for ((k=0; k<3; k++)); do names[$k]=n$k; done
echo ${names[@]} ${#names[@]} ${names[1]/n/m}
echo "$PWD" || echo unreachable
echo one two three | while read a b c; do echo "$c $b $a"; done
for j in 1 2; do (echo "bg $j") & wait; done
while read l; do echo "$l"; done <<EOF
here $i
EOF
(echo sub; exit 3)
if [[ abc == a* ]]; then { echo grouped; }; fi
until [ $i -gt 37 ]; do i=$((i+1)); done
/bin/tell a b
echo after $i
exit 5
"""
"""What this binary can do: functions, command substitution, eval, and a trap that goes off end it, as
it calls what it has to clean up as functions of another type than they are."""


class Example(NamedTuple):
    """What an example prints, in any order, as its source says, and its exit code. ``maybe``: what
    comes only if threads are fast that nobody waits for. ``every``: snapshots are taken at every
    so-manieth safepoint."""

    lines: list[str]
    code: int = 0
    maybe: Sequence[str] = ()
    every: int = 3


_STEPS = [
    "VAR1 in thread step 1: FirstEnum",
    "VAR1 in thread step 2: FirstEnum",
    "VAR1 in thread step 3: SecondEnum(4)",
    "VAR1 in thread step 4: SecondEnum(4)",
]
EXAMPLES: Mapping[str, Example] = {
    "fork": Example(["Parent has x = 0", "Child has x = 2", "Child(2) exited with 0"]),
    "fork-longjmp": Example(["Parent has x = 0", "Child has x = 2", "Child(2) exited with 5"]),
    "vfork": Example(["Parent waiting on Child(2)", "Child(2) exited with 10"]),
    "execve": Example(["Main program started", "echo,hi-from-child,echo,hi-from-parent,"]),
    "spawn": Example(["echo,hi,Child pid: 2", "Child status 0"]),
    "pipe": Example(
        ["this text should be printed by the child", "failed to read from pipe - 2"], 1
    ),
    "stack": Example(
        [
            "before long jump",
            "after long jump [val=10]",
            "before long jump",
            "after long jump [val=20]",
        ]
    ),
    "condvar": Example(
        [
            *("condvar1 thread spawn", "condvar1 thread started", "condvar loop", "condvar wait"),
            *("condvar1 thread sleep(1sec) start", "condvar1 thread sleep(1sec) end"),
            *("condvar1 thread set condition", "condvar1 thread notify", "condvar woken"),
            *("condvar parent done", "all done"),
        ],
        maybe=["condvar1 thread exit"],  # the parent sleeps for 0.1 s
    ),
    "multi-threading": Example(
        [
            *(f"thread {n} {what}" for n in range(1, 10) for what in ("started", "finished")),
            *("waiting for threads", "all done"),
        ]
    ),
    "thread-local": Example(
        [
            "VAR1 in main before change: FirstEnum",
            "VAR1 in main after change: ThirdEnum(340282366920938463463374607431768211455)",
            "VAR1 in main after thread midpoint: SecondEnum(998877)",
            "VAR1 in main after thread join: SecondEnum(998877)",
            *(_STEPS * 10),
        ],
        maybe=_STEPS * 2,
        every=29,
    ),
}
"""What ``pipe`` reads from is the end that writes: ACCES. What is executed is ``TELL``."""


def binary(name: str) -> Path:
    found = guests.cache() / "wasix" / name
    if not found.exists():
        pytest.skip(f"{found} is not there")
    return found


def longjmp(_: Path) -> Job:
    return Job(binary("example-longjmp.wasm"))


def root(directory: Path) -> Path:
    """What the guests see: a program to execute, and /dev/null."""
    found = directory / "root"
    (found / "bin").mkdir(parents=True)
    (found / "dev").mkdir()
    (found / "dev" / "null").touch()
    for program in (found / "bin" / "tell", found / "echo"):
        program.write_bytes(wasm(TELL))
    return found


def dash(directory: Path) -> Job:
    return shell("dash", SCRIPT, directory)


def bash(directory: Path) -> Job:
    return shell("bash", BASH_SCRIPT, directory)


def shell(name: str, text: str, directory: Path) -> Job:
    script = directory / "script"
    script.write_text(text)
    return Job(binary(f"{name}.wasm"), stdin=script, dirs={"/": root(directory)})


def job(name: str, directory: Path) -> Job:
    return Job(binary(f"example-{name}.wasm"), dirs={"/": root(directory)})


def test_longjmp_prints_what_the_reference_prints(tmp_path: Path) -> None:
    """What wasmer-sdk 0.5.0 printed, and what its source says."""
    assert undisturbed(longjmp, tmp_path).outcome[:2] == (0, LONGJMP)


def test_dash(tmp_path: Path) -> None:
    """Functions, loops, traps, a signal to itself, pipelines, subshells, background jobs, here
    documents, and another program."""
    found = undisturbed(dash, tmp_path).outcome
    text = found.stdout.decode().splitlines()
    assert text[:2] == ["1", "2"]
    assert text[32:] == [
        *(str(34 * 33), "USR1 at 35", "[a]", "[b]", "[c]", "25", "/"),
        *("three two one", "bg 1", "bg 2", "here 35", "x=captured", "/bin/tell,a,b,sub", "after"),
        "bye",
    ]
    assert found.code == 5


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, tmp_path: Path) -> None:
    """What each prints in whatever order its threads and processes come, while snapshots are taken
    everywhere; and what is printed with those that go on from these, in processes of their own."""
    example, made, journal = EXAMPLES[name], job(name, tmp_path), tmp_path / "journal"

    def check(stdout: bytes, code: int) -> None:
        wanted, found = Counter(example.lines), Counter(stdout.decode().splitlines())
        assert not wanted - found
        assert found - wanted <= Counter(example.maybe)
        assert code == example.code

    with ExitStack() as files:
        process = process_of(
            made,
            tmp_path,
            files,
            journal=journal,
            snapshot_on=["explicit"],
            counted=itertools.repeat(example.every),
        )
        code = process.run()
    stdout = (tmp_path / "stdout").read_bytes()
    check(stdout, code)
    with Journal.open(journal) as saved:
        snapshots = [info.id for info in saved.snapshots]
    assert len(snapshots) > 15
    copy = tmp_path / "copy"
    for at in snapshots[:: max(1, len(snapshots) // POINTS)]:
        shutil.copy(journal, copy)
        resumed = commands.wasnap("resume", *made.options(), "--at", str(at), str(copy), job=made)
        check(stdout[: written(journal, at)] + resumed.stdout, resumed.returncode)


def test_signal(wasnap: Command) -> None:
    """It sends itself SIGHUP, and waits for SIGINT; so does what goes on from a snapshot."""
    example = wasnap.start("run", "--journal", "j", str(binary("example-signal.wasm")), ready=False)
    assert example.line() == b"received SIGHUP\n"
    assert wasnap("snapshot", str(example.pid)).returncode == 0
    example.signal(signal.SIGKILL)
    example.end()
    example = wasnap.start("resume", "--at", "1", "j", ready=False)
    while wasnap("snapshot", str(example.pid)).returncode:
        assert not example.over(0)
    example.signal(signal.SIGINT)
    assert example.end()[:2] == (0, b"received SIGINT\n")


@pytest.fixture
def user(tmp_path: Path, code_cache: Path) -> Iterator[User]:
    """With a directory ``root`` for the guest."""
    root(tmp_path)
    made = User(tmp_path, code_cache)
    yield made
    made.close()


def test_epoll(user: User) -> None:
    """A child polls a counter that its parent writes to every second, on a terminal: elsewhere what the
    child prints is in its buffer when the parent, which does not wait, ends and it with that. Killed
    after the second time, and resumed; the exit code is what the last write returned."""
    options = ["--quiet", "--journal", "j", "--snapshot-on", "explicit"]
    pid = user.run("run", *options, str(binary("example-epoll.wasm")))
    user.sees(b"success read", times=2)
    user.elsewhere("snapshot", str(pid))
    os.kill(pid, signal.SIGKILL)
    user.ended()
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    assert user.ended() == 8
    lines = user.seen[since:].splitlines()  # what was there is shown again
    for what in (
        b"success write to efd, write 8 bytes(4)",
        b"success read from efd, read 8 bytes(",
    ):
        assert sum(line.startswith(what) for line in lines) == 5


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_shell_on_a_terminal(user: User, shell: str) -> None:
    """A subshell reads what is typed; both are killed, resumed, and go on. Ctrl-C ends a subshell that
    computes, and not the shell."""
    prompt = {"dash": b"# ", "bash": b"bash.wasm-5.1# "}[shell]
    options = ["--quiet", "--journal", "j", "--snapshot-on", "stdin", "--dir", "root::/"]
    pid = user.run("run", *options, str(binary(f"{shell}.wasm")))
    user.sees(prompt)
    user.type(b"x=42\n")
    user.sees(prompt, times=2)
    user.type(b'(while read l; do echo "got $l, $x"; done)\n')
    user.type(b"one\n")
    user.sees(b"got one, 42")
    user.elsewhere("snapshot", str(pid))
    os.kill(pid, signal.SIGKILL)
    user.ended()
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    user.until(lambda: b"got one, 42" in user.seen[since:])
    user.type(b"two\n")
    user.sees(b"got two, 42")
    user.type(b"\x04")
    user.type(b"echo $((x + 1))\n")
    user.sees(b"43\r\n")
    user.type(b"(echo round; while :; do y=1; done; echo never)\n")
    user.sees(b"round\r\n")
    user.type(b"\x03")
    user.type(b"echo $((x + 2)); exit 7\n")
    user.sees(b"44\r\n")
    assert user.ended() == 7
    assert b"never\r\n" not in user.seen.replace(b"echo never)\r\n", b"")


def test_bash(tmp_path: Path) -> None:
    """Loops, arithmetic, arrays, signals to itself, pipelines, subshells, background jobs, here
    documents, and another program."""
    found = undisturbed(bash, tmp_path).outcome
    text = found.stdout.decode().splitlines()
    assert text[:33] == [str(i * (i - 1)) for i in range(1, 35) if i != 3]
    assert text[33:] == [
        *("[a]", "[b]", "[c]", "n0 n1 n2 3 m1", "/", "three two one", "bg 1", "bg 2", "here 35"),
        *("sub", "grouped", "/bin/tell,a,b,after 38"),
    ]
    assert found.code == 5


@pytest.mark.parametrize("make", [longjmp, dash, bash])
def test_disturbed(make: Callable[[Path], Job], tmp_path: Path) -> None:
    for seed in range(SEEDS):
        differential(make, tmp_path / f"d{seed}", seed=seed, snapshots=2)
    chain(make, tmp_path / "chain", links=6)
