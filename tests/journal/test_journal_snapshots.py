"""Snapshots written and read back: records, memory images over branches, what a writer refuses."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.helpers import (
    EXPECTED,
    MODULE,
    START,
    BytesStorage,
    add,
    contents,
    make,
    open_bytes,
    page,
    three_snapshots,
)
from wasnap.errors import JournalError, NoSuchSnapshot
from wasnap.journal import (
    PAGE_SIZE,
    Extent,
    HostRecord,
    Journal,
    StackRecord,
    TablesRecord,
    pack,
)
from wasnap.journal.image import MemoryImage, decode_memory
from wasnap.journal.layout import (
    EXTENT,
    MEMORY_HEAD,
    RECORD_IGNORABLE,
    Encoding,
    RecordHeader,
    StoredExtent,
    pack_file_header,
)
from wasnap.journal.proof import Entry
from wasnap.journal.records import BeginRecord
from wasnap.journal.writer import Log, SnapshotWriter


def test_everything_comes_back(tmp_path: Path) -> None:
    """Start, module and each record of a snapshot, in the same process and after opening again."""
    path = tmp_path / "j"
    with make(path) as journal:
        add(journal, None, {0: page("a"), 3: page("b")}, tag="first")
        written = journal.snapshots
    with Journal.open(path, verify=True) as journal:
        assert journal.start == START
        assert journal.module() == MODULE
        assert journal.snapshots == written
        assert journal.damaged == [] and journal.gaps == []
        (info,) = journal.snapshots
        assert (info.id, info.parent, info.trigger, info.label, info.pages) == (
            1,
            None,
            "timer",
            "first",
            2,
        )
        snapshot = journal.newest()
        assert snapshot.record(StackRecord).names == {3: "fib"}
        assert snapshot.record(TablesRecord).tables == {"wasnap.t0": [1, -1]}
        assert snapshot.record(HostRecord).state == {"tag": "first"}
        assert snapshot.memory(0).read(3, 1) == page("b")
        with pytest.raises(JournalError, match="no memory 1"):
            snapshot.memory(1)


def test_branches_have_their_own_memory(tmp_path: Path) -> None:
    """2 and 3 both go on from 1 and do not see each other."""
    journal = open_bytes(three_snapshots(tmp_path / "j"))
    assert [(info.id, info.parent) for info in journal.snapshots] == [(1, None), (2, 1), (3, 1)]
    assert {at: contents(journal, at) for at in EXPECTED} == EXPECTED


def test_extents_can_be_mapped(tmp_path: Path) -> None:
    """Extents cover the memory without gaps, stand at multiples of 4096, and neighbours in
    memory that are neighbours in the file are one."""
    path = tmp_path / "j"
    with make(path) as journal, journal.begin(None, "timer") as writer:
        data = bytes(range(1, 251)) * (600 * PAGE_SIZE // 250 + 1)
        writer.memory(0, 1000, PAGE_SIZE, [(100, data[: 600 * PAGE_SIZE])])
        writer.commit()
    with Journal.open(path) as journal:
        extents = journal.load(1).memory(0).extents
        assert [(e.first_page, e.n_pages) for e in extents] == [(0, 100), (100, 600), (700, 300)]
        assert extents[0].offset is None and extents[2].offset is None
        assert extents[1].offset is not None and extents[1].offset % 4096 == 0
        raw = path.read_bytes()[extents[1].offset :]
        assert raw[: 600 * PAGE_SIZE] == data[: 600 * PAGE_SIZE]


def test_zero_pages_cost_no_space(tmp_path: Path) -> None:
    """Neither in a full image nor in a later one, where they replace pages with content."""
    with make(tmp_path / "j") as journal:
        add(journal, None, {at: page(0) for at in range(16)} | {5: page("x")})
        add(journal, 1, {at: page(0) for at in range(16)})
        assert [info.pages for info in journal.snapshots] == [1, 0]
        assert contents(journal, 1) == {5: page("x")}
        assert contents(journal, 2) == {}
        with journal.begin(1, "timer") as writer:
            writer.memory(0, 16, PAGE_SIZE, [(0, 16)])
            writer.commit()
        assert journal.load(3).memory(0).extents == [Extent(0, 16, None)]


def test_memory_grows_and_full_snapshots_forget(tmp_path: Path) -> None:
    """New pages are zero; a full snapshot takes nothing from its parent; unnamed memories stay."""
    with make(tmp_path / "j") as journal:
        add(journal, None, {0: page("a")}, total=2)
        add(journal, 1, {3: page("b")}, total=4)
        assert contents(journal, 2) == {0: page("a"), 3: page("b")}
        with journal.begin(2, "timer") as writer:
            writer.record(HostRecord(state={}))
            writer.commit()
        assert contents(journal, 3) == contents(journal, 2)
        with journal.begin(3, "timer", full=True) as writer:
            writer.memory(0, 4, PAGE_SIZE, [(1, page("c"))])
            writer.memory(1, 4, PAGE_SIZE, [(2, page("d"))], is64=True, shared=True)
            writer.commit()
        assert contents(journal, 4) == {1: page("c")}
        other = journal.load(4).memory(1)
        assert (other.is64, other.shared, other.read(2, 1)) == (True, True, page("d"))


def test_big_memory_is_cut_into_records_and_checked_units(tmp_path: Path) -> None:
    """20 MiB with a hole: several MEMORY records, extents of at most 1 MiB, drawn as written."""
    drawn = []
    chunk = bytes(range(256)) * 4096

    def pages() -> list[tuple[int, bytes]]:
        return [(at * 256, chunk) for at in range(21) if at != 7]

    with make(tmp_path / "j") as journal:
        with journal.begin(None, "timer") as writer:
            writer.memory(0, 21 * 256, PAGE_SIZE, (drawn.append(p) or p for p in pages()))  # type: ignore[func-returns-value]
            writer.commit()
        image = journal.load(1).memory(0)
        assert len(drawn) == 20
        assert len(image.blocks) == 20
        assert image.read(6 * 256, 512) == chunk + bytes(1 << 20)
        digest = hashlib.sha256(image.read(0, image.pages_total)).digest()
        content = b"".join(chunk if at != 7 else bytes(1 << 20) for at in range(21))
        assert digest == hashlib.sha256(content).digest()


def test_journal_growth_is_close_to_what_changed(tmp_path: Path) -> None:
    """2,000 scattered pages cost at most 1.02 times their size."""
    with make(tmp_path / "j") as journal:
        add(journal, None, {0: page("a")}, total=8000)
        add(journal, 1, {at: page(1 + at % 255) for at in range(0, 8000, 4)}, total=8000)
        assert journal.snapshots[1].size <= 1.02 * 2000 * PAGE_SIZE


@pytest.mark.parametrize(
    "pages",
    [
        [(0, b"x")],
        [(0, b"")],
        [(2, page("a")), (1, page("b"))],
        [(1, page("a")), (1, page("b"))],
        [(16, page("a"))],
        [(15, 2)],
        [(3, 0)],
    ],
)
def test_wrong_pages_are_refused_and_the_snapshot_taken_back(
    tmp_path: Path, pages: list[tuple[int, bytes | int]]
) -> None:
    """Not whole pages, out of order, overlapping, out of bounds, empty: ValueError, no trace."""
    with make(tmp_path / "j") as journal:
        size = (tmp_path / "j").stat().st_size
        with pytest.raises(ValueError, match="pages"), journal.begin(None, "timer") as writer:
            writer.memory(0, 16, PAGE_SIZE, pages)
        assert (tmp_path / "j").stat().st_size == size
        assert add(journal, None, {0: page("a")}) == 1


def test_a_snapshot_without_commit_leaves_nothing(tmp_path: Path) -> None:
    with make(tmp_path / "j") as journal:
        size = journal.size
        with journal.begin(None, "timer") as writer:
            writer.memory(0, 16, PAGE_SIZE, [(0, page("a"))])
        assert (tmp_path / "j").stat().st_size == size
        assert journal.snapshots == []
        with pytest.raises(NoSuchSnapshot, match="no snapshot to resume"):
            journal.newest()


def test_a_record_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    """Text that is no UTF-8, an object msgpack does not know."""
    with make(tmp_path / "j") as journal:
        for state in ({"name": "\udcff"}, {"object": object()}):
            with pytest.raises(JournalError, match="HOST"), journal.begin(None, "t") as writer:
                writer.record(HostRecord(state=state))
        assert add(journal, None, {}) == 1


def test_missing_snapshots_are_refused_by_name(tmp_path: Path) -> None:
    journal = open_bytes(three_snapshots(tmp_path / "j"))
    with pytest.raises(NoSuchSnapshot, match="no snapshot 9") as refused:
        journal.load(9)
    assert refused.value.hint == "there are 1 to 3"
    with (
        Journal.open_for_writing(tmp_path / "j") as writable,
        pytest.raises(NoSuchSnapshot, match="no snapshot 9"),
    ):
        writable.begin(9, "timer")


def test_ids_go_on_after_opening_again(tmp_path: Path) -> None:
    three_snapshots(tmp_path / "j")
    with Journal.open_for_writing(tmp_path / "j") as journal:
        assert add(journal, 2, {4: page("e")}) == 4
    with Journal.open(tmp_path / "j", verify=True) as journal:
        assert contents(journal, 4) == EXPECTED[2] | {4: page("e")}


@pytest.mark.parametrize("flags", [0, RECORD_IGNORABLE])
def test_records_of_unknown_kinds(flags: int) -> None:
    """One flagged ignorable is skipped; another makes its snapshot and its descendants unreadable,
    by name, and no other snapshot."""
    storage = BytesStorage(pack_file_header(b"journal!"))
    log = Log(storage, b"journal!", 64, 0, sync=False)
    previous = 0
    commits = {0: 0}

    def committed(entry: Entry) -> None:
        nonlocal previous
        previous = entry.commit
        commits[entry.info.id] = entry.commit

    for number, parent, unknown in [(1, None, False), (2, 1, True), (3, 2, False), (4, 1, False)]:
        begin = BeginRecord(
            id=number,
            parent=parent,
            base=parent,
            base_commit=commits[parent or 0],
            time_ns=0,
            trigger="timer",
        )
        writer = SnapshotWriter(log, begin, previous, "test", committed)
        writer.memory(0, 4, PAGE_SIZE, [(number - 1, page(number))])
        if unknown:
            writer._headers.append(log.append(77, [b"from the future"], flags=flags))
        writer.commit()
    journal = open_bytes(storage.data)
    if flags:
        assert [info.id for info in journal.snapshots] == [1, 2, 3, 4]
    else:
        assert [info.id for info in journal.snapshots] == [1, 4]
        with pytest.raises(JournalError, match="kind 77, which this wasnap does not know"):
            journal.load(2)
        with pytest.raises(JournalError, match="memory of snapshot 2"):
            journal.load(3)


def test_pages_the_journal_holds_are_named_and_not_stored_again(tmp_path: Path) -> None:
    """Parts of blocks that older snapshots wrote, elsewhere in memory and in another memory."""
    with make(tmp_path / "j") as journal:
        block = b"".join(page(1 + at) for at in range(8))
        add(journal, None, {0: block})
        (held,) = journal.load(1).memory(0).parts
        moved = held.part(2, 5)._replace(first_page=9)
        with journal.begin(1, "timer") as writer:
            writer.memory(0, 16, PAGE_SIZE, [(7, page("a")), (9, moved)])
            writer.memory(1, 4, PAGE_SIZE, [(1, held.part(7, 8)._replace(first_page=1))])
            writer.commit()
        assert journal.snapshots[1].pages == 1
        expected = {at: page(1 + at) for at in range(7)} | {7: page("a")}
        assert contents(journal, 2) == expected | {9 + at: page(3 + at) for at in range(3)}
        assert journal.load(2).memory(1).read(0, 4) == page(0) + page(8) + page(0) * 2
        with pytest.raises(ValueError, match="pages 3"), journal.begin(2, "timer") as writer:
            writer.memory(0, 16, PAGE_SIZE, [(3, held)])


def test_compressed_blocks(tmp_path: Path) -> None:
    """Blocks that shrink are compressed, others are not and can be mapped; parts of either are
    replaced by later snapshots; all is the same through ``read`` and through ``unpack``."""
    noise = random.Random(1).randbytes(300 * PAGE_SIZE)
    with make(tmp_path / "j") as journal:
        with journal.begin(None, "timer") as writer:
            pages = [(0, page("a") * 300), (300, noise), (700, page("b")), (701, page("c") * 20)]
            written = writer.memory(0, 1000, PAGE_SIZE, pages, level=3)
            writer.commit()
        assert [(e.pages, e.encoding) for e in written] == [
            *[(256, Encoding.ZSTD), (44, Encoding.ZSTD)],
            *[(256, Encoding.RAW), (44, Encoding.RAW)],
            *[(1, Encoding.ZSTD), (20, Encoding.ZSTD)],
        ]
        assert journal.snapshots[0].pages == 621
        assert journal.snapshots[0].size < 310 * PAGE_SIZE
        add(journal, 1, {10: page("d"), 270: page(0), 299: page("e") * 4, 710: page(0)}, total=1000)
    expected = bytearray(page("a") * 300 + noise + page(0) * 100 + page("b") + page("c") * 20)
    expected += page(0) * 279
    for at, data in [(10, page("d")), (270, page(0)), (299, page("e") * 4), (710, page(0))]:
        expected[at * PAGE_SIZE : at * PAGE_SIZE + len(data)] = data
    with Journal.open(tmp_path / "j", verify=True) as journal:
        assert journal.damaged == []
        image = journal.load(2).memory(0)
        assert image.read(0, 1000) == expected
        assert image.read(295, 10) == expected[295 * PAGE_SIZE : 305 * PAGE_SIZE]
        built = bytearray(1000 * PAGE_SIZE)
        for first, n_pages, offset, packed in image.extents:
            if offset is not None:
                data = image.storage.read(offset, n_pages * PAGE_SIZE)
                built[first * PAGE_SIZE : (first + n_pages) * PAGE_SIZE] = data
            elif packed:
                built[first * PAGE_SIZE : (first + n_pages) * PAGE_SIZE] = page("?") * n_pages
        for first, content in image.unpack():
            assert built[first * PAGE_SIZE :].startswith(b"?" * len(content))
            built[first * PAGE_SIZE : first * PAGE_SIZE + len(content)] = content
        assert built == expected


def test_compressed_blocks_that_are_wrong(tmp_path: Path) -> None:
    """Flipped, no frame at all, one without its size, one of a size that is no page: an error."""
    import zstandard

    with make(tmp_path / "j") as journal:
        with journal.begin(None, "timer") as writer:
            writer.memory(0, 4, PAGE_SIZE, [(0, page("a") * 4)], level=3)
            writer.commit()
        (part,) = journal.load(1).memory(0).parts
    data = bytearray((tmp_path / "j").read_bytes())
    data[part.position + 5] ^= 1
    with pytest.raises(JournalError, match="pages 0 to 3, is damaged"):
        open_bytes(data).load(1)
    with pytest.raises(JournalError, match="block at byte"):
        list(open_bytes(data).load(1, verify=False).memory(0).unpack())
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(page("a"))
    for wrong in (b"", b"no frame", frame, pack.compress(b"abc"), pack.compress(page("a"))[:-1]):
        with pytest.raises(JournalError, match="compressed block"):
            pack.decompress(wrong)
    assert pack.decompress(pack.compress(page("a"))) == page("a")


@pytest.mark.parametrize(
    "extent",
    [
        StoredExtent(0, 4096, 0, 4096, 0, 0, Encoding.RAW),
        StoredExtent(0, 4096, 2, 4096, 0, 0, Encoding.RAW),
        StoredExtent(0, 4096, 1, 4096, 0, 1, Encoding.RAW),
        StoredExtent(0, 0, 1, 4096, 0, 0, Encoding.RAW),
        StoredExtent(0, 4096, 1, 4095, 0, 0, Encoding.RAW),
        StoredExtent(0, 1 << 40, 1, 4096, 0, 0, Encoding.RAW),
        StoredExtent(16, 4096, 1, 4096, 0, 0, Encoding.RAW),
        StoredExtent(0, 4096, 1, 0, 0, 0, Encoding.ZERO),
        StoredExtent(0, 0, 1, 0, 0, 1, Encoding.ZERO),
        StoredExtent(0, 0, 1, 100, 0, 0, Encoding.ZSTD),
        StoredExtent(0, 4096, 4096, 100, 0, 1, Encoding.ZSTD),
        StoredExtent(0, 4096, 1, 100, 0, 0, 3),
    ],
)
def test_extents_that_break_a_rule(extent: StoredExtent) -> None:
    """Each rule of "Extent" in the format document."""
    head = MEMORY_HEAD.pack(0, PAGE_SIZE, 16, 0, 1, 0)
    payload = head + EXTENT.pack(*extent)
    size = len(payload)
    record = RecordHeader(b"WREC", 1, 0, 32, 0, b"journal!", 1 << 20, 9, size, size, 0, 0)
    with pytest.raises(JournalError, match=r"does not follow the format|does not know"):
        decode_memory(payload, record)


def same_in_both_ways(image: MemoryImage) -> None:
    """An image's runs, which are merged as runs, show the pages that its extents do, one by one;
    and so do its layers."""
    wanted: list[int | None] = [None] * image.pages_total
    for part in image.parts:
        raw = part.encoding == Encoding.RAW
        for at in range(part.pages):
            position = part.position + (part.skip + at) * PAGE_SIZE if raw else -1
            wanted[part.first_page + at] = position
    found: list[int | None] = []
    for first_page, n_pages, offset, packed in image.extents:
        assert first_page == len(found) and n_pages > 0
        for at in range(n_pages):
            none = -1 if packed else None
            found.append(none if offset is None else offset + at * PAGE_SIZE)
    assert found == wanted
    for short_pages in (1, 2, 3, 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("wasnap.journal.image.SHORT_PAGES", short_pages)
            layers = image.layers()
        shown: list[int | None] = [None] * image.pages_total
        for first_page, n_pages, offset, _ in layers.extents:
            for at in range(n_pages):
                shown[first_page + at] = -1 if offset is None else offset + at * PAGE_SIZE
        for number, place in layers.pages.items():
            shown[number] = place or None
        assert shown == wanted
    ends = [(e.offset is None, e.packed) for e in image.extents]
    assert all(a != b or not b[0] for a, b in pairwise(ends)), "two that are one"


def test_rules_that_hold_within_a_run() -> None:
    """Extents that go on where the last one ended are read in a shorter way: to the record's end."""
    head = MEMORY_HEAD.pack(0, PAGE_SIZE, 4, 0, 4, 0)
    extents = [StoredExtent(i, (i + 1) * 4096, 1, 4096, 0, 0, Encoding.RAW) for i in range(4)]
    payload = head + b"".join(EXTENT.pack(*extent) for extent in extents)
    for end, pages in ((5 * 4096, 4), (5 * 4096 - 1, 4), (5 * 4096, 3)):
        payload = MEMORY_HEAD.pack(0, PAGE_SIZE, pages, 0, 4, 0) + payload[len(head) :]
        size = len(payload)
        position = end - size - 64
        record = RecordHeader(b"WREC", 1, 0, 32, 0, b"journal!", position, 9, size, size, 0, 0)
        if (end, pages) == (5 * 4096, 4):
            table = decode_memory(payload, record)
            assert list(table.extents) == extents and table.extents.runs == [(0, 4, 4096, False)]
            assert table.extents[1] == extents[1] and len(table.extents) == 4
        else:
            with pytest.raises(JournalError, match="does not follow the format"):
                decode_memory(payload, record)


