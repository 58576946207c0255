"""Binaries of wasmerio/wasix-integration-tests as they are, undisturbed and under the harness.

No registry has them: they are taken from ``wasix/`` in the guests' cache (see guests.py), under the
names they have in that repository, and skipped where they are not there.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import guests
import pytest
from cli.test_terminal import User
from threads import wasm

from wasnap.harness import Job, chain, differential, undisturbed
from wasnap.harness.job import process_of, written
from wasnap.journal import Journal

from .processes import TELL

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
PROCESSES: Mapping[str, tuple[list[bytes], int]] = {
    "fork": ([b"Parent has x = 0", b"Child has x = 2", b"Child(2) exited with 0"], 0),
    "fork-longjmp": ([b"Parent has x = 0", b"Child has x = 2", b"Child(2) exited with 5"], 0),
    "vfork": ([b"Parent waiting on Child(2)", b"Child(2) exited with 10"], 0),
    "execve": ([b"Main program started", b"echo,hi-from-child,echo,hi-from-parent,"], 0),
    "spawn": ([b"echo,hi,Child pid: 2", b"Child status 0"], 0),
    "pipe": ([b"this text should be printed by the child", b"failed to read from pipe - 8"], 1),
}
"""Lines, in any order, and exit code. What the last one reads from is the end that writes: BADF; the
reference runtime says ACCES."""


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
    script = directory / "script"
    script.write_text(SCRIPT)
    return Job(binary("dash.wasm"), stdin=script, dirs={"/": root(directory)})


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


@pytest.mark.parametrize("name", PROCESSES)
def test_processes(name: str, tmp_path: Path) -> None:
    """What example programs print, as their sources say, in whatever order their processes come; and
    what each snapshot's tree prints that is resumed."""
    made, wanted, code = job(name, tmp_path), PROCESSES[name][0], PROCESSES[name][1]
    journal = tmp_path / "journal"

    def run(at: int | None) -> tuple[list[bytes], int]:
        with ExitStack() as files:
            process = process_of(
                made,
                tmp_path,
                files,
                fresh=at is None,
                journal=journal,
                at=at,
                snapshot_on=["explicit"],
                counted=itertools.repeat(3) if at is None else [],
            )
            code = process.run()
        return sorted((tmp_path / "stdout").read_bytes().splitlines()), code

    assert run(None) == (sorted(wanted), code)
    with Journal.open(journal) as saved:
        snapshots = [info.id for info in saved.snapshots]
    nothing_yet = [at for at in snapshots if not written(journal, at)]
    assert len(nothing_yet) > 3
    for at in nothing_yet[:: max(1, len(nothing_yet) // 4)]:
        assert run(at) == (sorted(wanted), code)


def test_a_shell_on_a_terminal(tmp_path: Path) -> None:
    """A subshell reads what is typed; both are interrupted, resumed, and go on."""
    user = User(tmp_path, tmp_path / "cache")
    try:
        options = ["--quiet", "--journal", "j", "--snapshot-on", "stdin", "--tmp", "/"]
        pid = user.run("run", *options, str(binary("dash.wasm")))
        user.sees(b"# ")
        user.type(b"x=42\n")
        user.sees(b"# ", times=2)
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
        user.type(b"echo $((x + 1)); exit 7\n")
        user.sees(b"43\r\n")
        assert user.ended() == 7
    finally:
        user.close()


@pytest.mark.parametrize("make", [longjmp, dash])
def test_disturbed(make: Callable[[Path], Job], tmp_path: Path) -> None:
    for seed in range(SEEDS):
        differential(make, tmp_path / f"d{seed}", seed=seed, snapshots=2)
    chain(make, tmp_path / "chain", links=6)
