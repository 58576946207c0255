"""Pages that may have changed: what is stored of them, in one go or while they go on changing."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.helpers import FaultyStorage, contents, make, open_bytes, page
from wasnap.errors import JournalWriteFailed
from wasnap.journal import PAGE_SIZE, Extent, HostRecord, Journal, StackRecord
from wasnap.journal.places import ABSENT, ZERO, Places
from wasnap.journal.records import Frame


def save(journal: Journal, parent: int | None, *rounds: dict[int, bytes], total: int = 16) -> int:
    """A snapshot whose pages are named in several rounds."""
    with journal.begin(parent, "timer") as writer:
        for pages in rounds:
            writer.changed(0, total, sorted(pages.items()))
        return writer.commit()


def test_what_the_journal_holds_costs_no_space(tmp_path: Path) -> None:
    """Pages as in the parent are left out, zero ones too, also after opening the journal again."""
    pages = {0: page("a"), 1: page("b"), 2: page("c"), 9: page("d")}
    with make(tmp_path / "j") as journal:
        save(journal, None, pages | {5: page(0)})
        save(journal, 1, pages | {1: page("x"), 5: page(0)})
    with Journal.open_for_writing(tmp_path / "j") as journal:
        save(journal, 2, pages | {1: page("x"), 2: page(0)})
        save(journal, 1, pages)
        assert [info.pages for info in journal.snapshots] == [4, 1, 0, 0]
        assert contents(journal, 2) == pages | {1: page("x")}
        assert contents(journal, 3) == {0: page("a"), 1: page("x"), 9: page("d")}
        assert contents(journal, 4) == pages


def test_a_snapshot_that_failed_is_no_parent(tmp_path: Path) -> None:
    """What was taken back is not held by the journal."""
    with make(tmp_path / "j") as journal:
        save(journal, None, {0: page("a")})
        with journal.begin(1, "timer") as writer:
            writer.changed(0, 16, [(0, page("b")), (3, page("c"))])
        save(journal, 1, {0: page("b"), 3: page("c")})
        assert journal.snapshots[1].pages == 2
        assert contents(journal, 2) == {0: page("b"), 3: page("c")}


def test_pages_named_again_take_no_new_space(tmp_path: Path) -> None:
    """They stand where they stood first, in one piece, and their crc is right."""
    first = {at: page(1 + at) for at in range(200)}
    again = {at: page(100 + at) for at in range(50, 70)}
    with make(tmp_path / "j") as journal:
        save(journal, None, first, again, {55: page(0)}, again, total=200)
        assert journal.snapshots[0].pages == 200
    with Journal.open(tmp_path / "j", verify=True) as journal:
        assert contents(journal, 1) == first | again
        (extent,) = journal.load(1).memory(0).extents
        assert extent.n_pages == 200


def test_a_small_snapshot_needs_little_beside_its_pages(tmp_path: Path) -> None:
    """64 KiB of single pages: not aligned, and no field that has its default. From 128 pages on the
    blocks can be mapped. Both are as they were, together."""
    single = {3 * at: page(1 + at) for at in range(16)}
    many = {100: b"".join(page(1 + at) for at in range(128))}
    with make(tmp_path / "j") as journal:
        with journal.begin(None, "timer") as writer:
            writer.changed(0, 300, sorted(single.items()))
            writer.record(
                StackRecord(
                    transform=1, data=bytes(24), frames_base=32, fp=40, frames=[Frame(0, 0, 50)]
                )
            )
            writer.record(HostRecord(state={"args": [b"a"]}))
            writer.commit()
        save(journal, 1, many, total=300)
    with Journal.open(tmp_path / "j", verify=True) as journal:
        assert journal.snapshots[0].size < 16 * PAGE_SIZE * 1.02
        found = journal.load(2).memory(0).layers()
        assert [extent.offset % PAGE_SIZE for extent in found.extents if extent.offset] == [0]
        assert any(offset % PAGE_SIZE for offset in found.pages.values())
        expected = single | {100 + at: page(1 + at) for at in range(128)}
        assert contents(journal, 2) == expected


def test_a_memory_that_grows_between_rounds(tmp_path: Path) -> None:
    """The snapshot's memory has the size it had last."""
    with make(tmp_path / "j") as journal, journal.begin(None, "timer") as writer:
        writer.changed(0, 4, [(3, page("a"))])
        writer.changed(0, 8, [(3, page("b")), (7, page("c"))])
        with pytest.raises(ValueError, match="had 8 before"):
            writer.changed(0, 7, [])
        writer.commit()
    with Journal.open(tmp_path / "j", verify=True) as journal:
        image = journal.load(1).memory(0)
        assert image.pages_total == 8
        assert contents(journal, 1) == {3: page("b"), 7: page("c")}


