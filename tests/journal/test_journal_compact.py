"""``compact``: what is kept is as it was, in fewer bytes, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from journal.helpers import (
    EXPECTED,
    MODULE,
    FaultyStorage,
    Model,
    add,
    contents,
    history,
    make,
    page,
    scanned,
    three_snapshots,
)
from wasnap.errors import (
    JournalError,
    JournalLocked,
    JournalWriteFailed,
    MissingFile,
    NoSuchSnapshot,
    UsageError,
)
from wasnap.journal import HOST_MEMORY, PAGE_SIZE, HostRecord, Journal, batches, carry
from wasnap.journal.layout import Kind
from wasnap.journal.tools.compact import compact
from wasnap.journal.tools.text import lines
from wasnap.journal.tools.text_snapshot import snapshot_lines
from wasnap.journal.tools.view import describe, describe_snapshot


def ancestors(parents: dict[int, int | None], snapshot: int) -> list[int]:
    """Nearest first."""
    found = []
    while (parent := parents[snapshot]) is not None:
        found.append(parent)
        snapshot = parent
    return found


def same_content(path: Path, model: Model, kept: list[int]) -> None:
    """The kept snapshots, and no others, with the memory they have in the model."""
    with Journal.open(path, verify=True) as journal:
        assert [info.id for info in journal.snapshots] == kept
        assert journal.damaged == [] and journal.gaps == [] and journal.size == journal.kept
        assert journal.module() == MODULE
        for number in kept:
            total, pages = model[number]
            assert journal.load(number).memory(0).pages_total == total
            assert contents(journal, number) == pages


@pytest.mark.parametrize("seed", range(int(os.environ.get("WASNAP_SEEDS", "12"))))
def test_random_histories(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random trees, random choices, compressed or not, compacted again, gone on with: each kept
    snapshot has its memory, records, time and trigger, and its nearest kept ancestor as parent."""
    monkeypatch.setattr(carry, "STEP", 3)
    if seed % 2:  # a second record, and it grows
        monkeypatch.setattr(batches, "BATCH_PAGES", 2)
    chance = random.Random(seed)
    path = tmp_path / "j"
    model = history(path, seed, 40)
    with Journal.open(path) as journal:
        old = {info.id: info for info in journal.snapshots}
        records = {number: records_of(journal, number) for number in old}
    parents = {info.id: info.parent for info in old.values()}
    kept = sorted(old)
    for _ in range(3):
        kept = sorted(chance.sample(kept, chance.randint(1, len(kept))))
        done = compact(path, keep=kept, compress=chance.random() < 0.5)
        assert done.kept == kept and done.size == path.stat().st_size
        same_content(path, model, kept)
        with Journal.open(path) as journal:
            for info in journal.snapshots:
                was = old[info.id]
                assert (info.time_ns, info.trigger) == (was.time_ns, was.trigger)
                nearest = [each for each in ancestors(parents, info.id) if each in kept]
                assert info.parent == (nearest[0] if nearest else None)
                assert info.after == (None if info.parent == was.parent else was.parent)
                assert info.depth == len(nearest)
                assert records_of(journal, info.id) == records[info.id]
        assert compact(path, keep=kept).kept == kept  # nothing more to be gained
    number = max(old) + 1
    total, pages = model[kept[-1]]
    with Journal.open_for_writing(path) as journal:
        assert add(journal, kept[-1], {2: page(7)}, total) == number
    model[number] = (total, pages | {2: page(7)})
    same_content(path, model, [*kept, number])


def records_of(journal: Journal, snapshot: int) -> list[tuple[int, bytes | None]]:
    """Kinds and payloads of the records that are neither about pages nor the file."""
    left = [(header.kind, payload) for header, payload in journal.remains(snapshot)]
    return [each for each in left if each[0] not in (Kind.BEGIN, Kind.MEMORY)]


