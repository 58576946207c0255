"""Journals cut at any byte and with any bit flipped.

The fault budget: whatever is cut off or flipped in the file, the newest snapshot that is whole is
found and is right, no page is ever wrong, nothing but JournalError is raised, what was committed
and is not hit is still there, and writing can go on.
"""

from __future__ import annotations

import json
import random
import zlib
from itertools import product
from pathlib import Path

import pytest

from journal.helpers import (
    EXPECTED,
    MODULE,
    BytesStorage,
    add,
    contents,
    make,
    open_bytes,
    page,
    scanned,
    three_snapshots,
)
from wasnap.errors import JournalError
from wasnap.journal import HostRecord, Journal, SnapshotInfo
from wasnap.journal.layout import (
    Kind,
    RecordHeader,
    pack_file_header,
    pack_record_header,
    seal,
)
from wasnap.journal.records import BeginRecord
from wasnap.journal.scan import record_header
from wasnap.journal.tools import text, text_snapshot, view
from wasnap.journal.writer import Log, SnapshotWriter


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return three_snapshots(tmp_path_factory.mktemp("whole") / "j")


def test_cut_at_every_byte(whole: bytes) -> None:
    """The newest snapshot whose COMMIT stands before the cut is found; without MODULE, none is."""
    records = scanned(whole).records
    ends = [record.end for record in records if record.kind == Kind.COMMIT]
    for cut in range(len(whole)):
        data = whole[:cut]
        if cut < 64:
            with pytest.raises(JournalError, match=r"empty|cut off|not a wasnap"):
                open_bytes(data)
            continue
        journal = open_bytes(data)
        assert [info.id for info in journal.snapshots] == [1, 2, 3][: sum(e <= cut for e in ends)]
        assert journal.damaged == []


def test_writing_goes_on_after_a_cut(whole: bytes, tmp_path: Path) -> None:
    """At every record's borders and a sample of other bytes: the tail is cut, the next snapshot
    rests on the newest whole one, and the file is as if the lost ones had never been tried."""
    records = scanned(whole).records
    module_end = records[1].end
    edges = {r.position + d for r in records for d in (-1, 0, 1, 63, 64)}
    edges |= {r.end + d for r in records for d in (-1, 0, 1)}
    for cut in sorted(edges | set(range(0, len(whole), 509))):
        if cut > len(whole):
            continue
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        if cut < module_end:
            with pytest.raises(JournalError):
                Journal.open_for_writing(path)
            assert path.read_bytes() == whole[:cut]
            continue
        with Journal.open_for_writing(path, durability="process") as journal:
            before = [info.id for info in journal.snapshots]
            parent = before[-1] if before else None
            new = add(journal, parent, {7: page("n")})
            assert new == len(before) + 1
        with Journal.open(path, verify=True) as journal:
            assert journal.gaps == [] and journal.damaged == []
            assert [info.id for info in journal.snapshots] == [*before, new]
            inherited = EXPECTED[parent] if parent else {}
            assert contents(journal, new) == inherited | {7: page("n")}
            for number in before:
                assert contents(journal, number) == EXPECTED[number]


def flipped(data: bytes, at: int, bit: int) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 1 << bit
    return bytes(copy)


def check_flip(data: bytes, infos: list[SnapshotInfo]) -> list[int]:
    """Opens, loads everything; what can be loaded must be right. Returns the ids that can."""
    journal = open_bytes(data)
    good = []
    for info in infos:
        try:
            state = journal.load(info.id).record(HostRecord).state
            pages = contents(journal, info.id)
        except JournalError:
            continue
        assert pages == EXPECTED[info.id]
        assert state == {"tag": {1: "one", 2: "two", 3: "three"}[info.id]}
        good.append(info.id)
    if good:
        assert journal.newest().info.id == good[-1]
    for read in (lambda: journal.start, journal.module):
        try:
            read()
        except JournalError:
            continue
    return good


def test_flip_each_bit_of_all_headers(whole: bytes) -> None:
    """File header, record headers, MEMORY tables and COMMIT payloads."""
    infos = open_bytes(whole).snapshots
    records = scanned(whole).records
    begins = [record.position for record in records if record.kind == Kind.BEGIN]
    spans = [(0, 64)]
    spans += [(r.position, r.payload + r.checked * (r.kind in (16, 17, 32))) for r in records]
    for start, end in spans:
        hit = sum(begin <= start for begin in begins)
        for at, bit in product(range(start, end), range(8)):
            good = check_flip(flipped(whole, at, bit), infos)
            if hit == 0:
                assert good == [1, 2, 3]
            elif hit > 1:
                assert good == [number for number in (1, 2, 3) if number != hit]
            else:
                assert good == []


def test_flip_a_sample_of_all_bits(whole: bytes) -> None:
    """Data, payloads, padding: never a wrong page. Flips in one snapshot's pages cost that one,
    and those that still use the page."""
    infos = open_bytes(whole).snapshots
    choose = random.Random(2)
    for _ in range(1500):
        at = choose.randrange(len(whole))
        check_flip(flipped(whole, at, choose.randrange(8)), infos)