def test_a_memory_without_changes_has_its_size_in_every_snapshot(tmp_path: Path) -> None:
    with make(tmp_path / "j") as journal:
        save(journal, None, {}, total=16)
        save(journal, 1, {}, total=32)
        assert journal.load(2).memory(0).extents == [Extent(0, 32, None)]


rounds = st.lists(
    st.dictionaries(st.integers(0, 15), st.sampled_from([0, 1, 2, 255]), max_size=8),
    min_size=1,
    max_size=4,
)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(
        st.tuples(rounds, st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=6
    ),
    spread=st.sampled_from([1, 40, 256]),
)
def test_against_a_model(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[list[dict[int, int]], bool, bool, bool]],
    spread: int,
) -> None:
    """Any rounds of any snapshots, failed ones among them, give the pages that a dictionary gives;
    each page that is new is stored at most once, and no other; exact snapshots among them."""
    path = tmp_path_factory.mktemp("model") / "j"
    total = 15 * spread + 1
    journal = make(path)
    images: list[dict[int, bytes]] = [{}]
    for named, exact, fails, reopen in steps:
        before = images[-1]
        after = dict(before)
        with journal.begin(len(images) - 1 or None, "timer") as writer:
            for pages in named:
                listed = {at * spread: page(byte) for at, byte in pages.items()}
                after |= listed
                if exact:
                    writer.memory(0, total, PAGE_SIZE, sorted(listed.items()))
                    break
                writer.changed(0, total, sorted(listed.items()))
            if fails:
                continue
            writer.commit()
        images.append({at: data for at, data in after.items() if any(data)})
        if not exact:
            touched = {at * spread for pages in named for at in pages}
            last = journal.snapshots[-1]
            assert last.pages <= len(touched)
            if len(named) == 1:
                new = {at for at in images[-1] if images[-1][at] != before.get(at)}
                assert last.pages == len(new)
        if reopen:
            journal.close()
            journal = Journal.open_for_writing(path)
    journal.close()
    with Journal.open(path, verify=True) as reader:
        assert not reader.damaged
        for number, wanted in enumerate(images[1:], 1):
            assert contents(reader, number) == wanted


def test_places_against_a_model() -> None:
    """Runs put anywhere, then another table on top."""
    chance = random.Random(4)
    tables, models = [Places(), Places()], [dict[int, int](), dict[int, int]()]
    for _ in range(300):
        which = chance.randrange(2)
        first, count = chance.randrange(2000), chance.randint(1, 600)
        position = chance.choice([ABSENT, ZERO, PAGE_SIZE * chance.randrange(1, 1 << 30)])
        tables[which].put(first, count, position)
        for at in range(count):
            models[which][first + at] = position + at * PAGE_SIZE * (position >= PAGE_SIZE)
    tables[0].update(tables[1])
    models[0] |= {at: place for at, place in models[1].items() if place != ABSENT}
    found: dict[int, int] = {}
    for number in tables[0].blocks():
        block = tables[0].block(number)
        assert block is not None
        found |= {256 * number + at: place for at, place in enumerate(block) if place != ABSENT}
    wanted = {at: place for at, place in models[0].items() if place != ABSENT}
    assert {at: p for at, p in found.items() if p != ZERO} == {
        at: p for at, p in wanted.items() if p != ZERO
    }


