"""``verify``: each snapshot that needs something damaged is found, and no other."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from journal.helpers import add, contents, history, make, open_bytes, page, scanned
from wasnap.errors import JournalError
from wasnap.journal import PAGE_SIZE, Journal, carry
from wasnap.journal.layout import Kind
from wasnap.journal.tools.verify import lines, verify


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_loading_finds(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a random tree of snapshots with one to three bits of page data flipped: those are damaged
    that cannot be loaded, and the others are right."""
    monkeypatch.setattr(carry, "STEP", 3)
    path = tmp_path / "j"
    model = history(path, seed, 40)
    data = path.read_bytes()
    chance = random.Random(seed)
    spans = [
        (record.payload + record.checked, record.end)
        for record in scanned(data).records
        if record.kind == Kind.MEMORY and record.length > record.checked
    ]
    for _ in range(30):
        copy = bytearray(data)
        for start, end in chance.sample(spans, chance.randint(1, 3)):
            copy[chance.randrange(start, end)] ^= 1 << chance.randrange(8)
        checked = open_bytes(copy)
        assert checked.verify() > 0
        good = {info.id for info in checked.snapshots}
        assert good | {each.id for each in checked.damaged} == set(model)
        loading = open_bytes(copy)
        for number, (_, pages) in model.items():
            if number in good:
                assert contents(loading, number) == pages
            else:
                with pytest.raises(JournalError, match="is damaged at byte"):
                    loading.load(number)


def test_each_block_is_read_once(tmp_path: Path) -> None:
    """However many snapshots need it, and however often it is carried on."""
    path = tmp_path / "j"
    with make(path) as journal:
        for number in range(200):
            add(journal, number or None, {0: page("a") * 10} if number == 0 else {20: page(1)}, 32)
    with Journal.open(path) as journal:
        assert journal.verify() == 209 * PAGE_SIZE
        told: list[tuple[int, int]] = []
        journal.verify(lambda *done: told.append(done))
        assert told[-1][0] == 209 * PAGE_SIZE and told == sorted(told)


def test_the_report(tmp_path: Path) -> None:
    """What is damaged is named; a torn tail is none."""
    path = tmp_path / "j"
    with make(path) as journal:
        add(journal, None, {0: page("a")})
        add(journal, 1, {1: page("b")})
    data = path.read_bytes()
    whole = verify(open_bytes(data + b"tail"))
    assert whole["intact"] and whole["checked"] == 2 * PAGE_SIZE
    assert list(lines(whole)) == [
        "test.journal: 8.0 KiB of pages checked; 2 snapshots can be used",
        "  4 bytes at the end are not committed and do not count",
    ]
    module = next(record for record in scanned(data).records if record.kind == Kind.MODULE)
    for at, says in [
        (module.payload, "the MODULE record at byte"),
        (module.position, "no intact MODULE record"),
        (10, "the file header is damaged (and not needed)"),
        (data.index(page("b")), "snapshot 2: memory 0, pages 1 to 1, is damaged at byte"),
    ]:
        copy = bytearray(data)
        copy[at] ^= 1
        report = verify(open_bytes(copy))
        assert not report["intact"]
        assert any(says in line for line in lines(report)), says
