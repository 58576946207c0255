"""path_*: names, links, trailing slashes, odd bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasnap.host import Mapping
from wasnap.host.config import Kind

from .conftest import MakeGuest
from .fakes import DATA, OUT, PATH2, RIGHTS_READ, RIGHTS_WRITE, Guest
from .inside import Inside

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8

pytestmark = pytest.mark.usefixtures("resolution")


def two(guest: Guest, name: str, old: str, new: str) -> str:
    """path_rename or path_link within descriptor 3."""
    flags = (0,) if name == "path_link" else ()
    return guest(name, 3, *flags, *guest.path(old), 3, *guest.path(new, PATH2))


def one(guest: Guest, name: str, path: str | bytes) -> str:
    return guest(name, 3, *guest.path(path))


def symlink(guest: Guest, target: str, path: str) -> str:
    return guest("path_symlink", *guest.path(target), 3, *guest.path(path, PATH2))


def test_open_flags(guest: Guest, inside: Inside) -> None:
    assert guest.try_open("f") == "NOENT"
    fd = guest.open("f", oflags=CREAT | EXCL)
    guest.write(fd, b"data")
    assert guest.try_open("f", oflags=CREAT | EXCL) == "EXIST"
    assert guest.try_open("f", oflags=DIRECTORY, rights=2) == "NOTDIR"
    guest.open("f", oflags=CREAT)
    assert inside.read("f") == b"data"
    guest.open("f", oflags=TRUNC)
    assert inside.read("f") == b""
    assert guest.try_open("f", oflags=CREAT | DIRECTORY) == "INVAL"
    assert guest.try_open("f", oflags=16) == "INVAL"
    assert guest.try_open("f", fdflags=32) == "INVAL"
    assert guest.try_open("f", fd=fd) == "NOTDIR"
    assert guest.try_open("f", fd=99) == "BADF"
    assert guest.try_open("") == "NOENT"
    assert guest.try_open("f\0") == "INVAL"
    assert guest.try_open("x" * 300) == "NAMETOOLONG"


def test_directories(guest: Guest, inside: Inside) -> None:
    assert one(guest, "path_create_directory", "d") == "SUCCESS"
    assert one(guest, "path_create_directory", "d") == "EXIST"
    assert one(guest, "path_create_directory", "e/") == "SUCCESS"
    assert one(guest, "path_create_directory", "x/y") == "NOENT"
    assert guest.try_open("d", rights=RIGHTS_WRITE) == "ISDIR"
    assert guest.try_open("d/", oflags=CREAT, rights=RIGHTS_READ) in ("ISDIR", "SUCCESS")
    fd = guest.open("d", rights=RIGHTS_READ, oflags=DIRECTORY)
    guest.open("inside", fd=fd, oflags=CREAT)
    assert inside.exists("d/inside")
    assert one(guest, "path_remove_directory", "d") == "NOTEMPTY"
    assert one(guest, "path_unlink_file", "d/inside") == "SUCCESS"
    assert one(guest, "path_unlink_file", "d") == "ISDIR"
    assert one(guest, "path_remove_directory", "d/") == "SUCCESS"
    assert one(guest, "path_remove_directory", "e") == "SUCCESS"
    assert inside.names() == []


def test_dots_stay_inside(guest: Guest, inside: Inside) -> None:
    inside.mkdir("a/b")
    for path in ("a/../f", "./a/b/../../f", "a//b/..//../f", ".//f"):
        assert guest("fd_close", guest.open(path, oflags=CREAT)) == "SUCCESS"
    assert inside.names() == [b"a", b"f"]
    for path in (".", "a/..", "a/b/../.."):
        fd = guest.open(path, rights=RIGHTS_READ)
        assert [n for _, n in guest.readdir(fd)] == [b".", b"..", b"a", b"f"]
    assert one(guest, "path_create_directory", "a/..") == "EXIST"
    assert one(guest, "path_create_directory", ".") == "EXIST"
    assert one(guest, "path_remove_directory", ".") == "INVAL"
    assert one(guest, "path_remove_directory", "a/..") == "NOTEMPTY"
    assert one(guest, "path_unlink_file", "a/..") == "ISDIR"
    assert two(guest, "path_rename", "a/..", "z") == "BUSY"
    assert two(guest, "path_link", "a/..", "z") == "PERM"
    assert guest("path_filestat_get", 3, 0, *guest.path("a/.."), OUT) == "SUCCESS"
    assert guest.memory.u64(OUT + 8) == inside.stat().st_ino


def test_trailing_slashes(guest: Guest, inside: Inside) -> None:
    inside.write("f", b"f")
    inside.mkdir("d")
    assert guest.try_open("f/") == "NOTDIR"
    assert guest.try_open("f///") == "NOTDIR"
    assert guest.try_open("new/", oflags=CREAT) == "ISDIR"
    assert guest("fd_close", guest.open("d///", rights=RIGHTS_READ)) == "SUCCESS"
    assert one(guest, "path_unlink_file", "f/") == "NOTDIR"
    assert one(guest, "path_unlink_file", "d/") == "ISDIR"
    assert one(guest, "path_remove_directory", "f/") == "NOTDIR"
    assert guest("path_filestat_get", 3, 0, *guest.path("f/"), OUT) == "NOTDIR"
    assert guest("path_filestat_get", 3, 0, *guest.path("d/"), OUT) == "SUCCESS"
    assert guest("path_readlink", 3, *guest.path("d/"), DATA, 9, OUT) == "INVAL"
    assert symlink(guest, "t", "new/") == "NOENT"
    assert symlink(guest, "t", "d/") == "EXIST"
    assert symlink(guest, "t", "f/") == "NOTDIR"
    assert two(guest, "path_link", "f", "new/") == "NOENT"
    assert two(guest, "path_link", "f", "f/") == "NOTDIR"
    assert two(guest, "path_link", "f", "d/") == "EXIST"
    assert two(guest, "path_link", "f/", "new") == "NOTDIR"
    assert two(guest, "path_rename", "f", "new/") == "NOTDIR"
    assert two(guest, "path_rename", "f/", "new") == "NOTDIR"
    assert two(guest, "path_rename", "d/", "e/") == "SUCCESS"
    assert inside.names() == [b"e", b"f"]


def test_symbolic_links(guest: Guest, inside: Inside) -> None:
    inside.mkdir("d")
    inside.write("d/f", b"f")
    assert symlink(guest, "d/f", "link") == "SUCCESS"
    assert symlink(guest, "d", "dirlink") == "SUCCESS"
    assert symlink(guest, "d", "link") == "EXIST"
    assert guest.read(guest.open("link"), 9) == b"f"
    assert guest.read(guest.open("dirlink/f"), 9) == b"f"
    assert guest.try_open("link", follow=False) == "LOOP"
    assert guest.try_open("link", follow=False, oflags=CREAT | EXCL) == "EXIST"
    assert guest.try_open("dirlink", follow=False, oflags=DIRECTORY, rights=2) in ("LOOP", "NOTDIR")
    assert guest("path_filestat_get", 3, 0, *guest.path("link"), OUT) == "SUCCESS"
    assert guest.memory.u8(OUT + 16) == 7
    assert guest("path_filestat_get", 3, 1, *guest.path("link"), OUT) == "SUCCESS"
    assert guest.memory.u8(OUT + 16) == 4
    assert guest("path_filestat_get", 3, 0, *guest.path("dirlink/"), OUT) == "SUCCESS"
    assert guest.memory.u8(OUT + 16) == 3
    at = guest.path("link")
    with guest.writes((DATA, b"d/f"), (OUT, b"\3\0\0\0")):
        assert guest("path_readlink", 3, *at, DATA, 10, OUT) == "SUCCESS"
    assert guest("path_readlink", 3, *guest.path("link"), DATA, 2, OUT) == "SUCCESS"
    assert guest.memory.u32(OUT) == 2
    assert guest("path_readlink", 3, *guest.path("d/f"), DATA, 2, OUT) == "INVAL"
    assert one(guest, "path_remove_directory", "dirlink/") == "NOTDIR"
    assert one(guest, "path_unlink_file", "dirlink") == "SUCCESS"


def test_dangling_links_and_loops(guest: Guest, inside: Inside) -> None:
    assert symlink(guest, "nowhere", "dangling") == "SUCCESS"
    assert symlink(guest, "loop", "loop") == "SUCCESS"
    assert guest.try_open("dangling") == "NOENT"
    assert guest.try_open("loop") == "LOOP"
    assert guest("path_filestat_get", 3, 1, *guest.path("loop"), OUT) == "LOOP"
    assert guest("path_filestat_get", 3, 0, *guest.path("loop"), OUT) == "SUCCESS"
    assert two(guest, "path_link", "loop", "loop2") == "SUCCESS"
    assert two(guest, "path_link", "loop", "dangling") == "EXIST"
    guest.open("dangling", oflags=CREAT)
    assert inside.exists("nowhere")


def test_links_and_renames(guest: Guest, inside: Inside) -> None:
    inside.write("f", b"f")
    inside.mkdir("d")
    inside.mkdir("full")
    inside.write("full/x")
    assert two(guest, "path_link", "f", "g") == "SUCCESS"
    assert inside.stat("f").st_nlink == 2
    assert two(guest, "path_link", "f", "g") == "EXIST"
    assert two(guest, "path_link", "d", "h") == "PERM"
    at, new = guest.path("f"), guest.path("h", PATH2)
    assert guest("path_link", 3, 1, *at, 3, *new) == "INVAL"
    assert two(guest, "path_rename", "f", "d") == "ISDIR"
    assert two(guest, "path_rename", "d", "f") == "NOTDIR"
    assert two(guest, "path_rename", "d", "full") == "NOTEMPTY"
    assert two(guest, "path_rename", "full", "full/x2") == "INVAL"
    assert two(guest, "path_rename", "nothing", "d") == "NOENT"
    assert two(guest, "path_rename", "full", "d") == "SUCCESS"
    assert two(guest, "path_rename", "f", "d/x") == "SUCCESS"
    assert inside.read("d/x") == b"f"


def test_times_by_path(guest: Guest, inside: Inside) -> None:
    inside.write("f")
    inside.symlink("f", "link")
    at = guest.path("link")
    assert guest("path_filestat_set_times", 3, 1, *at, 5, 6, 1 | 4) == "SUCCESS"
    assert inside.stat("f").st_mtime_ns == 6
    assert guest("path_filestat_set_times", 3, 0, *at, 7, 8, 1 | 4) == "SUCCESS"
    assert inside.stat("f").st_mtime_ns == 6
    assert inside.stat("link", follow=False).st_mtime_ns == 8
    assert guest("path_filestat_set_times", 3, 0, *at, 7, 8, 3) == "INVAL"
    assert guest("path_filestat_set_times", 3, 1, *guest.path("."), 7, 8, 4) == "SUCCESS"
    assert inside.stat().st_mtime_ns == 8


@pytest.mark.parametrize(
    "name", [b"a b", b"new\nline", b"\xff\xfe", "Действие".encode(), b"-", b"*"]
)
def test_names_are_bytes(guest: Guest, inside: Inside, name: bytes) -> None:
    guest.open(name, oflags=CREAT)
    assert inside.names() == [name]
    assert [n for _, n in guest.readdir(3)] == [b".", b"..", name]
    assert guest("path_unlink_file", 3, *guest.path(name)) == "SUCCESS"


def test_a_bad_result_pointer_leaves_no_open_file(guest: Guest) -> None:
    at, n = guest.path("f")
    bad = guest.memory.size - 2
    assert guest("path_open", 3, 0, at, n, CREAT, 2, 0, 0, bad) == "FAULT"
    assert guest.open("g", oflags=CREAT) == 4


@pytest.mark.parametrize("kind", ["dir", "overlay"])
def test_read_only_mappings_cannot_be_changed(
    make_guest: MakeGuest, tmp_path: Path, kind: Kind
) -> None:
    ro, rw = tmp_path / "ro", tmp_path / "rw"
    ro.mkdir()
    rw.mkdir()
    (ro / "f").write_text("same")
    (ro / "d").mkdir()
    os.utime(ro / "f", ns=(1, 1))
    guest = make_guest(Mapping(str(ro), "/ro", True, kind), Mapping(str(rw), "/rw", False, kind))
    (rw / "f").write_text("rw")
    fd = guest.open("f", rights=RIGHTS_READ)
    sub = guest.open("d", rights=RIGHTS_READ)
    assert guest.read(fd, 9) == b"same"
    assert guest.try_open("f", rights=RIGHTS_WRITE) == "ROFS"
    assert guest.try_open("f", rights=RIGHTS_READ, oflags=TRUNC) == "ROFS"
    assert guest.try_open("new", rights=RIGHTS_READ, oflags=CREAT) == "ROFS"
    assert guest.try_open("new", fd=sub, rights=RIGHTS_READ, oflags=CREAT) == "ROFS"
    assert guest.try_open("f", rights=RIGHTS_READ, oflags=CREAT) == "SUCCESS"
    assert guest.try_open("f", rights=RIGHTS_READ, oflags=CREAT | EXCL) == "EXIST"
    assert one(guest, "path_create_directory", "n") == "ROFS"
    assert one(guest, "path_remove_directory", "d") == "ROFS"
    assert one(guest, "path_unlink_file", "f") == "ROFS"
    assert two(guest, "path_rename", "f", "g") == "ROFS"
    assert two(guest, "path_link", "f", "g") == "ROFS"
    assert symlink(guest, "f", "g") == "ROFS"
    assert guest("path_filestat_set_times", 3, 0, *guest.path("f"), 0, 0, 2) == "ROFS"
    assert guest("fd_filestat_set_times", fd, 0, 0, 2) == "ROFS"
    assert guest("fd_filestat_set_times", sub, 0, 0, 2) == "ROFS"
    assert guest("fd_filestat_set_size", fd, 0) == "INVAL"
    assert guest("fd_allocate", fd, 0, 100) == "BADF"
    f, g = guest.path("f"), guest.path("g", PATH2)
    assert guest("path_rename", 3, *f, 4, *g) == "ROFS"
    assert guest("path_rename", 4, *f, 3, *g) == "ROFS"
    assert guest("path_link", 3, 0, *f, 4, *g) == "ROFS"
    assert guest("path_link", 4, 0, *f, 3, *g) == "ROFS"
    assert sorted(os.listdir(ro)) == ["d", "f"]
    assert (ro / "f").read_text() == "same"
    assert (ro / "f").stat().st_mtime_ns == 1