def test_which_are_kept(tmp_path: Path) -> None:
    """The newest; the last so many; ids and labels, also both."""
    path = tmp_path / "j"
    for options, kept in [
        ({}, [3]),
        ({"last": 2}, [2, 3]),
        ({"last": 9}, [1, 2, 3]),
        ({"keep": ["one"]}, [1]),
        ({"keep": [2]}, [2]),
        ({"keep": ["1"], "last": 1}, [1, 3]),
    ]:
        path.unlink(missing_ok=True)
        data = three_snapshots(path)
        done = compact(path, **options)  # type: ignore[arg-type]
        assert (done.kept, done.total, done.size_before) == (kept, 3, len(data))
        with Journal.open(path, verify=True) as journal:
            assert {info.id: contents(journal, info.id) for info in journal.snapshots} == {
                number: EXPECTED[number] for number in kept
            }
            labels = [info.label for info in journal.snapshots]
            assert labels == [["", "one", "two", "three"][number] for number in kept]
        with Journal.open_for_writing(path) as journal:
            assert add(journal, kept[0], {}) == 4


def test_labels_given_later_stay(tmp_path: Path) -> None:
    path = tmp_path / "j"
    three_snapshots(path)
    with Journal.open_for_writing(path) as journal:
        journal.label(1, "new")
        journal.label(2, "")
    compact(path, last=3)
    with Journal.open(path) as journal:
        assert [info.label for info in journal.snapshots] == ["new", "", "three"]


def test_shared_pages_are_stored_once(tmp_path: Path) -> None:
    """Also those of an ancestor that two branches have in common and that is left out; and of a
    whole image nothing is in pieces, whatever it was made of."""
    path = tmp_path / "j"
    chance = random.Random(1)
    noise = [bytes(chance.randbytes(PAGE_SIZE)) for _ in range(64)]
    with make(path) as journal:
        add(journal, None, dict(enumerate(noise)), 64)
        for number in range(1, 20):
            add(journal, number, {at: page(number) for at in range(0, 64, number + 1)}, 64)
        add(journal, 20, {60: page("l")}, 64)
        add(journal, 20, {61: page("r")}, 64)
        add(journal, 22, {61: noise[61]}, 64)
    with Journal.open(path) as journal:
        expected = {number: contents(journal, number) for number in (21, 22, 23)}
    for compress in (False, True):
        copy = tmp_path / f"{compress}"
        compact(path, last=3, output=copy, compress=compress)
        with Journal.open(copy, verify=True) as journal:
            assert {number: contents(journal, number) for number in expected} == expected
            assert sum(info.pages for info in journal.snapshots) <= 64 + 3
            image = journal.load(21).memory(0)
            assert len(image.parts) <= 2
            assert len(image.extents) == 1
        if compress:
            assert copy.stat().st_size < (tmp_path / "False").stat().st_size


def test_much_is_in_few_records(tmp_path: Path) -> None:
    """However many batches it is written in: a resume has as little to read as of what a guest wrote
    at once. Unless it is compressed: then a record is a batch."""
    path = tmp_path / "j"
    noise = random.Random(2).randbytes(256 * PAGE_SIZE)
    with make(path) as journal:
        runs = {at * 300: noise for at in range(48)}
        add(journal, None, runs, 48 * 300)
        add(journal, 1, {300: page("a"), 47 * 300: page("b")}, 48 * 300)
    compact(path, keep=[2])
    with Journal.open(path, verify=True) as journal:
        image = journal.load(2).memory(0)
        assert len(image.tables) == 2 and len(image.extents) == 96
        expected = dict.fromkeys(runs, noise) | {
            300: page("a") + noise[PAGE_SIZE:],
            47 * 300: page("b") + noise[PAGE_SIZE:],
        }
        assert all(image.read(at, 256) == run for at, run in expected.items())