def test_damaged_data_costs_those_that_use_it(tmp_path: Path) -> None:
    """Page 1 of snapshot 1 is replaced in 2 and still used by 3."""
    path = tmp_path / "j"
    with make(path) as journal:
        for parent, changes in [(None, {0: "a", 4: "b"}), (1, {4: "c"}), (1, {0: "d"})]:
            add(journal, parent, {at: page(byte) for at, byte in changes.items()})
        source = journal.load(1).memory(0).parts[1]
    data = bytearray(path.read_bytes())
    data[source.position + 17] ^= 1
    assert source.first_page == 4
    journal = open_bytes(data)
    assert [info.id for info in journal.snapshots] == [1, 2, 3]
    journal.verify()
    assert [info.id for info in journal.snapshots] == [2]
    assert [each.id for each in journal.damaged] == [1, 3]
    assert "pages 4 to 4" in journal.damaged[0].reason
    with pytest.raises(JournalError, match="snapshot 3 is damaged") as refused:
        journal.load(3)
    assert refused.value.hint == "there is 2"
    assert open_bytes(data).newest().info.id == 2


def test_writing_after_damage_in_the_middle_keeps_what_is_there(
    whole: bytes, tmp_path: Path
) -> None:
    """Nothing committed is cut off, and the damaged snapshot's number is not given again."""
    begins = [r.position for r in scanned(whole).records if r.kind == Kind.BEGIN]
    for hit, left in ((1, []), (2, [1, 3]), (3, [1, 2])):
        path = tmp_path / "j"
        path.write_bytes(flipped(whole, begins[hit - 1] + 20, 0))
        with Journal.open_for_writing(path) as journal:
            assert [info.id for info in journal.snapshots] == left
            assert add(journal, left[-1] if left else None, {9: page("n")}) == 4
        with Journal.open(path, verify=True) as journal:
            assert [info.id for info in journal.snapshots] == [*left, 4]
            assert hit in [each.id for each in journal.damaged]


def test_records_are_found_again_far_behind_the_damage(tmp_path: Path) -> None:
    """The header of a record of 3 MiB is gone: the next is found, wherever it stands."""
    content = bytes(range(1, 129)) * 32
    for extra in (0, 1):
        path = tmp_path / f"{extra}"
        with make(path) as journal:
            add(journal, None, {0: content * (767 + extra)}, total=1024)
            with journal.begin(1, "timer", full=True) as writer:
                writer.memory(0, 1024, 4096, [(0, page("a"))])
                writer.commit()
        data = path.read_bytes()
        first = next(record for record in scanned(data).records if record.kind == Kind.MEMORY)
        journal = open_bytes(flipped(data, first.position + 40, 3))
        assert [info.id for info in journal.snapshots] == [2]
        assert [gap.size for gap in journal.gaps] == [first.next - first.position]
        assert contents(journal, 2) == {0: page("a")}


