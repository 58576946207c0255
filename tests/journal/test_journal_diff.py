"""``diff``: what changed between two snapshots, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from journal.helpers import add, history, make, open_bytes, page
from wasnap.errors import NoSuchSnapshot
from wasnap.journal import (
    PAGE_SIZE,
    Frame,
    Global,
    HostRecord,
    Journal,
    PendingCall,
    StackRecord,
    TablesRecord,
    carry,
)
from wasnap.journal.tools.diff import changed_pages, diff, same
from wasnap.journal.tools.text_diff import diff_lines


def snapshot(journal: Journal, parent: int | None, pages: dict[int, bytes], **parts: Any) -> int:
    with journal.begin(parent, "timer") as writer:
        writer.memory(0, parts.get("total", 64), PAGE_SIZE, sorted(pages.items()))
        if "other" in parts:
            writer.memory(1, 4, PAGE_SIZE, [(1, parts["other"])])
        writer.record(
            StackRecord(
                transform=1,
                data=parts.get("data", b""),
                frames_base=16,
                fp=16,
                frames=parts.get("frames", []),
                names={1: "main", 2: "work", 3: "leaf"},
                globals=[Global(0, "sp", "i32", parts.get("sp", 100)), Global(1, "", "i64", 7)],
                pending=parts.get("pending"),
            )
        )
        writer.record(TablesRecord(tables={"wasnap.t0": parts.get("table", [1, 2, -1])}))
        writer.record(HostRecord(state=parts.get("host", {})))
        return writer.commit()


def file(number: int, offset: int) -> dict[str, Any]:
    return {"type": "file", "number": number, "offset": offset, "path": b"x"}


def test_everything_that_can_differ(tmp_path: Path) -> None:
    """Each kind of state, as plain data and as text."""
    main, work, leaf = Frame(1, 1, 10), Frame(2, 2, 20), Frame(3, 3, 30)
    with make(tmp_path / "j") as journal:
        snapshot(
            journal,
            None,
            {0: page("a"), 1: page("b") * 3, 40: page("z")},
            frames=[leaf, work, main],
            host={"descriptors": [file(3, 0), file(4, 5)], "clock": {"ns": 1}, "gone": [1]},
        )
        changed = bytearray(page("b"))
        changed[100:103] = b"XYZ"
        call = PendingCall(module="wasi", name="poll", args=[])
        snapshot(
            journal,
            1,
            {0: page("a"), 2: bytes(changed), 3: page(0), 40: page("z"), 63: page("n")},
            total=80,
            other=page("o"),
            frames=[work, main],
            data=b"other",
            pending=call,
            sp=84,
            table=[1, 3, -1, 4],
            host={"descriptors": [file(4, 9), file(5, 0)], "clock": {"ns": 2}, "new": b"\1"},
        )
    with Journal.open(tmp_path / "j") as journal:
        data = diff(journal, 1, 2)
        json.dumps(data)
        assert data["memories"] == [
            {
                "index": 0,
                "pages_total": [64, 80],
                "pages": 3,
                "bytes": 3 + 2 * PAGE_SIZE,
                "runs": [
                    {"first_page": 2, "pages": 2, "bytes": 3 + PAGE_SIZE},
                    {"first_page": 63, "pages": 1, "bytes": PAGE_SIZE},
                ],
            },
            {"index": 1, "pages_total": [None, 4], "pages": 0, "bytes": 0, "runs": []},
        ]
        assert list(diff_lines(data)) == [
            f"{tmp_path}/j: - snapshot 1, + snapshot 2",
            "memory 0: 256.0 KiB -> 320.0 KiB, 8,195 bytes in 3 pages differ",
            "  0x00002000 to 0x00003fff     8.0 KiB  4,099 bytes",
            "  0x0003f000 to 0x0003ffff     4.0 KiB  4,096 bytes",
            "memory 1: none -> 16.0 KiB, 0 bytes in 0 pages differ",
            "thread 0: values differ; the outermost 2 frames are the same",
            "  - waits in -",
            "  -  #0     leaf  (function 3, site 3, module byte 0x1e)",
            "  + waits in wasi.poll",
            "global sp of thread 0: 100 -> 84",
            "table wasnap.t0: 3 -> 4 elements, 1 changed",
            "host descriptors.3: -",
            "    type: file",
            "    number: 3",
            "    offset: 0",
            "    path: x",
            "host descriptors.4.offset: 5 -> 9",
            "host descriptors.5: +",
            "    type: file",
            "    number: 5",
            "    offset: 0",
            "    path: x",
            "host clock.ns: 1 -> 2",
            "host gone: -",
            "    - 1",
            "host new: + <1 bytes 01>",
        ]
        nothing = diff(journal, 2, 2)
        assert same(nothing) and list(diff_lines(nothing))[1:] == ["no difference"]
        back = diff(journal, 2, 1)
        assert back["memories"][0]["runs"] == data["memories"][0]["runs"]
        with pytest.raises(NoSuchSnapshot):
            diff(journal, 1, 9)


@pytest.mark.parametrize("seed", range(2))
def test_pages_against_a_model(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any two snapshots of a tree: exactly the pages that a dictionary has differently."""
    monkeypatch.setattr(carry, "STEP", 3)
    model = history(tmp_path / "j", seed, 40)
    chance = random.Random(seed)
    with Journal.open(tmp_path / "j") as journal:
        for _ in range(200):
            one, two = (chance.choice(list(model)) for _ in range(2))
            a, b = model[one][1], model[two][1]
            wanted = {at for at in a.keys() | b.keys() if a.get(at) != b.get(at)}
            old, new = (journal.load(number).memory(0) for number in (one, two))
            runs = list(changed_pages(old, new))
            found = [
                at for r in runs for at in range(r["first_page"], r["first_page"] + r["pages"])
            ]
            assert found == sorted(wanted)


def test_what_is_shared_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two snapshots of 40 MiB that differ in one page: one page of each is read."""
    with make(tmp_path / "j") as journal:
        add(journal, None, {0: page("a") * 10_000}, total=10_000)
        add(journal, 1, {5000: page("b")}, total=10_000)
    with Journal.open(tmp_path / "j") as journal:
        old, new = (journal.load(number).memory(0) for number in (1, 2))
        reads: list[int] = []
        really = journal._storage.read

        def read(position: int, size: int) -> bytes:
            reads.append(size)
            return really(position, size)

        monkeypatch.setattr(journal._storage, "read", read)
        assert list(changed_pages(old, new)) == [{"first_page": 5000, "pages": 1, "bytes": 4096}]
        assert sum(reads) == 2 * PAGE_SIZE


def test_damaged_pages_are_told(tmp_path: Path) -> None:
    with make(tmp_path / "j") as journal:
        add(journal, None, {0: page("a")})
        add(journal, 1, {1: page("b")})
    data = bytearray((tmp_path / "j").read_bytes())
    data[data.index(page("b"))] ^= 1
    compared = diff(open_bytes(data), 1, 2)
    (problem,) = compared["problems"]
    assert problem.startswith("snapshot 2: memory 0, pages 1 to 1, is damaged")
    assert any("damaged" in line for line in diff_lines(compared))


def test_a_long_list_of_runs_is_cut(tmp_path: Path) -> None:
    with make(tmp_path / "j") as journal:
        add(journal, None, {}, total=400)
        add(journal, 1, {at: page("x") for at in range(0, 400, 2)}, total=400)
        shown = list(diff_lines(diff(journal, 1, 2)))
    assert "  ... 160 more (--json has all)" in shown
