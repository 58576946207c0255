"""Names for snapshots: given with them, given later, taken away; found by ``--at``."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import pytest

from journal.helpers import FaultyStorage, add, contents, make, open_bytes, page, scanned
from wasnap.errors import JournalWriteFailed, NoSuchSnapshot, UsageError
from wasnap.journal import Journal, check_label
from wasnap.journal.layout import Kind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Snapshots 1 (called "first"), 2 and 3."""
    with make(tmp_path / "j") as journal:
        add(journal, None, {0: page("a")}, tag="first")
        add(journal, 1, {1: page("b")})
        add(journal, 2, {2: page("c")})
    return tmp_path / "j"


def labels(path: Path) -> dict[int, str]:
    with Journal.open(path, verify=True) as journal:
        assert not journal.damaged and not journal.gaps
        return {info.id: info.label for info in journal.snapshots if info.label}


def test_labels_given_later(path: Path) -> None:
    """They replace the one a snapshot has, can be taken away, and survive further snapshots."""
    with Journal.open_for_writing(path) as journal:
        journal.label(2, "second")
        journal.label(3, "été 3")
        assert [info.label for info in journal.snapshots] == ["first", "second", "été 3"]
    assert labels(path) == {1: "first", 2: "second", 3: "été 3"}
    with Journal.open_for_writing(path) as journal:
        assert not journal._index.complete  # a LABEL record ends a whole journal, too
        assert journal.newest().info.id == 3
        journal.label(1, "")
        journal.label(2, "again")
        add(journal, 3, {3: page("d")}, tag="again")
        journal.label(3, "x" * 160)
        add(journal, 4, {4: page("e")})
    assert labels(path) == {2: "again", 3: "x" * 160, 4: "again"}
    with Journal.open(path) as journal:
        assert journal.find("again") == 4
        assert journal.find("2") == journal.find(2) == 2
        assert contents(journal, 5) == {at: page("abcde"[at]) for at in range(5)}
        with pytest.raises(NoSuchSnapshot, match="called 'first'"):
            journal.find("first")


@pytest.mark.parametrize(
    "label", ["", "7", "-7", "-x", "a\nb", "\x1b", " a", "a ", "x" * 161, "é" * 81, "\udcff"]
)
def test_what_is_no_label(path: Path, label: str) -> None:
    """Nothing is written."""
    before = path.read_bytes()
    with pytest.raises(UsageError, match="label"):
        check_label(label)
    with Journal.open_for_writing(path) as journal:
        if label:
            with pytest.raises(UsageError):
                journal.label(1, label)
            with pytest.raises(UsageError):
                journal.begin(3, "timer", label=label)
        with pytest.raises(NoSuchSnapshot):
            journal.label(9, "nine")
    assert path.read_bytes() == before


def test_cut_at_every_byte_of_a_label(path: Path) -> None:
    """It is there or not; the snapshots are all there, and the next one goes on."""
    before = path.read_bytes()
    with Journal.open_for_writing(path) as journal:
        journal.label(2, "second")
    after = path.read_bytes()
    assert len(after) == len(before) + 256
    for cut in range(len(before), len(after) + 1):
        journal = open_bytes(after[:cut])
        assert [info.id for info in journal.snapshots] == [1, 2, 3]
        assert journal.snapshots[1].label == ("second" if cut == len(after) else "")
    path.write_bytes(after[:-1])
    with Journal.open_for_writing(path) as journal:
        assert path.read_bytes() == before
        add(journal, 3, {})


def test_flip_each_bit_of_a_label(path: Path) -> None:
    """A name is lost at most, never another one given."""
    with Journal.open_for_writing(path) as journal:
        journal.label(1, "second")
        add(journal, 3, {5: page("e")})
    data = path.read_bytes()
    (record,) = (record for record in scanned(data).records if record.kind == Kind.LABEL)
    for at in range(record.position, record.next):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            journal = open_bytes(flipped)
            assert [info.id for info in journal.snapshots] == [1, 2, 3, 4]
            assert [info.label for info in journal.snapshots] == ["first", "", "", ""]


def faulty(nth: int, fault: int, fd: int) -> FaultyStorage:
    return FaultyStorage(fd, nth, fault)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails(path: Path, fault: int) -> None:
    """At the write or the sync: no name, and the journal is good for the next one."""
    for nth in (1, 2):
        with Journal.open_for_writing(path, storage=partial(faulty, nth, fault)) as journal:
            with pytest.raises(JournalWriteFailed, match="label"):
                journal.label(1, f"try{nth}")
            journal.label(2, f"then{nth}")
        assert labels(path) == {1: "first", 2: f"then{nth}"}
