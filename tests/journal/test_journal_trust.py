"""What was written or checked is not read through again, unless something has changed the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from journal.helpers import EXPECTED, add, contents, page, three_snapshots
from wasnap.errors import JournalError
from wasnap.journal import Journal, Storage, image
from wasnap.journal.trust import ATTRIBUTE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with three snapshots, on a file system with extended attributes."""
    three_snapshots(tmp_path / "j")
    try:
        os.getxattr(tmp_path / "j", ATTRIBUTE)
    except OSError:
        pytest.skip("no extended attributes here")
    return tmp_path / "j"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions of the blocks that were checked."""
    positions: list[int] = []
    really = image.stored_crc

    def counted(storage: Storage, block: image.Block) -> int:
        positions.append(block.position)
        return really(storage, block)

    monkeypatch.setattr(image, "stored_crc", counted)
    return positions


def data_of(path: Path, snapshot: int) -> int:
    """Where the first page stands that is the snapshot's own."""
    with Journal.open(path) as journal:
        parts = journal.load(snapshot, verify=False).memory(0).parts
        return max(part.position for part in parts)


def flip(path: Path, position: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, position)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), position)


def test_what_we_wrote_is_not_read(path: Path, read: list[int]) -> None:
    """Neither by the next process nor by the one after it; a full check reads all the same."""
    for _ in range(2):
        with Journal.open_for_writing(path) as journal:
            assert contents(journal, 3) == EXPECTED[3]
            journal.newest()
            assert not read
            add(journal, journal.newest().info.id, {3: page("x")})
    with Journal.open(path) as journal:
        journal.newest()
        assert not read
        journal.verify()
        assert read


@pytest.mark.parametrize("by", ["a bit", "a copy", "a touch", "another boot"])
def test_whatever_happened_to_the_file_it_is_read_again(
    path: Path, read: list[int], by: str
) -> None:
    """Once: then there is a new note."""
    match by:
        case "a bit":
            flip(path, path.stat().st_size - 1)  # behind the last commit's payload: harmless
            flip(path, path.stat().st_size - 1)
        case "a copy":
            shutil.copy2(path, path.with_name("k"))
            os.replace(path.with_name("k"), path)
        case "a touch":
            os.utime(path)
        case _:
            note = os.getxattr(path, ATTRIBUTE)
            os.setxattr(path, ATTRIBUTE, b"0" * 36 + note[36:])
    with Journal.open_for_writing(path) as journal:
        journal.newest()
    assert read
    read.clear()
    with Journal.open_for_writing(path) as journal:
        journal.newest()
        assert not read
        journal.load(2)
        assert read


def test_a_bit_that_turns_over_right_after_the_commit(path: Path) -> None:
    """The snapshot that needs it does not exist, and the newest that does not is resumed."""
    before = 3
    for _ in range(20):  # within one tick of the system's clock, sometimes
        with Journal.open_for_writing(path) as journal:
            made = add(journal, 2, {7: page("y")})
        where = data_of(path, made)
        flip(path, where)
        with Journal.open_for_writing(path) as journal:
            with pytest.raises(JournalError, match="damaged"):
                journal.load(made)
            assert journal.newest().info.id == before
        flip(path, where)
        before = made


def test_damage_by_others_is_not_blessed(path: Path) -> None:
    """A process that goes on after somebody else wrote to its journal does not vouch for it."""
    with Journal.open_for_writing(path) as journal:
        journal.load(2)
        flip(path, data_of(path, 2))
        made = add(journal, 2, {3: page("z")})
    with Journal.open_for_writing(path) as journal:
        with pytest.raises(JournalError, match="damaged"):
            journal.load(made)
        assert contents(journal, 3) == EXPECTED[3]
