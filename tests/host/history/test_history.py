"""Going back and forth through random changes, and dying at every step of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from wasnap.host.history import HistoryState

from .world import Fault, Killed, Script, Tree, World, tree

SEEDS = int(os.environ.get("WASNAP_SEEDS", "1"))


class Saved:
    """Snapshots: where in the history they are, and what the files were."""

    def __init__(self, world: World) -> None:
        self.states: list[HistoryState] = []
        self.trees: list[Tree] = []
        self.world = world

    def take(self) -> None:
        self.states.append(self.world.now.point())
        self.trees.append(tree(self.world.data))

    def check(self, number: int) -> None:
        """Resume it in a new process and compare."""
        self.world.die()
        assert self.world.resume(self.states[number]) == {}
        assert difference(tree(self.world.data), self.trees[number]) == {}


def difference(found: Tree, wanted: Tree) -> dict[str, tuple[object, object]]:
    """Name -> what is there, and what should be."""
    names = sorted(found.keys() | wanted.keys())
    pairs = {name: (found.get(name), wanted.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    return Fault(monkeypatch)


@pytest.mark.parametrize("copies", [False, True], ids=["links", "copies"])
@pytest.mark.parametrize("seed", range(6 * SEEDS))
def test_back_and_forth(tmp_path: Path, fault: Fault, seed: int, copies: bool) -> None:
    """Any snapshot of any branch can be gone to, at any time, any number of times."""
    fault.refuse_links = copies
    world = World(tmp_path)
    saved = Saved(world)
    script = Script(seed, links=not copies)
    world.create()
    for _ in range(4):
        script.run(world, 15)
        saved.take()
    for _ in range(6):
        script.run(world, 10)
        saved.check(script.chance.randrange(len(saved.states)))
        script.run(world, 10)
        if script.chance.random() < 0.6:
            saved.take()
    for number in range(len(saved.states)):
        saved.check(number)
    world.die()


POINTS = int(os.environ.get("WASNAP_POINTS", "8"))


def spread(total: int, count: int) -> list[int]:
    """At most ``count`` numbers from 1 to ``total``, evenly."""
    return sorted({1 + i * (total - 1) // max(1, count - 1) for i in range(count)})


class Run:
    """The same world each time: three snapshots, then changes that nobody saves."""

    def __init__(self, directory: Path, seed: int, *, copies: bool) -> None:
        self.world = World(directory)
        self.world.create()
        self.script = Script(seed, links=not copies)
        self.saved = Saved(self.world)
        for _ in range(3):
            self.script.run(self.world, 12)
            self.saved.take()

    def go_on(self) -> None:
        self.script.run(self.world, 40)


@pytest.mark.parametrize("copies", [False, True], ids=["links", "copies"])
@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_killed_at_any_step(tmp_path: Path, fault: Fault, seed: int, copies: bool) -> None:
    """Wherever a change is cut off: every snapshot can be gone to, the newest first."""
    fault.refuse_links = copies
    run = Run(tmp_path / "count", seed, copies=copies)
    fault.arm(0)
    run.go_on()
    total = fault.calls
    run.world.die()
    assert total > 10
    for number in spread(total, POINTS):
        run = Run(tmp_path / str(number), seed, copies=copies)
        fault.arm(number)
        with pytest.raises(Killed):
            run.go_on()
        run.world.die()
        fault.disarm()
        for snapshot in (2, 0, 1, 2):
            run.saved.check(snapshot)
        run.world.die()


@pytest.mark.parametrize("copies", [False, True], ids=["links", "copies"])
@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_killed_while_going_back(tmp_path: Path, fault: Fault, seed: int, copies: bool) -> None:
    """Wherever undoing is cut off, and cut off again: the next one gets there."""
    fault.refuse_links = copies
    run = Run(tmp_path / "count", seed, copies=copies)
    run.go_on()
    run.world.die()
    fault.arm(0)
    assert run.world.resume(run.saved.states[0]) == {}
    total = fault.calls
    run.world.die()
    for number in spread(total, POINTS):
        run = Run(tmp_path / str(number), seed, copies=copies)
        run.go_on()
        run.world.die()
        for target in (0, 1):
            fault.arm(number)
            with contextlib.suppress(Killed):  # the second one may have less to do
                run.world.resume(run.saved.states[target])
                fault.at = fault.calls + 1
                run.world.now.point()
            run.world.die()
            fault.disarm()
        for snapshot in (1, 2, 0):
            run.saved.check(snapshot)
        run.world.die()


def test_an_inode_is_used_again(tmp_path: Path) -> None:
    """A file that is written to after it was unlinked; the next one that is made has its inode."""
    world = World(tmp_path)
    world.create()
    state = world.now.point()
    names = [f"file{i}" for i in range(20)]
    used = set()
    again = False
    for name in names:
        nameless = world.create_file("nameless")
        world.change("unlink", "nameless")
        world.write(nameless, b"text")
        used.add(os.fstat(nameless.fileno).st_ino)
        world.close(nameless)
        file = world.create_file(name)
        world.write(file, b"more text")
        again |= os.fstat(file.fileno).st_ino in used
    world.die()
    if not again:
        pytest.skip("this file system gives new inodes")
    assert world.resume(state) == {}
    assert not list(world.data.iterdir())
    world.die()


@pytest.mark.parametrize("young", [False, True])
def test_somebody_else_writes_in_between(tmp_path: Path, young: bool) -> None:
    """Between two descriptors of the process to one file: what others wrote is not removed."""
    world = World(tmp_path)
    world.create()
    before = world.now.point()
    file = world.create_file("file")
    world.write(file, b"text")
    world.close(file)
    state = before if young else world.now.point()
    with open(world.data / "file", "a") as other:
        other.write("other")
    world.write(world.open_file("file", appends=True), b"more")
    world.die()
    assert [*world.resume(state)] == ["/data/file was changed by somebody else"]
    assert (world.data / "file").read_bytes() == b"textothermore"
    world.die()