def test_a_journal_inside_a_guests_memory_is_not_taken_for_records(
    whole: bytes, tmp_path: Path
) -> None:
    """The guest holds a copy of its own journal, and the header before that copy is damaged."""
    path = tmp_path / "j"
    copy = whole.ljust(-(-len(whole) // 4096) * 4096, b"\0")
    with make(path) as journal:
        add(journal, None, {0: copy}, total=64)
        add(journal, 1, {40: page("z")}, total=64)
    data = path.read_bytes()
    for record in scanned(data).records:
        if record.kind != Kind.MEMORY:
            continue
        damaged = flipped(data, record.position + 8, 0)
        kept = [other for other in scanned(data).records if other != record]
        assert scanned(damaged).records == kept
        journal = open_bytes(damaged)
        assert journal.snapshots == ([] if record.position < 8192 else journal.snapshots[:1])
        assert {each.id for each in journal.damaged} <= {1, 2}
        assert journal.module() == MODULE


def test_a_record_header_that_breaks_one_rule_is_not_intact() -> None:
    """Every rule of "Records" in the format document, one at a time."""
    good = pack_record_header(35, 0, b"journal!", 640, 7, 10, 10, 99)
    assert record_header(good, b"journal!", 640, 6) is not None
    assert record_header(good, None, 640, 6) is not None
    for data, journal, position, sequence in [
        (good, b"another!", 640, 6),
        (good, b"journal!", 704, 6),
        (good, b"journal!", 640, 7),
        (good[:63], b"journal!", 640, 6),
        (seal(b"WREX" + good[4:]), b"journal!", 640, 6),
        (flipped(good, 61, 0), b"journal!", 640, 6),
        (pack_record_header(35, 0, b"journal!", 640, 7, 10, 11, 99), b"journal!", 640, 6),
    ]:
        assert record_header(data, journal, position, sequence) is None


def changed(data: bytes, record: RecordHeader, offset: int, value: bytes) -> bytes:
    """``value`` put into a record's payload, and the record's own crcs made right."""
    copy = bytearray(data)
    copy[record.payload + offset : record.payload + offset + len(value)] = value
    crc = zlib.crc32(copy[record.payload : record.payload + record.checked])
    copy[record.position + 56 : record.position + 60] = crc.to_bytes(4, "little")
    copy[record.position : record.payload] = seal(bytes(copy[record.position : record.payload]))
    return bytes(copy)


def test_a_commit_that_does_not_prove_what_it_names_does_not_count(whole: bytes) -> None:
    """Each record for itself is intact, but not the one that was committed."""
    records = scanned(whole).records
    host = next(record for record in records if record.kind == Kind.HOST)
    begins = [record for record in records if record.kind == Kind.BEGIN]
    first, second, _ = (record for record in records if record.kind == Kind.COMMIT)
    assert whole[host.payload + 12 : host.payload + 16] == b"\xa3one"
    number = whole.index(b"\xa2id", begins[1].payload) + 3 - begins[1].payload
    for data, left in [
        (changed(whole, host, 13, b"two"), []),  # another payload
        (changed(whole, begins[1], number, b"\x05"), [1, 3]),  # another BEGIN
        (changed(whole, second, 0, b"\x05"), [1, 3]),  # the id
        (changed(whole, second, 8, b"\x00"), [1, 3]),  # the parent: none
        (changed(whole, second, 16, b"\x00"), [1, 3]),  # where BEGIN stands
        (changed(whole, second, 32, b"\x04"), [1, 3]),  # how many records
        (changed(whole, second, 32, b"\xff"), [1, 3]),
        (changed(whole, first, 0, b"\x02"), []),  # a number that comes again
    ]:
        assert [info.id for info in open_bytes(data).snapshots] == left


def test_a_snapshot_rests_on_an_earlier_one() -> None:
    """Its own parent, or a later one, would be a circle."""
    for parent, base in [(1, 1), (1, None), (2, 2), (None, 1), (None, 2)]:
        storage = BytesStorage(pack_file_header(b"journal!"))
        log = Log(storage, b"journal!", 64, 0, sync=False)
        begin = BeginRecord(
            id=1, parent=parent, base=base, base_commit=64, time_ns=0, trigger="timer"
        )
        SnapshotWriter(log, begin, 0, "test", lambda entry: None).commit()
        journal = open_bytes(storage.data)
        assert journal.snapshots == []
        assert [each.reason for each in journal.damaged] == ["it rests on no earlier snapshot"]


def test_garbage_is_refused() -> None:
    """Random files, and a whole header before random bytes."""
    choose = random.Random(5)
    for size in (0, 1, 8, 63, 64, 65, 200, 5000):
        with pytest.raises(JournalError):
            open_bytes(choose.randbytes(size))


def forged(data: bytes, choose: random.Random) -> bytes:
    """Some payload bytes or header fields changed, and all crcs made right again."""
    copy = bytearray(data)
    records = scanned(data).records
    for record in choose.sample(records, 2):
        for _ in range(choose.choice([1, 1, 2, 8])):
            at = choose.randrange(record.position + 4, record.payload + record.checked)
            copy[at] = choose.choice([0, 1, 0x7F, 0x80, 0xC0, 0xFF, choose.randrange(256)])
    crc = 0
    for record in records:
        checked = int.from_bytes(copy[record.position + 48 : record.position + 56], "little")
        if record.kind == Kind.COMMIT:
            copy[record.payload + 36 : record.payload + 40] = crc.to_bytes(4, "little")
        payload = copy[record.payload : record.payload + min(checked, 1 << 20)]
        copy[record.position + 56 : record.position + 60] = zlib.crc32(payload).to_bytes(
            4, "little"
        )
        copy[record.position : record.payload] = seal(bytes(copy[record.position : record.payload]))
        crc = 0 if record.kind == Kind.BEGIN else crc
        crc = zlib.crc32(copy[record.position : record.position + 60], crc)
    return bytes(copy)


def test_forged_records_raise_nothing_but_journal_errors(whole: bytes) -> None:
    """Checksums keep out accidents, not intent: with all crcs right, any content gives a
    JournalError or some snapshot, and inspect shows it."""
    choose = random.Random(11)
    for _ in range(3000):
        try:
            journal = open_bytes(forged(whole, choose))
            journal.verify()
            "\n".join(text.lines(view.describe(journal)))
        except JournalError:
            continue
        for number in range(1, 5):
            try:
                "\n".join(text_snapshot.snapshot_lines(view.describe_snapshot(journal, number)))
                json.dumps(view.describe_snapshot(journal, number))
                loaded = journal.load(number)
            except JournalError:
                continue
            for image in loaded.memories.values():
                ends = [extent.first_page + extent.n_pages for extent in image.extents]
                assert [extent.first_page for extent in image.extents] == [0, *ends][:-1]
                assert ends[-1:] in ([], [image.pages_total])
