"""Snapshots by the thousand: what rests on what, how far back a reader has to go, what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.helpers import Model, add, contents, history, make, open_bytes, page, scanned
from wasnap.errors import JournalError, NoSuchSnapshot
from wasnap.journal import PAGE_SIZE, HostRecord, Journal, SnapshotInfo, carry, index
from wasnap.journal.carry import tables
from wasnap.journal.layout import MEMORY_CARRIED, Kind
from wasnap.journal.survey import survey


@pytest.fixture(params=[2, 3])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Every second or third snapshot carries, so that a few dozen have several levels."""
    monkeypatch.setattr(carry, "STEP", request.param)
    return int(request.param)


def check(journal: Journal, model: Model) -> None:
    for number, (total, pages) in model.items():
        loaded = journal.load(number)
        assert loaded.memory(0).pages_total == total
        assert loaded.record(HostRecord).state == {"number": number}
        assert contents(journal, number) == pages


@pytest.mark.parametrize("seed", range(4))
def test_random_histories(tmp_path: Path, step: int, seed: int) -> None:
    """Every snapshot of a tree gives what a dictionary gives: in a journal that was read through,
    and in one of which only the end was read, newest first and oldest first."""
    path = tmp_path / "j"
    model = history(path, seed, 60)
    with Journal.open(path, verify=True) as journal:
        assert not journal.damaged and not journal.gaps
        check(journal, model)
        infos = journal.snapshots
    for order in (1, -1):
        with Journal.open_for_writing(path) as journal:
            assert not journal.empty
            check(journal, dict(sorted(model.items(), key=lambda item: order * item[0])))
            assert not journal._index.complete
            with pytest.raises(NoSuchSnapshot, match="no snapshot 61") as missing:
                journal.load(61)
            assert missing.value.hint == "there are 1 to 60"
            assert journal.snapshots == infos


@pytest.mark.parametrize("seed", range(2))
def test_carried_records_change_nothing(tmp_path: Path, step: int, seed: int) -> None:
    """An image is the same by way of the bases, and by way of the parents without what is carried;
    what a snapshot carries it does not store."""
    path = tmp_path / "j"
    model = history(path, seed, 60)
    data = path.read_bytes()
    storage = open_bytes(data)._storage
    entries = {
        info.id: open_bytes(data)._index.entry(info.id) for info in open_bytes(data).snapshots
    }
    images: dict[int, dict[int, bytes]] = {0: {}}
    carrying = 0
    for number, entry in entries.items():
        parent = 0 if entry.info.base is None else entry.info.parent or 0
        image = dict(images[parent])
        for table in tables(storage, entry)[0]:
            if table.head.flags & MEMORY_CARRIED:
                carrying += 1
                assert table.head.data_pages == 0
                continue
            for extent in table.extents:
                for at in range(extent.pages):
                    position = extent.position + (extent.skip + at) * PAGE_SIZE
                    stored = storage.read(position, PAGE_SIZE) if extent.position else page(0)
                    image[extent.first_page + at] = stored
        images[number] = image
        assert {at: stored for at, stored in image.items() if any(stored)} == model[number][1]
    assert carrying


COUNT = 4200


def in_a_row(path: Path) -> int:
    """``COUNT`` snapshots of one page each, all different ones; the journal's size."""
    make(path).close()
    with Journal.open_for_writing(path, durability="process") as journal:
        for number in range(COUNT):
            with journal.begin(number or None, "timer") as writer:
                writer.changed(0, COUNT, [(number, page(1 + number % 255))])
                writer.commit()
        assert len(journal._index._entries) <= max(index.ENTRIES_MAX, carry.STEP)
        return journal.size