def in_order(count: int, pages: int = 4) -> list[dict[int, bytes]]:
    """So many, one after the other in memory, each of a run that differs from the last one's."""
    return [
        {number * pages: b"".join(page(1 + (number + at) % 250) for at in range(pages))}
        for number in range(count)
    ]


def test_much_is_in_few_records_that_grew(tmp_path: Path) -> None:
    """By what came after it; also where some of it is then replaced. One that comes out of order
    begins another record."""
    written = in_order(200)
    replaced = {at: page("x") for at in (0, 40, 41, 700)}
    with make(tmp_path / "j") as journal:
        save(journal, None, *written, replaced, total=900)
        save(journal, 1, {100: page("y") * 3}, {90: page("z")}, {95: page("z")}, total=900)
    with Journal.open(tmp_path / "j", verify=True) as journal:
        assert not journal.damaged and not journal.gaps
        assert [info.pages for info in journal.snapshots] == [800, 5]
        tables = journal.load(1).memory(0).tables
        assert len(tables) < 10 and sum(len(table.extents) for table in tables) == 200
        assert [table.head.data_pages for table in tables] == [
            sum(extent.pages for extent in table.extents) for table in tables
        ]
        assert journal.snapshots[0].size < 800 * PAGE_SIZE * 1.02
        expected = {
            first + at: run[at * PAGE_SIZE : (at + 1) * PAGE_SIZE]
            for each in written
            for first, run in each.items()
            for at in range(len(run) // PAGE_SIZE)
        } | replaced
        assert contents(journal, 1) == expected
        changed = {100: page("y"), 101: page("y"), 102: page("y"), 90: page("z"), 95: page("z")}
        assert contents(journal, 2) == expected | changed
        assert len(journal.load(2).memory(0).tables) == len(tables) + 2


def test_a_record_that_still_grows_is_a_torn_tail(tmp_path: Path) -> None:
    """A reader sees at once where it is cut off, and need not search what follows its header."""
    path = tmp_path / "j"
    with make(path) as journal:
        save(journal, None, {0: page("a")}, total=900)
        kept = path.stat().st_size
        with journal.begin(1, "timer") as writer:
            for number, each in enumerate(in_order(40)):
                writer.changed(0, 900, sorted(each.items()))
                with open_bytes(path.read_bytes()) as reader:
                    assert [info.id for info in reader.snapshots] == [1]
                    assert reader.kept == kept and not reader.damaged
                    assert [gap.what for gap in reader.gaps] == ["the MEMORY record is cut off"] * (
                        number > 0
                    )
            writer.commit()
    with Journal.open(path, verify=True) as journal:
        assert len(journal.snapshots) == 2 and not journal.gaps


def test_the_nth_call_fails_while_records_grow(tmp_path: Path) -> None:
    """What was there is there, and the next snapshot is right; for every n."""
    written = [*in_order(12), {3: page("x"), 17: page("y")}]
    calls = 0
    while True:
        path = tmp_path / str(calls)
        calls += 1
        with make(path) as journal:
            save(journal, None, {0: page("a")}, total=60)
        made = FaultyStorage(os.open(path, os.O_RDWR), calls, errno.ENOSPC)
        with Journal.open_for_writing(path, storage=_given(made)) as journal:
            try:
                save(journal, 1, *written, total=60)
            except JournalWriteFailed:
                assert path.stat().st_size == journal.size
            else:
                break
            save(journal, 1, *written, total=60)
        with Journal.open(path, verify=True) as journal:
            assert len(journal.snapshots) == 2 and not journal.gaps and not journal.damaged
            assert contents(journal, 2)[17] == page("y") and len(contents(journal, 2)) == 48
    assert calls > 15


def _given(storage: FaultyStorage) -> Callable[[int], FaultyStorage]:
    def take(fd: int) -> FaultyStorage:
        os.close(fd)
        return storage

    return take
