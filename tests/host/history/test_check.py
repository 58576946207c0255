"""``check``: what is damaged, and to which snapshots files cannot be rewound any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasnap.host.history import HistoryState
from wasnap.host.history.check import check

from .world import Fault, Script, World, tree


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[int, HistoryState]]:
    """A log with four points, and changes after each."""
    Fault(monkeypatch)
    world = World(tmp_path)
    script = Script(1)
    world.create()
    states = {}
    for number in range(1, 5):
        script.run(world, 8)
        states[number] = world.now.point()
    script.run(world, 8)
    world.die()
    return world.path, states


def test_whole(made: tuple[Path, dict[int, HistoryState]]) -> None:
    """Nothing is wrong, nothing is touched; a torn tail is no damage."""
    path, states = made
    before = tree(path)
    size = (path / "log").stat().st_size
    checked = check(path, states)
    assert checked.size == size and checked.entries > 20
    assert checked.ours and checked.problems == []
    assert tree(path) == before
    data = (path / "log").read_bytes()
    for torn in (data + bytes(9), data[:-3]):
        (path / "log").write_bytes(torn)
        assert check(path, states).problems == []
    (path / "log").write_bytes(data[: states[3].position - 1])
    (problem,) = check(path, states).problems
    assert problem == "it ends before it should: files cannot be rewound to snapshots 3, 4"
    others = {1: HistoryState(bytes(16), 64, [], "")}
    assert not check(path, others).ours


def test_each_byte(made: tuple[Path, dict[int, HistoryState]]) -> None:
    """A flipped bit is found wherever it is, and costs the snapshots before it."""
    path, states = made
    data = (path / "log").read_bytes()
    for at in range(0, len(data), 7):
        copy = bytearray(data)
        copy[at] ^= 4
        (path / "log").write_bytes(copy)
        (problem,) = check(path, states).problems
        if at < 64:  # the header
            assert problem.endswith("no files can be rewound")
            continue
        lost = [str(number) for number, state in states.items() if state.position <= at]
        several = "s" if len(lost) > 1 else ""
        wanted = f"files cannot be rewound to snapshot{several} {', '.join(lost)}"
        assert problem.endswith(wanted if lost else "no snapshot needs that"), (at, problem)
