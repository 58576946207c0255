"""Several processes of WASIX: undisturbed, and with all of them saved and resumed again and again."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from pathlib import Path

import guests
import pytest
from threads import wasm

from wasnap import Process, resume
from wasnap.engine.tracking import COMPARE
from wasnap.harness import Job, undisturbed
from wasnap.harness.job import opened
from wasnap.journal import Journal, ProcessRecord
from wasnap.journal.tools.text_snapshot import snapshot_lines
from wasnap.journal.tools.view import describe_snapshot

from . import processes, teams
from .steps import in_steps

pytestmark = pytest.mark.usefixtures("own_cache")
LINKS = int(os.environ.get("WASNAP_LINKS", "16"))
PRINTED = {**processes.PRINTED, **teams.PRINTED}
SHORT = ("files", "branch", "succession", "swarm", "fall", "rivals")
"""Those that pass few safepoints."""
SEED = int(os.environ.get("WASNAP_SEED", random.randrange(1 << 32)))


def job(name: str, directory: Path) -> Job:
    """With a program to execute, and something that is none."""
    module = directory / f"{name}.wasm"
    module.write_bytes(wasm(PRINTED[name][0]))
    root = processes.root(directory)
    out = (root / "out",) if name == "files" else ()
    return Job(module, dirs={"/": root}, outputs=out)


@pytest.mark.parametrize("name", PRINTED)
def test_what_it_prints(name: str, tmp_path: Path) -> None:
    _, code, printed = PRINTED[name]
    found = undisturbed(lambda d: job(name, d), tmp_path, counted=False).outcome
    assert (found.stdout.decode(), found.code) == (printed, code)
    if name == "files":
        assert (tmp_path / "world" / "root" / "out").read_bytes() == b"abc"


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("compare", [False, True])
def test_saved_and_resumed_again_and_again(
    name: str, compare: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snapshot holds the whole tree, and the next process takes the next one, soon after; also
    where pages are compared."""
    if compare:
        monkeypatch.setenv(COMPARE, "1")
    chance = random.Random(f"{SEED} {name}")
    choices = (1, 2) if name in SHORT else (1, 2, 3, 7, 12)
    steps = [chance.choice(choices) for _ in range(LINKS)]
    print(f"WASNAP_SEED={SEED}, {name}: {steps}")
    made = job(name, tmp_path)
    found = in_steps(made, tmp_path, steps)
    _, wanted, text = PRINTED[name]
    assert (found.printed, found.code) == (text, wanted)
    assert found.taken > 2
    assert found.acted == (name == "act")
    if name == "files":
        assert (tmp_path / "root" / "out").read_bytes() == b"abc"


UNSAVED = f"""
  {processes.head()}
  (func $wait_with (param $alive externref)
    {processes.JOIN_ANY}
    (if (i32.eqz (ref.is_null (local.get $alive))) (then unreachable)))
  (func (export "_start")
    (if (i32.eqz (call $forked))
      (then (call $compute (i32.const 30000000)) (call $exit (i32.const 3))))
    (call $wait_with (ref.null extern)))"""


def test_a_child_is_waited_for_while_a_value_is_alive_that_cannot_be_saved(tmp_path: Path) -> None:
    """Its parent cannot be stopped there; it hears of the end all the same."""
    module = tmp_path / "m.wasm"
    module.write_bytes(wasm(UNSAVED))
    found = undisturbed(lambda _: Job(module), tmp_path / "u", counted=False).outcome
    assert (found.stdout, found.code) == (b"2 1 3 0 ", 0)


def vfork_job(directory: Path) -> Job:
    module = guests.zig(
        Path(__file__).with_name("vfork.c"),
        *("-mcpu=generic+atomics+bulk_memory+exception_handling", "-ffreestanding", "-nostdlib"),
        *("-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false"),
        *("-Wl,--no-entry", "-Wl,-z,stack-size=16384", "-Wl,--max-memory=1048576"),
        *("-Wl,--shared-memory", "-Wl,--import-memory", "-Wl,--export=_start"),
        *("-Wl,--export=__stack_pointer", str(Path(__file__).with_name("setjmp.c"))),
        target="wasm32-freestanding",
    )
    return Job(module, dirs={"/": processes.root(directory)})


def test_vfork_as_the_libc_makes_it(tmp_path: Path) -> None:
    """Of proc_fork_env, setjmp and longjmp: the child's number, then ours, what it did to our memory, how
    it ended, and what a program wrote that it became. The reference runtime prints the same."""
    chance = random.Random(f"{SEED} vfork")
    steps = [chance.randrange(1, 12) for _ in range(LINKS)]
    print(f"WASNAP_SEED={SEED}: {steps}")
    found = in_steps(vfork_job(tmp_path), tmp_path, steps)
    assert (found.printed, found.code) == ("2\n1\n42\n7\ntell,vfork,11\n0\n", 3)
    assert found.acted


def test_a_tree_in_a_journal(tmp_path: Path) -> None:
    """Which processes there are, the memories they have, a program's bytes: once, and shown."""
    made = job("exec", tmp_path)
    journal = tmp_path / "journal"
    with ExitStack() as files:
        stdout = opened(files, tmp_path / "stdout", os.O_WRONLY | os.O_CREAT)
        process = Process(
            made.module,
            dirs=made.dirs,
            journal=journal,
            snapshot_on=["explicit"],
            counted=[40] * 200,
            stdout=stdout,
            stdin=None,
        )
        code = process.run()
    assert code == PRINTED["exec"][1]
    trees = []
    programs = set()
    with Journal.open(journal, verify=True) as saved:
        for info in saved.snapshots:
            snapshot = saved.load(info.id)
            found = {r.process: r for r in snapshot.records(ProcessRecord)}
            trees.append(sorted(found))
            for record in found.values():
                if record.program is not None:
                    programs.add(record.program)
                    image = snapshot.memory(record.program)
                    assert image.read(0, image.pages_total)[: record.size] == wasm(processes.TELL)
        shown = [
            "\n".join(snapshot_lines(describe_snapshot(saved, info.id))) for info in saved.snapshots
        ]
    assert [1, 2] in trees
    assert len(programs) == 1
    text = shown[trees.index([1, 2])]
    assert "process 1: the module, memories 0\n" in text
    assert "process 2, thread 0, " in text
    assert any("process 2: program 0, memories 1\n" in each for each in shown)
    with ExitStack() as files:
        stdout = opened(files, tmp_path / "rest", os.O_WRONLY | os.O_CREAT)
        assert resume(journal, stdin=None, stdout=stdout).run() == PRINTED["exec"][1]
