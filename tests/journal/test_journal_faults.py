"""A disk that fails: full, broken, slow of uptake, at the n-th call for every n.

The fault budget: a snapshot that could not be written raises JournalWriteFailed and is gone; all
others stay, in this process and for the next reader; the next snapshot works as soon as the disk
does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from journal.helpers import (
    EXPECTED,
    MODULE,
    START,
    FaultyStorage,
    add,
    contents,
    page,
    three_snapshots,
)
from wasnap.errors import JournalWriteFailed
from wasnap.journal import Journal, Storage
from wasnap.journal.index import Index


def faulty(nth: int, fault: int | str, last: int | None = None) -> Callable[[int], Storage]:
    """What opens a ``FaultyStorage``."""
    return lambda fd: FaultyStorage(fd, nth, fault, last)


def calls_of_a_snapshot(path: Path) -> int:
    """How many calls one snapshot makes: found by counting."""
    three_snapshots(path)
    made: list[FaultyStorage] = []

    def storage(fd: int) -> FaultyStorage:
        made.append(FaultyStorage(fd, 0, 0))
        return made[0]

    with Journal.open_for_writing(path, storage=storage) as journal:
        add(journal, 3, {5: page("e")})
    return made[0].calls


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("truncate_fails", [False, True])
def test_the_nth_call_fails(tmp_path: Path, fault: int, truncate_fails: bool) -> None:
    """Also when taking the snapshot back fails: then the next one tries that again first."""
    path = tmp_path / "j"
    calls = calls_of_a_snapshot(path)
    assert calls >= 8  # BEGIN, MEMORY, STACK, TABLES, HOST, sync, COMMIT, sync
    for nth in range(1, calls + 1):
        three_snapshots(path.with_name(f"{nth}"))
        here = path.with_name(f"{nth}")
        last = nth + truncate_fails
        with Journal.open_for_writing(here, storage=faulty(nth, fault, last)) as journal:
            size = journal.size
            with pytest.raises(JournalWriteFailed, match="snapshot 4") as failed:
                add(journal, 3, {5: page("e")})
            assert failed.value.hint
            assert [info.id for info in journal.snapshots] == [1, 2, 3]
            if not truncate_fails:
                assert here.stat().st_size == size
            with Journal.open(here, verify=True) as reader:
                there = [info.id for info in reader.snapshots]
                # a whole COMMIT that could not be synced nor removed is there, and right
                assert there == [1, 2, 3] or (truncate_fails and nth == calls)
                assert {at: contents(reader, at) for at in EXPECTED} == EXPECTED
            with journal.begin(3, "timer") as writer:  # smaller than what was left behind
                assert writer.commit() == 4
            assert here.stat().st_size == journal.size
            assert add(journal, 4, {6: page("f")}) == 5
        with Journal.open(here, verify=True) as reader:
            assert [info.id for info in reader.snapshots] == [1, 2, 3, 4, 5]
            assert reader.gaps == [] and reader.damaged == []
            assert contents(reader, 4) == EXPECTED[3]
            assert contents(reader, 5) == EXPECTED[3] | {6: page("f")}


def test_an_interrupt_at_the_nth_call(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a write: the snapshot is taken back, the journal is good."""
    path = tmp_path / "j"
    for nth in range(1, calls_of_a_snapshot(path) + 1):
        three_snapshots(path.with_name(f"{nth}"))
        here = path.with_name(f"{nth}")
        with Journal.open_for_writing(here, storage=faulty(nth, "interrupt")) as journal:
            size = journal.size
            with pytest.raises(KeyboardInterrupt):
                add(journal, 3, {5: page("e")})
            with journal.begin(3, "timer") as writer:
                assert writer.commit() == 4
            assert here.stat().st_size == journal.size > size
        with Journal.open(here, verify=True) as reader:
            assert [info.id for info in reader.snapshots] == [1, 2, 3, 4]
            assert reader.gaps == [] and reader.damaged == []