def test_the_way_to_an_image_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of snapshots in a row, none needs the tables of more than three times 64; the
    journal is hardly larger for it."""
    size = in_a_row(tmp_path / "j")
    with Journal.open(tmp_path / "j") as journal:
        for number in (1, 63, 64, 65, 4095, 4096, 4097, COUNT):
            assert len(list(journal._index.chain(number))) <= 3 * 64
            expected = {at: page(1 + at % 255) for at in range(number)}
            assert contents(journal, number) == expected
    monkeypatch.setattr(carry, "STEP", COUNT + 1)
    assert size < 1.02 * in_a_row(tmp_path / "without")


def test_a_parent_that_is_skipped_may_be_damaged(tmp_path: Path, step: int) -> None:
    """What rests on an earlier snapshot does not need those in between."""
    path = tmp_path / "j"
    with make(path) as journal:
        for number in range(10):
            add(journal, number or None, {number: page(1 + number)})
    data = bytearray(path.read_bytes())
    infos = {info.id: info for info in open_bytes(data).snapshots}
    skipping = next(i for i in infos.values() if i.base is not None and i.base != i.parent)
    assert skipping.parent is not None
    begins = [record for record in scanned(data).records if record.kind == Kind.BEGIN]
    data[begins[skipping.parent - 1].position + 20] ^= 1
    journal = open_bytes(data)
    lost = {each.id for each in journal.damaged}
    assert lost == resting_on(skipping.parent, infos)
    assert skipping.id not in lost
    for info in journal.snapshots:
        assert contents(journal, info.id) == {at: page(1 + at) for at in range(info.id)}


def resting_on(snapshot: int, infos: dict[int, SnapshotInfo]) -> set[int]:
    """The snapshot, and those that need its memory."""
    lost = {snapshot}
    for info in infos.values():
        if info.base in lost:
            lost.add(info.id)
    return lost


@pytest.mark.parametrize("wrong", ["position", "id"])
def test_a_base_that_is_not_where_it_should_be(tmp_path: Path, wrong: str) -> None:
    """Rule 5: the COMMIT that ``base_commit`` names is the base's."""
    from wasnap.journal.records import BeginRecord
    from wasnap.journal.writer import SnapshotWriter

    path = tmp_path / "j"
    with make(path) as journal:
        add(journal, None, {0: page("a")})
        add(journal, 1, {1: page("b")})
        first, second = (journal._index.entry(number) for number in (1, 2))
        log = journal._log
        assert log is not None
        base, commit = (2, first.commit) if wrong == "position" else (1, second.commit)
        begin = BeginRecord(
            id=3, parent=2, base=base, base_commit=commit, time_ns=0, trigger="timer", depth=2
        )
        SnapshotWriter(log, begin, second.commit, "test", lambda entry: None).commit()
    journal = open_bytes(path.read_bytes())
    assert [info.id for info in journal.snapshots] == [1, 2]
    assert "rests on" in journal.damaged[0].reason
    with Journal.open_for_writing(path) as tail, pytest.raises(JournalError, match="snapshot 3"):
        tail.load(3)
    with Journal.open_for_writing(path) as tail:
        assert tail.newest().info.id == 2


def test_only_a_whole_end_is_read_alone(tmp_path: Path) -> None:
    """A tail, damage at the end or at the beginning: the file is read through, and the newest
    snapshot that exists is found."""
    path = tmp_path / "j"
    with make(path) as journal:
        for number in range(3):
            add(journal, number or None, {number: page(1 + number)})
    data = path.read_bytes()
    records = scanned(data).records
    newest = [record for record in records if record.kind == Kind.BEGIN][-1]
    cases = [
        (data + bytes(100), 3),
        (data[:-1], 2),
        (data[: newest.position + 64], 2),
        (flip(data, len(data) - 100), 2),
        (flip(data, newest.position + 30), 2),
        (flip(data, newest.payload), 2),
        (flip(data, 20), 3),
    ]
    for damaged, expected in cases:
        path.write_bytes(damaged)
        with Journal.open_for_writing(path) as journal:
            assert journal.newest().info.id == expected
            number = add(journal, expected, {9: page("x")})
            assert contents(journal, number)[9] == page("x")
    for at in (records[0].position + 3, records[1].position + 3):
        path.write_bytes(flip(data, at))
        with pytest.raises(JournalError, match="cannot be continued"):
            Journal.open_for_writing(path)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_damage_in_the_middle_shows_when_it_is_met(tmp_path: Path) -> None:
    """The end alone is whole; an older snapshot that is asked for is not, and the error says which
    others there are."""
    path = tmp_path / "j"
    with make(path) as journal:
        for number in range(5):
            with journal.begin(number or None, "timer", full=True) as writer:
                writer.memory(0, 4, PAGE_SIZE, [(0, page(1 + number))])
                writer.record(HostRecord(state={}))
                writer.commit()
    data = path.read_bytes()
    begins = [record for record in scanned(data).records if record.kind == Kind.BEGIN]
    path.write_bytes(flip(data, begins[2].position + 30))
    with Journal.open_for_writing(path) as journal:
        assert journal.newest().info.id == 5
        with pytest.raises(JournalError, match="snapshot 3 is damaged") as refused:
            journal.load(3)
        assert refused.value.hint == "there are 1, 2, 4, 5"
        assert contents(journal, 2) == {0: page(2)}


def test_surveying_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with make(path) as journal:
        for number in range(100):
            add(journal, number or None, {number: page(1)}, total=200)
    told: list[tuple[int, int]] = []
    with Journal.open(path, progress=lambda *done: told.append(done)) as journal:
        size = journal.size
        survey(journal._storage, journal._index.identity)
    assert [total for _, total in told] == [size] * len(told)
    assert len(told) > 2 and told == sorted(told) and told[-1] == (size, size)
