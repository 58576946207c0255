"""The harness itself: it passes what is right, finds what is wrong, and repeats by its seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from process import wat

from wasnap.harness import MODES, Difference, Job, chain, differential, everywhere, undisturbed
from wasnap.harness.fixture import SaveAnywhere

CLOCK = """(import "wasi_snapshot_preview1" "clock_time_get"
  (func $clock (param i32 i64 i32) (result i32)))"""


@pytest.fixture(autouse=True)
def cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A code cache of these tests' own."""
    monkeypatch.setenv("WASNAP_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    yield


class Maker:
    """Makes jobs that run one module."""

    def __init__(self, directory: Path, module: bytes) -> None:
        self.module = directory / "guest.wasm"
        self.module.write_bytes(module)

    def __call__(self, world: Path) -> Job:
        (world / "data").mkdir()
        return Job(self.module, dirs={"/data": world / "data"})


@pytest.mark.parametrize("mode", MODES)
def test_a_program_that_is_right(tmp_path: Path, mode: str) -> None:
    """A deterministic program is the same however it is disturbed."""
    make = Maker(tmp_path, wat.counter(20, 400_000, code=3))
    report = differential(make, tmp_path / "work", seed=1, snapshots=2, modes=[mode])
    if mode == "safepoints":
        assert (report.snapshots, report.resumed) == (2, 2)
    assert not any((tmp_path / "work").iterdir())


def test_a_program_that_notices(tmp_path: Path) -> None:
    """One that prints how often a clock was looked at by others is told apart, with its seed."""
    module = wat.wasm(
        """(func (export "_start") (local $i i32)
             (loop $next
               (br_if $next
                 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                           (i32.const 100000))))
             (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 512)))
             (call $number (i32.load (i32.const 512))))""",
        imports=CLOCK,
    )
    with pytest.raises(Difference, match="seed 5, safepoints: in place: output differs"):
        differential(
            Maker(tmp_path, module),
            tmp_path / "work",
            seed=5,
            modes=["safepoints"],
            system_clock=True,
        )


def test_undisturbed(tmp_path: Path) -> None:
    """What it prints, its exit code, and how many safepoints it passes: always the same."""
    make = Maker(tmp_path, wat.counter(3, 100, code=9))
    runs = [undisturbed(make, tmp_path / str(i)) for i in range(2)]
    assert runs[0].outcome.stdout == wat.counted(3, 100)
    assert runs[0].outcome.code == 9
    assert runs[0].safepoints == runs[1].safepoints > 300


@pytest.mark.parametrize("fresh", [False, True])
def test_everywhere(tmp_path: Path, fresh: bool) -> None:
    """Stopped at each safepoint there is, a program prints the same."""
    make = Maker(tmp_path, wat.counter(3, 30, code=9))
    never = everywhere(make, tmp_path / "0", every=0)
    always = everywhere(make, tmp_path / "1", every=1, fresh=fresh)
    assert always.outcome == never.outcome
    assert always.outcome.stdout == wat.counted(3, 30)
    assert always.stops == always.safepoints == never.safepoints > 90


def test_chosen_safepoints(tmp_path: Path) -> None:
    """Steps from one stop to the next, and none after the last."""
    make = Maker(tmp_path, wat.counter(3, 30))
    assert everywhere(make, tmp_path / "1", every=[1, 20, 3]).stops == 3


def test_the_fixture(tmp_path: Path, save_anywhere: SaveAnywhere) -> None:
    """The same, with scratch directories of the test's own."""
    make = Maker(tmp_path, wat.counter(3, 1000))
    for seed in (1, 2):
        assert save_anywhere(make, seed=seed, snapshots=1, modes=["safepoints"]).resumed == 1


def test_a_chain(tmp_path: Path) -> None:
    """Fifty instances, each going on where the one before was saved."""
    make = Maker(tmp_path, wat.counter(60, 1000, code=3))
    assert chain(make, tmp_path / "work", links=50) == 50


def test_a_chain_of_commands(tmp_path: Path) -> None:
    """The same with the command line, three times."""
    make = Maker(tmp_path, wat.counter(60, 10_000_000, code=3))
    assert chain(make, tmp_path / "work", links=3, commands=True) <= 3