def test_an_interrupt_right_after_the_commit(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """The snapshot is in the file but not yet in the index: its number is not given again."""
    path = tmp_path / "j"
    three_snapshots(path)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with Journal.open_for_writing(path) as journal:
        with monkeypatch.context() as patched:
            patched.setattr(Index, "add", interrupt)
            with pytest.raises(KeyboardInterrupt):
                add(journal, 3, {5: page("e")})
        assert add(journal, 3, {6: page("f")}) == 5
        assert [info.id for info in journal.snapshots] == [1, 2, 3, 4, 5]
    with Journal.open(path, verify=True) as reader:
        assert contents(reader, 4) == EXPECTED[3] | {5: page("e")}
        assert contents(reader, 5) == EXPECTED[3] | {6: page("f")}


def test_a_disk_that_stays_broken_fails_every_snapshot_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j"
    three_snapshots(path)
    with Journal.open_for_writing(path, storage=faulty(3, errno.EIO, 10_000)) as journal:
        for _ in range(3):
            with pytest.raises(JournalWriteFailed):
                add(journal, 3, {5: page("e")})
    with Journal.open(path, verify=True) as reader:
        assert {at: contents(reader, at) for at in EXPECTED} == EXPECTED


def test_short_writes_do_not_matter(tmp_path: Path) -> None:
    """Every write takes half of one buffer at most."""
    path = tmp_path / "j"
    three_snapshots(path)
    with Journal.open_for_writing(path, storage=faulty(1, "short")) as journal:
        assert add(journal, 3, {0: page("e"), 1: page("f"), 9: page("g")}) == 4
    expected = EXPECTED[3] | {0: page("e"), 1: page("f"), 9: page("g")}
    with Journal.open(path, verify=True) as reader:
        assert contents(reader, 4) == expected


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("existing", [False, True])
def test_create_fails_at_the_nth_call(tmp_path: Path, fault: int, existing: bool) -> None:
    """A new journal is there whole or not at all; an empty file stays, nothing else is left."""
    path = tmp_path / "j"
    for nth in range(1, 5):
        if existing:
            path.touch()
        with pytest.raises(JournalWriteFailed, match="cannot be made"):
            Journal.create(path, MODULE, START, storage=faulty(nth, fault))
        assert [entry.name for entry in tmp_path.iterdir()] == ["j"] * existing
        assert not existing or path.read_bytes() == b""
    with Journal.create(path, MODULE, START) as journal:
        assert add(journal, None, {0: page("a")}) == 1


def test_a_failing_overwrite_keeps_the_old_journal(tmp_path: Path) -> None:
    path = tmp_path / "j"
    before = three_snapshots(path)
    with pytest.raises(JournalWriteFailed):
        Journal.create(
            path,
            MODULE,
            START,
            overwrite=True,
            storage=faulty(2, errno.ENOSPC),
        )
    assert path.read_bytes() == before


def test_a_tail_that_cannot_be_cut_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "j"
    data = three_snapshots(path)[:-70]
    path.write_bytes(data)
    with pytest.raises(JournalWriteFailed, match="torn tail"):
        Journal.open_for_writing(path, storage=faulty(1, errno.EIO))
    assert path.read_bytes() == data


def test_durability_process_never_syncs(tmp_path: Path) -> None:
    """With `system` there is a sync before and one after COMMIT; with `process` none."""
    path = tmp_path / "j"
    three_snapshots(path)
    events: list[str] = []

    class Recording(FaultyStorage):
        def write(self, position, buffers):  # type: ignore[no-untyped-def]
            events.append(f"kind {int.from_bytes(bytes(buffers[0])[8:12], 'little')}")
            return super().write(position, buffers)

        def sync(self) -> None:
            events.append("sync")

    for durability, wanted in (("system", ["sync", "kind 17", "sync"]), ("process", ["kind 17"])):
        events.clear()
        with Journal.open_for_writing(
            path,
            storage=lambda fd: Recording(fd, 0, 0),
            durability=durability,  # type: ignore[arg-type]
        ) as journal:
            add(journal, 3, {})
        assert events[-len(wanted) :] == wanted
        assert events.count("sync") == wanted.count("sync")