steps = st.lists(
    st.tuples(
        st.integers(0, 10),
        st.dictionaries(st.integers(0, 11), st.sampled_from([0, 1, 2, 255]), max_size=6),
        st.integers(0, 3),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_random_histories_against_a_model(tmp_path_factory: pytest.TempPathFactory, steps) -> None:  # type: ignore[no-untyped-def]
    """Any sequence of snapshots, with branches, growth, full ones, and opening again between
    them, gives the pages that a dictionary gives."""
    path = tmp_path_factory.mktemp("model") / "j"
    model: list[tuple[int, dict[int, bytes]]] = []
    journal = make(path)
    for parent_choice, changes, growth, full, reopen in steps:
        parent = parent_choice % (len(model) + 1) or None
        total, before = model[parent - 1] if parent else (12, {})
        total += growth
        after = {} if full or parent is None else dict(before)
        after |= {at: page(byte) for at, byte in changes.items()}
        model.append((total, {at: data for at, data in after.items() if any(data)}))
        with journal.begin(parent, "timer", full=full) as writer:
            pages = sorted((at, page(byte)) for at, byte in changes.items())
            writer.memory(0, total, PAGE_SIZE, pages)
            assert writer.commit() == len(model)
        if reopen:
            journal.close()
            journal = Journal.open_for_writing(path)
    for reader in (journal, Journal.open(path, verify=True)):
        assert len(reader.snapshots) == len(model) and not reader.damaged
        for number, (total, pages_then) in enumerate(model, start=1):
            assert reader.load(number).memory(0).pages_total == total
            assert contents(reader, number) == pages_then
            same_in_both_ways(reader.load(number).memory(0))
        reader.close()
