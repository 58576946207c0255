"""What the harness says of a journal after a kill: nothing of one that is right, and why of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal.helpers import add, make, page

from wasnap.harness import Difference, Report
from wasnap.harness.kills import look_at


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """With three snapshots, one after the other."""
    path = tmp_path / "journal"
    with make(path) as made:
        for number in range(3):
            add(made, number or None, {number: page(number + 1)})
    return path


def test_a_journal_that_is_right(journal: Path) -> None:
    """Those before, those announced, and perhaps one more; a torn tail is counted."""
    report = Report(0)
    assert look_at(journal.with_name("none"), [], [], report, "") == []
    assert look_at(journal, [], [1, 2], report, "") == [1, 2, 3]
    assert look_at(journal, [1, 2], [3], report, "") == [1, 2, 3]
    assert report == Report(0)
    with journal.open("ab") as file:
        file.write(b"WREC and then nothing")
    assert look_at(journal, [1, 2, 3], [], report, "") == [1, 2, 3]
    assert report.torn == 1


def test_snapshots_that_are_lost(journal: Path) -> None:
    """One that was there, one that was announced, one that is damaged."""
    with pytest.raises(Difference, match="there were"):
        look_at(journal, [1, 2, 3, 4], [], Report(0), "")
    with pytest.raises(Difference, match="announced were"):
        look_at(journal, [1, 2], [3, 4], Report(0), "")
    data = bytearray(journal.read_bytes())
    data[data.index(page(2)) + 5] ^= 1
    journal.write_bytes(data)
    with pytest.raises(Difference, match="pages 1 to 1"):
        look_at(journal, [], [], Report(0), "")


def test_a_snapshot_with_another_parent(journal: Path) -> None:
    """One that was not resumed from the newest."""
    with make(journal.with_name("branched")) as made:
        for parent in (None, 1, 1):
            add(made, parent, {})
    with pytest.raises(Difference, match="have the parents"):
        look_at(journal.with_name("branched"), [], [], Report(0), "")