def test_several_memories(tmp_path: Path) -> None:
    """Each with its own size and kind, and one that comes later."""
    path = tmp_path / "j"
    with make(path) as journal:
        with journal.begin(None, "timer") as writer:
            writer.memory(0, 4, PAGE_SIZE, [(0, page("a"))], shared=True)
            writer.memory(HOST_MEMORY, 8, PAGE_SIZE, [(3, page("h"))])
            writer.commit()
        add(journal, 1, {1: page("b")}, 4)
        with journal.begin(2, "timer") as writer:
            writer.memory(1, 2, PAGE_SIZE, [(1, page("c"))], is64=True)
            writer.memory(HOST_MEMORY, 9, PAGE_SIZE, [(3, 1), (8, page("i"))])
            writer.record(HostRecord(state={}))
            writer.commit()

    def seen() -> list[object]:
        with Journal.open(path, verify=True) as journal:
            return [
                (image.index, image.pages_total, image.is64, image.shared, image.read(0, 99))
                for number in (1, 3)
                for image in journal.load(number).memories.values()
            ]

    before = seen()
    compact(path, keep=[1, 3])
    assert seen() == before


def test_inspect_tells_what_was_left_out(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with make(path) as journal:
        for number in range(5):
            add(journal, number or None, {number: page("a")})
    compact(path, keep=[1, 2, 5])
    with Journal.open(path) as journal:
        text = list(lines(describe(journal)))
        shown = list(snapshot_lines(describe_snapshot(journal, 5)))
    assert [line.split()[0] for line in text[-3:]] == ["1", "2", "5"]
    assert "left out" not in text[-2] and text[-1].endswith("after 4, which was left out")
    assert "after snapshot 4, which was left out, and snapshot 2" in shown[2]


def test_refused_and_untouched(tmp_path: Path) -> None:
    """One clear error each; the file is the same, and no other is left."""
    path = tmp_path / "j"
    data = three_snapshots(path)
    empty = tmp_path / "empty"
    make(empty).close()
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    damaged = tmp_path / "damaged"
    copy = bytearray(data)
    copy[copy.index(page("d"))] ^= 1
    damaged.write_bytes(copy)
    no_module = tmp_path / "no_module"
    copy = bytearray(data)
    copy[next(r.payload for r in scanned(data).records if r.kind == Kind.MODULE)] ^= 1
    no_module.write_bytes(copy)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    for where, options, error, says in [
        (path, {"keep": [7]}, NoSuchSnapshot, "there is no snapshot 7"),
        (path, {"keep": ["seven"]}, NoSuchSnapshot, "is called 'seven'"),
        (path, {"last": 0}, UsageError, "none"),
        (path, {"output": path}, UsageError, "the journal itself"),
        (path, {"output": other}, UsageError, "there already"),
        (empty, {}, NoSuchSnapshot, "nothing to keep"),
        (other, {}, JournalError, "not a wasnap journal"),
        (tmp_path / "none", {}, MissingFile, "not there"),
        (tmp_path / "none", {"output": tmp_path / "new"}, MissingFile, "not there"),
        (tmp_path, {}, JournalError, "not a regular file"),
        (damaged, {}, JournalError, "snapshot 3 is to be kept, but damaged: memory 0, pages 2"),
        (damaged, {"keep": [3, 1]}, JournalError, "snapshot 3 is to be kept, but damaged"),
        (no_module, {}, JournalError, "MODULE"),
    ]:
        with pytest.raises(error, match=says):
            compact(where, **options)  # type: ignore[arg-type]
        assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before
    compact(damaged, keep=[1, 2])
    with Journal.open(damaged, verify=True) as journal:
        assert journal.damaged == [] and contents(journal, 2) == EXPECTED[2]


def test_not_while_somebody_writes(tmp_path: Path) -> None:
    """But a copy can be made: of what is committed by then."""
    path = tmp_path / "j"
    three_snapshots(path)
    with Journal.open_for_writing(path) as journal, journal.begin(3, "timer") as writer:
        writer.memory(0, 16, PAGE_SIZE, [(5, page("n"))])
        data = path.read_bytes()
        with pytest.raises(JournalLocked, match="is writing to"):
            compact(path)
        assert path.read_bytes() == data
        compact(path, output=tmp_path / "copy", last=2)
        writer.commit()
    with Journal.open(tmp_path / "copy", verify=True) as journal:
        assert [info.id for info in journal.snapshots] == [2, 3]
        assert contents(journal, 3) == EXPECTED[3]


def test_owner_and_mode_stay(tmp_path: Path) -> None:
    """In place, through a link too; a copy is its maker's only."""
    path = tmp_path / "j"
    three_snapshots(path)
    path.chmod(0o640)
    (tmp_path / "link").symlink_to("j")
    compact(tmp_path / "link", output=tmp_path / "copy")
    compact(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "interrupt"])
