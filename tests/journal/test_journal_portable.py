"""Journals as text and back: the same bytes, whatever state they are in; texts that were changed."""

from __future__ import annotations

import base64
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from journal.helpers import BytesStorage, add, make, page, scanned, three_snapshots
from wasnap.errors import JournalError, MissingFile
from wasnap.journal import HostRecord, Journal
from wasnap.journal.layout import RECORD_IGNORABLE, Kind
from wasnap.journal.records import BeginRecord
from wasnap.journal.scan import identify
from wasnap.journal.tools import portable
from wasnap.journal.tools.portable_import import make as import_text
from wasnap.journal.tools.portable_import import write
from wasnap.journal.writer import SnapshotWriter


def exported(data: bytes | bytearray) -> list[str]:
    storage = BytesStorage(data)
    return list(portable._lines(storage, identify(storage, "j"), None))


def imported(lines: list[str]) -> bytes:
    storage = BytesStorage(b"")
    write(storage, lines, "text")
    return bytes(storage.data)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Compressed blocks, labels, unknown kinds, every type of msgpack, several memories."""
    path = tmp_path_factory.mktemp("rich") / "j"
    odd = {
        "base64": "text",
        "nested": {"base64": b"bytes"},
        "map": {1: "a", b"\0": [None, True, -1, 2**64 - 1, 1.0, -0.0, 1e300]},
        "floats": [math.inf, -math.inf, math.nan],
        "float": {"float": "x"},
        "é\0\u2028": {"map": []},
        "keys": {None: 1, True: 2, 2.5: 3},
    }
    with make(path) as journal:
        add(journal, None, {0: page("a"), 3: page("b")}, tag="one")
        with journal.begin(1, "timer") as writer:
            noise = random.Random(3).randbytes(2 * 4096)
            writer.memory(0, 2000, 4096, [(0, page("c") * 3), (5, noise), (300, 1000)], level=1)
            writer.memory(1, 16, 4096, [(1, page("x"))], is64=True)
            writer.record(HostRecord(state=odd))
            writer.commit()
        journal.label(1, "été")
        add(journal, 2, {1: page("d")}, total=2000)
        log, index = journal._log, journal._index
        assert log is not None
        base = index.entry(3)
        begin = BeginRecord(
            id=4, parent=3, base=3, base_commit=base.commit, time_ns=1, trigger="timer", depth=3
        )
        writer = SnapshotWriter(log, begin, base.commit, "j", index.add)
        writer._headers.append(log.append(77, [b"from the future"], flags=RECORD_IGNORABLE))
        writer._headers.append(log.append(Kind.HOST, [b"\x81\xa5state\xcb\x7f\xf8\0\0\0\0\0\1"]))
        writer._headers.append(log.append(Kind.TABLES, [b"no msgpack at all \xc1"]))
        writer.commit()
    return path.read_bytes()


def test_the_same_bytes(rich: bytes) -> None:
    """Of a whole journal; the text is plain ASCII, and shows what people look for."""
    lines = exported(rich)
    assert imported(lines) == rich
    assert all(line.isascii() and "\n" not in line for line in lines)
    values = [json.loads(line) for line in lines]
    records = [value for value in values if "record" in value]
    assert [record["at"] for record in records] == [r.position for r in scanned(rich).records]
    start = records[0]
    assert (start["record"], start["content"]["args"]) == ("START", ["a.wasm", "two words"])
    label = next(record for record in records if record["record"] == "LABEL")
    assert label["content"]["label"] == "été"
    unknown = next(record for record in records if record["record"] == "kind 77")
    assert (unknown["kind"], unknown["flags"], unknown["length"]) == (77, 1, 15)
    assert sum("crc" in record for record in records) == 0


def test_cut_anywhere(rich: bytes) -> None:
    """At each edge of a record, and a sample of other places."""
    edges = {r.position + d for r in scanned(rich).records for d in (-1, 0, 1, 64, 65)}
    edges |= {r.end + d for r in scanned(rich).records for d in (-1, 0, 1)}
    chance = random.Random(9)
    edges |= {chance.randrange(128, len(rich)) for _ in range(100)}
    for cut in sorted(edge for edge in edges if 128 <= edge <= len(rich)):
        assert imported(exported(rich[:cut])) == rich[:cut], cut


def test_flipped_anywhere(rich: bytes) -> None:
    """Damage is told by the record it hits, and comes back as it was."""
    chance = random.Random(10)
    header = scanned(rich).records[3]
    places = [*range(64), *range(header.position, header.payload + 4)]
    places += [chance.randrange(len(rich)) for _ in range(300)]
    for at in places:
        flipped = bytearray(rich)
        flipped[at] ^= 1 << chance.randrange(8)
        lines = exported(flipped)
        assert imported(lines) == flipped, at
    host = next(record for record in scanned(rich).records if record.kind == Kind.HOST)
    flipped = bytearray(rich)
    flipped[host.payload + 3] ^= 1
    (told,) = (v for v in map(json.loads, exported(flipped)) if "crc" in v)
    assert (told["record"], told["at"], told["length"]) == ("HOST", host.position, host.length)


def test_a_text_that_was_changed(rich: bytes) -> None:
    """Lines that are missing, twice, or have another value: an error that names the line (or the
    same journal, where the value is only for people); nothing else is raised."""
    lines = exported(rich)
    chance = random.Random(11)
    changed: list[list[str]] = [lines[:cut] for cut in range(len(lines))]
    for at in range(len(lines)):
        changed.append([*lines[:at], *lines[at + 1 :]])
        changed.append([*lines[:at], lines[at], *lines[at:]])
        value = json.loads(lines[at])
        for key in value:
            others: tuple[Any, ...] = (None, -1, 1 << 80, "x", [], {}, 1.5, True)
            for other in others if at < 12 else chance.sample(others, 1):
                line = json.dumps(value | {key: other})
                changed.append([*lines[:at], line, *lines[at + 1 :]])
            missing = {k: v for k, v in value.items() if k != key}
            changed.append([*lines[:at], json.dumps(missing), *lines[at + 1 :]])
    for _ in range(300):
        at = chance.randrange(len(lines))
        line = lines[at]
        place = chance.randrange(len(line))
        other_line = line[:place] + chance.choice('{}[]",:0a') + line[place + 1 :]
        changed.append([*lines[:at], other_line, *lines[at + 1 :]])
    refused = 0
    for text in changed:
        try:
            assert imported(text) == rich
        except JournalError as error:
            assert re.match(r"line \d+ of text", error.message)
            refused += 1
    assert refused > 0.9 * len(changed)


def test_bytes_that_are_not_json() -> None:
    for text in ([b"\xff\n"], [b""], [b"[]\n"], [b"[" * 100_000], [b"17\n"], []):
        with pytest.raises(JournalError, match="line"):
            write(BytesStorage(b""), text, "text")


def test_through_files(tmp_path: Path) -> None:
    """A new journal is there whole or not at all; one that is there is not replaced."""
    source, copy = tmp_path / "j", tmp_path / "copy"
    data = three_snapshots(source)
    lines = list(portable.export(source))
    with pytest.raises(JournalError, match="last line"):
        import_text(copy, lines[:-1], "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["j"]
    import_text(copy, lines, "text")
    assert copy.read_bytes() == data
    assert copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(JournalError, match="there already"):
        import_text(copy, lines, "text")
    with Journal.open_for_writing(copy) as journal:
        add(journal, 3, {})
    with pytest.raises(MissingFile):
        portable.export(tmp_path / "nowhere")
    copy.write_bytes(b"something else")
    with pytest.raises(JournalError, match="not a wasnap journal"):
        portable.export(copy)


def test_big_data_comes_in_pieces(tmp_path: Path) -> None:
    """Of 1 MiB at most, cut where blocks begin; zeros are counted."""
    with make(tmp_path / "j") as journal, journal.begin(None, "timer") as writer:
        writer.memory(0, 4000, 4096, [(0, page("a") * 600), (700, page("b") * 10)])
        writer.commit()
    data = (tmp_path / "j").read_bytes()
    lines = exported(data)
    assert imported(lines) == data
    values: list[dict[str, Any]] = [json.loads(line) for line in lines]
    at = next(i for i, value in enumerate(values) if value.get("record") == "MEMORY")
    assert [len(base64.b64decode(value["data"])) // 4096 for value in values[at + 2 : at + 6]] == [
        *[256, 256, 88],
        10,
    ]
    assert list(values[at + 1]) == ["zeros"]
