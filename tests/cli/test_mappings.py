"""``--tmp`` and ``--overlay``, from the command line to the journal and back, and
``journal export-files``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from process import wat

import wasnap as package
from wasnap import Process
from wasnap.errors import CannotResume, UsageError
from wasnap.journal import Journal
from wasnap.layers import export_files

from .conftest import Command, Run

WRITER = wat.wasm(
    """
  (data (i32.const 200) "fone\\ntwo\\n")
  (func $open (param $oflags i32) (result i32)
    (call $exit_on (call $path_open (i32.const 3) (i32.const 0) (i32.const 200) (i32.const 1)
      (local.get $oflags) (i64.const 0x7f) (i64.const 0) (i32.const 1) (i32.const 300)))
    (i32.load (i32.const 300)))
  (func $exit_on (param $errno i32)
    (if (local.get $errno) (then (call $exit (i32.add (i32.const 100) (local.get $errno))))))
  (func $put (param $fd i32) (param $ptr i32)
    (i32.store (i32.const 0) (local.get $ptr))
    (i32.store (i32.const 4) (i32.const 4))
    (call $exit_on
      (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $main (export "_start") (local $fd i32) (local $i i32)
    (local.set $fd (call $open (i32.const 1)))
    (call $put (local.get $fd) (i32.const 201))
    (call $ready)
    (loop $work (drop (call $work (i32.const 1) (i32.const 1000)))
      (br_if $work
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))
    (call $put (local.get $fd) (i32.const 205))
    (local.set $fd (call $open (i32.const 0)))
    (i32.store (i32.const 0) (i32.const 400))
    (i32.store (i32.const 4) (i32.const 100))
    (call $exit_on (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $print (i32.const 400) (i32.load (i32.const 8)))
    (call $exit (i32.const 7)))""",
    imports="""
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))""",
)
"""Appends two lines to /f with some work in between, and prints all of it."""

OPTIONS = {
    "tmp": ("--tmp", "/"),
    "overlay": ("--overlay", "lower::/"),
    "overlay of a size": ("--overlay", "lower::/:size=64k"),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_written_and_resumed(wasnap: Command, run: Run, kind: str) -> None:
    """Each resume finds the file as it was at its snapshot, also after it was written again."""
    lower = wasnap.directory / "lower"
    lower.mkdir()
    (lower / "f").write_text("zero\n")
    module = wasnap.write("writer.wasm", WRITER)
    before = b"" if kind == "tmp" else b"zero\n"
    whole = (7, b"ready\n" + before + b"one\ntwo\n")
    options = OPTIONS[kind]
    done = wasnap("run", *options, module)
    assert (done.returncode, done.stdout) == whole, done.stderr
    mapping = package.Mapping.tmp() if kind == "tmp" else package.Mapping.overlay(str(lower))
    process = run.process(
        WRITER,
        dirs={"/": mapping},
        journal=wasnap.directory / "j",
        counted=[20_000, 10_000],
    )
    assert process.run() == 7
    for at in ("1", "2", "1"):
        done = wasnap("resume", "--at", at, "j")
        assert (done.returncode, done.stdout) == (7, whole[1][6:]), done.stderr
    assert (lower / "f").read_text() == "zero\n"
    (lower / "f").write_text("changed since\n")
    assert wasnap("resume", "j").stdout == whole[1][6:]
    if kind != "tmp":
        elsewhere = wasnap.directory / "elsewhere"
        lower.rename(elsewhere)
        done = wasnap("resume", "j")
        assert (done.returncode, done.stdout) == (7, whole[1][6:])
        assert b"lower" in done.stderr
    out = wasnap("journal", "export-files", "j", "--at", "2", "-o", "out")
    assert (out.returncode, out.stdout) == (0, b"wrote    f\n"), out.stderr
    assert (wasnap.directory / "out/f").read_bytes() == before + b"one\n"
    shown = wasnap("journal", "inspect", "j").stdout.decode()
    assert ("tmp      /" if kind == "tmp" else "overlay  / = ") in shown
    assert b"directories in memory" in wasnap("journal", "inspect", "--at", "1", "j").stdout
    start = json.loads(wasnap("journal", "inspect", "--json", "j").stdout)["start"]
    assert [d["mapping"] for d in start["dirs"]] == [kind.split()[0]]


def test_journals_of_others(wasnap: Command) -> None:
    """Recorded lower directories are not used; a tmp gives no rights, and is."""
    (wasnap.directory / "lower").mkdir()
    for name, mapping in (("t", package.Mapping.tmp()), ("o", package.Mapping.overlay("lower"))):
        if mapping.kind == "overlay":
            mapping = package.Mapping.overlay(str(wasnap.directory / "lower"))
        journal = wasnap.directory / name
        Process(WRITER, dirs={"/": mapping}, journal=journal, counted=[20_000], stdout=None).run()
        journal.chmod(0o666)
    assert wasnap("resume", "t").returncode == 7
    refused = wasnap("resume", "o")
    assert refused.returncode == CannotResume.exit_code
    assert b"--overlay HOST::/" in refused.stderr
    assert wasnap("resume", "--overlay", "lower::/", "o").returncode == 7
    refused = wasnap("resume", "--dir", "lower::/", "o")
    assert refused.returncode == CannotResume.exit_code
    assert b"mapped" in refused.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["run", "--overlay", "nowhere::/", "m.wasm"], 66, "nowhere"),
        (["run", "--overlay", "::/x", "m.wasm"], 64, "--overlay"),
        (["run", "--tmp", "", "m.wasm"], 64, "--tmp"),
        (["run", "--tmp", "a::b", "m.wasm"], 64, "--tmp"),
        (["run", "--tmp", "/t", "--dir", ".::/t", "m.wasm"], 64, "two directories"),
        (["run", "--tmp", "/t:size=", "m.wasm"], 64, "size"),
        (["run", "--tmp", "/t:size=0", "m.wasm"], 64, "size"),
        (["run", "--tmp", "/t:size=1X", "m.wasm"], 64, "size"),
        (["run", "--overlay", ".::/t:size=-1", "m.wasm"], 64, "size"),
        (["journal", "export-files", "nowhere", "-o", "out"], 66, "nowhere"),
        (["journal", "export-files", "m.wasm", "-o", "out"], 76, "not a journal"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(wasnap: Command, args: list[str], code: int, says: str) -> None:
    wasnap.write("m.wasm", WRITER)
    done = wasnap(*args)
    assert done.returncode == code, done.stderr
    assert says in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"hint" in done.stderr


class TestExport:
    """What is written out of a journal."""

    @pytest.fixture
    def journal(self, run: Run, tmp_path: Path) -> Path:
        """With a tmp called /t and an overlay called /o, of which only the tmp is written to."""
        (tmp_path / "low").mkdir()
        overlay = package.Mapping.overlay(str(tmp_path / "low"))
        dirs = {"/t": package.Mapping.tmp(), "/o": overlay}
        run.process(WRITER, dirs=dirs, journal=run.journal, counted=[20_000]).run()
        return run.journal

    def test_which_one(self, journal: Path, tmp_path: Path) -> None:
        with Journal.open(journal) as opened:
            for guest in (None, "/x"):
                with pytest.raises(UsageError, match="/o, /t"):
                    list(export_files(opened, None, guest, tmp_path / "out"))
            done = list(export_files(opened, 1, "/t", tmp_path / "out"))
            assert done == [("wrote", b"f", b"")]
            assert list(export_files(opened, 1, "/o", tmp_path / "empty")) == []

    def test_only_into_an_empty_directory(self, journal: Path, tmp_path: Path) -> None:
        into = tmp_path / "out"
        into.mkdir()
        os.symlink(tmp_path / "elsewhere", into / "f")
        with (
            Journal.open(journal) as opened,
            pytest.raises(UsageError, match="not empty"),
        ):
            list(export_files(opened, None, "/t", into))
        assert not (tmp_path / "elsewhere").exists()
