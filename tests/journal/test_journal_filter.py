"""``filter``: what is left out is gone from every byte; the rest is as it was, or cannot be resumed."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from journal.helpers import MODULE, START, page
from wasnap.errors import JournalError, NoSuchSnapshot, UsageError
from wasnap.journal import (
    PAGE_SIZE,
    Directory,
    Entry,
    Frame,
    Global,
    HostRecord,
    Journal,
    PendingCall,
    StackRecord,
    TablesRecord,
)
from wasnap.journal.records import Record
from wasnap.journal.tools.filter import filter_journal
from wasnap.journal.tools.text import lines
from wasnap.journal.tools.text_snapshot import snapshot_lines
from wasnap.journal.tools.view import describe, describe_snapshot

SECRET = "hunter2"


def made(path: Path, *, flows: bool = True) -> Path:
    """Two snapshots with the secret wherever a guest can have one."""
    secret = SECRET.encode()
    start = type(START)(
        wasnap="0.1.0",
        transform=1,
        module_sha256=bytes(32),
        module_name="a.wasm",
        created_ns=1000,
        args=["a.wasm", SECRET],
        env={"TOKEN": SECRET},
        dirs=[Directory(guest="/data", host=f"/home/{SECRET}")],
        listen=[f"{SECRET}:1"],
        options={"unknown_imports": SECRET},
    )
    terminal = {"columns": 80, "rows": 24, "flows": flows, "modes": []}
    terminal |= {"text": [SECRET], "painting": zlib.compress(secret)}
    state = {
        "args": [secret],
        "env": [secret],
        "terminal": terminal,
        "descriptors": [{"type": "file", "number": 3, "name": SECRET, "data": secret}],
    }
    with Journal.create(path, MODULE, start) as journal:
        for parent in (None, 1):
            with journal.begin(parent, "timer", label=f"label-{SECRET}") as writer:
                writer.memory(0, 4, PAGE_SIZE, [(parent or 0, secret.ljust(PAGE_SIZE, b"."))])
                writer.record(
                    StackRecord(
                        transform=1,
                        data=secret,
                        frames_base=18,
                        fp=23,
                        frames=[Frame(7, 3, 64)],
                        names={3: "fib"},
                        globals=[Global(0, "sp", "i32", SECRET)],
                        pending=PendingCall(
                            module="w", name="read", args=[secret], progress={"done": SECRET}
                        ),
                        entries=[Entry(export=SECRET, args=[1])],
                    )
                )
                writer.record(TablesRecord(tables={"wasnap.t0": [1, -1]}))
                writer.record(HostRecord(state=state))
                writer.commit()
    return path


def records(path: Path, kind: type[Record]) -> list[Record]:
    with Journal.open(path, verify=True) as journal:
        assert journal.damaged == [] and journal.gaps == []
        return [journal.load(info.id).record(kind) for info in journal.snapshots]


def test_without_contents(tmp_path: Path) -> None:
    """No byte of it is left; it is shown, and nothing goes on with it, also when it is filtered
    again or made smaller."""
    path, new, again = made(tmp_path / "j"), tmp_path / "new", tmp_path / "again"
    before = path.read_bytes()
    done = filter_journal(path, new, ["contents", "labels"])
    assert done.kept == [1, 2] and path.read_bytes() == before
    assert SECRET.encode() not in new.read_bytes()
    filter_journal(new, again, ["labels"], keep=["2"])
    for each in (new, again):
        with pytest.raises(JournalError, match="can only be looked at"):
            Journal.open_for_writing(each)
        with Journal.open(each, verify=True) as journal:
            assert journal.module() == MODULE
            assert journal.start.dropped == ["contents", "labels"]
            assert journal.start.env == {"TOKEN": ""} and journal.start.args == []
            text = "\n".join(lines(describe(journal)))
            assert "without  contents, labels: it can only be looked at" in text
            shown = "\n".join(snapshot_lines(describe_snapshot(journal, 2)))
        assert "fib  (function 3, site 7" in shown and "waits in w.read()" in shown
        assert "1 open files\n    3  file" in shown
        assert "damaged" not in shown and "memory" not in shown


def test_without_labels(tmp_path: Path) -> None:
    """All else is the same, and it goes on."""
    path, new = made(tmp_path / "j"), tmp_path / "new"
    filter_journal(path, new, ["labels"])
    for kind in (StackRecord, TablesRecord, HostRecord):
        assert records(new, kind) == records(path, kind)
    with Journal.open_for_writing(new) as journal:
        assert [(info.id, info.label) for info in journal.snapshots] == [(1, ""), (2, "")]
        assert journal.load(2).memory(0).read(0, 4).count(SECRET.encode()) == 2
        assert journal.start.args == ["a.wasm", SECRET] and journal.start.dropped == ["labels"]
        with journal.begin(2, "timer") as writer:
            writer.memory(0, 4, PAGE_SIZE, [(3, page("n"))])
            assert writer.commit() == 3


def test_without_terminal_text(tmp_path: Path) -> None:
    """Of one that was written forward on; another one is refused, and nothing is made."""
    path, new = made(tmp_path / "j"), tmp_path / "new"
    filter_journal(path, new, ["terminal"])
    (_, host), (_, was) = (records(each, HostRecord) for each in (new, path))
    assert isinstance(host, HostRecord) and isinstance(was, HostRecord)
    terminal = host.state.pop("terminal")
    assert terminal.pop("text") == [] and zlib.decompress(terminal.pop("painting")) == b""
    assert was.state.pop("terminal").items() >= terminal.items() and host.state == was.state
    assert records(new, StackRecord) == records(path, StackRecord)
    drawn = made(tmp_path / "drawn", flows=False)
    with pytest.raises(JournalError, match="drawn on all over"):
        filter_journal(drawn, tmp_path / "none", ["terminal"])
    assert not (tmp_path / "none").exists()
    filter_journal(drawn, tmp_path / "some", ["terminal", "contents"])


def test_refused(tmp_path: Path) -> None:
    """Nothing said, nothing there, nothing overwritten."""
    path = made(tmp_path / "j")
    for output, drop, keep, error in [
        (tmp_path / "new", [], [], UsageError),
        (tmp_path / "new", ["secrets"], [], UsageError),
        (path, ["labels"], [], UsageError),
        (tmp_path / "new", ["labels"], [7], NoSuchSnapshot),
    ]:
        with pytest.raises(error):
            filter_journal(path, output, drop, keep=keep)
    assert [each.name for each in tmp_path.iterdir()] == ["j"]