@pytest.mark.parametrize("in_place", [True, False])
def test_the_nth_call_fails(tmp_path: Path, fault: int | str, in_place: bool) -> None:
    """At every write and sync: the old journal is as it was, and nothing else is left."""
    path = tmp_path / "j"
    data = three_snapshots(path)
    output = None if in_place else tmp_path / "new"
    nth = 0
    while True:
        nth += 1
        storage = partial(FaultyStorage, nth=nth, fault=fault)
        try:
            compact(path, last=2, output=output, storage=storage)
            break
        except (JournalWriteFailed, KeyboardInterrupt) as error:
            if isinstance(error, JournalWriteFailed):
                assert "cannot be written" in error.message and error.hint
        assert [each.name for each in tmp_path.iterdir()] == ["j"]
        assert path.read_bytes() == data
    assert nth > 12
    with Journal.open(output or path, verify=True) as journal:
        assert {info.id: contents(journal, info.id) for info in journal.snapshots} == {
            number: EXPECTED[number] for number in (2, 3)
        }


def test_short_writes_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "j"
    three_snapshots(path)
    compact(path, last=2, storage=lambda fd: FaultyStorage(fd, 1, "short"))
    with Journal.open(path, verify=True) as journal:
        assert contents(journal, 3) == EXPECTED[3]


def test_a_disk_that_lies_is_noticed(tmp_path: Path) -> None:
    """What was written is read back: a bit that is lost on the way costs nothing but the attempt."""
    path = tmp_path / "j"
    data = three_snapshots(path)
    for nth in range(2, 14):

        class Lying(FaultyStorage):
            def write(self, position, buffers):  # type: ignore[no-untyped-def]
                self.calls += 1
                if self.calls == self.nth:
                    wrong = bytearray(buffers[0])
                    wrong[0] ^= 1
                    buffers = [wrong, *buffers[1:]]
                return os.pwritev(self.fd, buffers, position)

        with pytest.raises(JournalError, match=r"not what can be read|damaged"):
            compact(path, last=2, storage=partial(Lying, nth=nth, fault=0))
        assert path.read_bytes() == data
        assert [each.name for each in tmp_path.iterdir()] == ["j"]


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    """By the next one; and it is in nobody's way."""
    path = tmp_path / "j"
    three_snapshots(path)
    (tmp_path / ".j.new").write_bytes(b"half of it")
    with Journal.open_for_writing(path) as journal:
        assert len(journal.snapshots) == 3
    compact(path)
    assert [each.name for each in tmp_path.iterdir()] == ["j"]


def test_it_is_trusted_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All was just read: a resume need not read it again. A copy made by others is read."""
    path = tmp_path / "j"
    three_snapshots(path)
    compact(path, last=2)
    shutil.copyfile(path, tmp_path / "copy")
    checked: list[int] = []
    monkeypatch.setattr(
        "wasnap.journal.snapshot.Snapshot.verify", lambda self, _: checked.append(self.info.id)
    )
    for name, wanted in ("j", []), ("copy", [2, 3]):
        checked.clear()
        with Journal.open_for_writing(tmp_path / name) as journal:
            for number in (2, 3):
                journal.load(number)
        assert checked == wanted or os.listxattr(path) == []
