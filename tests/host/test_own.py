"""A journal in a directory that the guest may write to: it can be read there, and not changed, or
replaced by another one, which would say what a resume maps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasnap.host import Mapping

from .conftest import MakeGuest, use_walk
from .fakes import OUT, PATH2, RIGHTS_READ, RIGHTS_WRITE, Guest

CREAT, EXCL, TRUNC = 1, 4, 8

OWN = (
    "sub/j",
    "sub/j/",
    "sub/./j",
    "sub/x/../j",
    "sub/j.files",
    "sub/j.files/log",
    "sub/j.files/more",
    "sub/.j.new",
    "sub/.j.files.new",
    "sub/.j.files.old",
    "to-sub/j",
    "to-sub/j.files/table",
)


@pytest.fixture(params=["openat2", "walk"])
def guest(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    make_guest: MakeGuest,
    tmp_path: Path,
) -> Guest:
    """/dir holds ``sub``, which holds a journal; the user called it ``to-sub/j``."""
    if request.param == "walk":
        use_walk(monkeypatch)
    inside = tmp_path / "dir"
    (inside / "sub/x").mkdir(parents=True)
    (inside / "sub/j").write_text("journal")
    (inside / "mine").write_text("mine")
    (inside / "empty").mkdir()
    os.symlink("sub", inside / "to-sub")
    os.symlink("sub/j", inside / "link")
    made = make_guest(Mapping(str(inside), "/dir"))
    made.host.note_changes(inside / "to-sub/j.files", sync=False)
    return made


def everything(tmp_path: Path) -> dict[Path, tuple[int, ...]]:
    """What must stay; the log and the table are written to by ourselves."""
    found: dict[Path, tuple[int, ...]] = {}
    for path in sorted((tmp_path / "dir").rglob("*")):
        s = path.lstat()
        if path.name in ("log", "table"):
            found[path] = (s.st_ino, s.st_nlink, s.st_mode)
        else:
            found[path] = (s.st_ino, s.st_nlink, s.st_size, s.st_mtime_ns)
    return found


@pytest.mark.parametrize("path", OWN)
def test_no_call_changes_it(guest: Guest, tmp_path: Path, path: str) -> None:
    before = everything(tmp_path)
    at = guest.path(path)
    other = guest.path("empty/new", PATH2)
    refused = {"ACCES", "NOTDIR", "ISDIR"}
    absent = set() if (tmp_path / "dir" / path).exists() else {"NOENT"}
    for oflags in (0, CREAT, TRUNC, CREAT | TRUNC, CREAT | EXCL):
        for rights in (RIGHTS_WRITE, RIGHTS_READ | RIGHTS_WRITE, RIGHTS_READ):
            if rights != RIGHTS_READ or oflags & TRUNC:
                result = guest.try_open(path, oflags=oflags, rights=rights)
                assert result in (refused if oflags & CREAT else refused | absent)
    for follow in (0, 1):
        result = guest("path_filestat_set_times", 3, follow, *at, 9, 9, 5)
        assert result in refused | absent
    for name in ("path_create_directory", "path_remove_directory", "path_unlink_file"):
        assert guest(name, 3, *at) in refused, name
    assert guest("path_rename", 3, *at, 3, *other) in refused
    assert guest("path_link", 3, 0, *at, 3, *other) in refused
    mine = guest.path("mine", PATH2)
    assert guest("path_rename", 3, *mine, 3, *at) in refused
    assert guest("path_link", 3, 0, *mine, 3, *at) in refused
    assert guest("path_symlink", *mine, 3, *at) in refused
    assert everything(tmp_path) == before


def test_through_a_link(guest: Guest, tmp_path: Path) -> None:
    """One may lead there, and be changed itself."""
    before = everything(tmp_path)
    for oflags in (0, CREAT, TRUNC, CREAT | TRUNC):
        assert guest.try_open("link", oflags=oflags) == "ACCES"
    assert guest("path_filestat_set_times", 3, 1, *guest.path("link"), 9, 9, 5) == "ACCES"
    assert everything(tmp_path) == before
    assert guest.content("link") == b"journal"
    guest.unlink("link")


def test_through_an_open_directory(guest: Guest, tmp_path: Path) -> None:
    """Neither from one that lies beneath, nor after it was given another name."""
    files = guest.open("sub/j.files", rights=RIGHTS_READ)
    sub = guest.open("sub", rights=RIGHTS_READ)
    before = everything(tmp_path)
    assert guest.try_open("new", fd=files, oflags=CREAT) == "ACCES"
    assert guest.try_open("log", fd=files) == "ACCES"
    assert guest("path_unlink_file", files, *guest.path("log")) == "ACCES"
    assert guest("fd_filestat_set_times", files, 9, 9, 5) == "ACCES"
    assert guest("path_unlink_file", sub, *guest.path("j")) == "ACCES"
    journal = guest.open("j", fd=sub, rights=RIGHTS_READ)
    assert guest.read(journal, 99) == b"journal"
    assert guest("fd_filestat_set_times", journal, 9, 9, 5) == "ACCES"
    assert guest("fd_filestat_set_size", journal, 0) == "INVAL"
    assert everything(tmp_path) == before


def test_what_lies_above_it_keeps_its_name(guest: Guest, tmp_path: Path) -> None:
    """Else the guest would put another ``sub/j`` there. All else can be done as ever."""
    for path in ("sub", "sub/", "sub/../sub", "to-sub"):
        at = guest.path(path)
        assert guest("path_unlink_file", 3, *at) == "ACCES"
        assert guest("path_rename", 3, *at, 3, *guest.path("other", PATH2)) == "ACCES"
        assert guest("path_rename", 3, *guest.path("link", PATH2), 3, *at) == "ACCES"
    assert guest("path_remove_directory", 3, *guest.path("sub")) == "NOTEMPTY"
    assert guest("path_create_directory", 3, *guest.path("sub")) == "EXIST"
    assert guest("path_filestat_set_times", 3, 0, *guest.path("sub"), 9, 9, 5) == "SUCCESS"
    guest.make("sub/jj", b"mine")
    guest.rename("sub/jj", "sub/j.file")
    guest.unlink("sub/j.file")
    guest.rename("sub/x", "sub/y")
    guest.rename("mine", "sub/mine")
    assert sorted(guest.names("sub")) == [b"j", b"j.files", b"mine", b"y"]


def test_only_where_a_journal_lies(make_guest: MakeGuest, tmp_path: Path) -> None:
    """Names like a journal's are free in other mappings, and when nothing is saved."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "saves").mkdir()
    guest = make_guest(Mapping(str(tmp_path / "dir"), "/dir"))
    guest.make("j", b"1")
    guest.host.note_changes(tmp_path / "saves/j.files", sync=False)
    guest.make("j.files", b"2")
    guest.unlink("j")
    assert guest.names() == [b"j.files"]
    assert guest.stat("j.files").size == 1
    assert guest("path_filestat_get", 3, 0, *guest.path("j"), OUT) == "NOENT"
