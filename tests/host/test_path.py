"""path_*: what opening, linking, renaming and removing do, beyond what test_names.py's table says."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from .conftest import KINDS, MakeGuest
from .fakes import (
    DATA,
    DIRECTORY,
    OUT,
    PATH2,
    REGULAR,
    RIGHTS_READ,
    RIGHTS_WRITE,
    SYMLINK,
    Guest,
)

CREAT, O_DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
FOLLOW = 1
PATH_OPEN, CREATE_FILE, SET_SIZE = 1 << 13, 1 << 10, 1 << 19


def two(guest: Guest, name: str, old: str, new: str, fd: int = 3, to: int = 3) -> str:
    """path_rename or path_link."""
    flags = (0,) if name == "path_link" else ()
    return guest(name, fd, *flags, *guest.path(old), to, *guest.path(new, PATH2))


def one(guest: Guest, name: str, path: str | bytes, fd: int = 3) -> str:
    return guest(name, fd, *guest.path(path))


# -- path_open ----------------------------------------------------------------------------------


def test_creating_and_truncating(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT | EXCL)
    anywhere.write(fd, b"data")
    anywhere.open("f", oflags=CREAT)
    assert anywhere.content("f") == b"data"
    anywhere.open("f", oflags=TRUNC)
    assert anywhere.content("f") == b""
    assert anywhere.fd_stat(fd).size == 0, "the same file"
    anywhere.make_link("new", "link")
    anywhere.close(anywhere.open("link", oflags=CREAT))
    assert anywhere.names() == [b"f", b"link", b"new"]


def test_flags_that_do_not_go_together(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    assert anywhere.try_open("d", oflags=CREAT | O_DIRECTORY) == "INVAL"
    assert anywhere.try_open("d", oflags=TRUNC | O_DIRECTORY) == "INVAL"
    assert anywhere.try_open("f", oflags=16) == "INVAL"
    assert anywhere.try_open("f", fdflags=32) == "INVAL"
    assert anywhere("path_open", 3, 2, *anywhere.path("f"), 0, 2, 0, 0, OUT) == "INVAL"
    assert anywhere.try_open("f", fd=fd) == "NOTDIR"
    assert anywhere.try_open("f", fd=99) == "BADF"
    assert anywhere.names() == [b"f"]


@pytest.mark.parametrize("fdflags", range(32))
def test_every_fdflag_is_remembered(anywhere: Guest, fdflags: int) -> None:
    fd = anywhere.open("f", oflags=CREAT, fdflags=fdflags)
    assert anywhere("fd_fdstat_get", fd, OUT) == "SUCCESS"
    assert anywhere.memory.read(OUT, 4) == struct.pack("<BxH", REGULAR, fdflags)
    anywhere.write(fd, b"data")
    anywhere.seek(fd, 0)
    assert anywhere.read(fd, 9) == b"data"


def test_directories_open_with_any_rights_but_to_write(anywhere: Guest) -> None:
    anywhere.make_directory("d")
    for oflags in (0, O_DIRECTORY):
        for rights in (0, RIGHTS_READ, (1 << 30) - 1 & ~RIGHTS_WRITE):
            fd = anywhere.open("d", oflags=oflags, rights=rights)
            assert anywhere.fd_stat(fd).type == DIRECTORY
            anywhere.make("inside", fd=fd)
            assert one(anywhere, "path_unlink_file", "inside", fd) == "SUCCESS"
        assert anywhere.try_open("d", oflags=oflags, rights=RIGHTS_WRITE) == "ISDIR"
    anywhere.close(anywhere.open(".", rights=RIGHTS_READ, fdflags=4))  # NONBLOCK


def test_rights_that_the_directory_lacks(anywhere: Guest) -> None:
    anywhere.make("f")
    assert anywhere("fd_fdstat_get", 3, OUT) == "SUCCESS"
    base, inheriting = anywhere.memory.u64(OUT + 8), anywhere.memory.u64(OUT + 16)

    def without(base_right: int, inheriting_right: int = 0) -> int:
        fd = anywhere.open(".", rights=RIGHTS_READ)
        rights = base & ~base_right, inheriting & ~inheriting_right
        assert anywhere("fd_fdstat_set_rights", fd, *rights) == "SUCCESS"
        return fd

    assert anywhere.try_open("f", fd=without(PATH_OPEN)) == "NOTCAPABLE"
    fd = without(CREATE_FILE)
    assert anywhere.try_open("new", fd=fd, oflags=CREAT) == "NOTCAPABLE"
    assert anywhere.try_open("f", fd=fd) == "SUCCESS"
    fd = without(SET_SIZE)
    assert anywhere.try_open("f", fd=fd, oflags=TRUNC) == "NOTCAPABLE"
    assert anywhere.try_open("f", fd=fd) == "SUCCESS"
    fd = without(0, RIGHTS_WRITE)
    assert anywhere.try_open("f", fd=fd, rights=RIGHTS_WRITE) == "NOTCAPABLE"
    assert anywhere.try_open("f", fd=fd, rights=RIGHTS_READ) == "SUCCESS"
    assert anywhere.names() == [b"f"]


def test_each_function_needs_its_right(anywhere: Guest) -> None:
    anywhere.make("f")
    f, new = anywhere.path("f"), anywhere.path("new", PATH2)
    calls: dict[int, tuple[str, tuple[int, ...]]] = {
        9: ("path_create_directory", (3, *new)),
        11: ("path_link", (3, 0, *f, 3, *new)),
        12: ("path_link", (3, 0, *f, 3, *new)),
        15: ("path_readlink", (3, *f, DATA, 9, OUT)),
        16: ("path_rename", (3, *f, 3, *new)),
        17: ("path_rename", (3, *f, 3, *new)),
        18: ("path_filestat_get", (3, 0, *f, OUT)),
        20: ("path_filestat_set_times", (3, 0, *f, 0, 0, 0)),
        21: ("fd_filestat_get", (3, OUT)),
        23: ("fd_filestat_set_times", (3, 0, 0, 0)),
        14: ("fd_readdir", (3, DATA, 99, 0, OUT)),
        24: ("path_symlink", (*f, 3, *new)),
        25: ("path_remove_directory", (3, *f)),
        26: ("path_unlink_file", (3, *f)),
    }
    for bit, (name, arguments) in calls.items():
        anywhere.host.open_first()
        assert anywhere("fd_fdstat_get", 3, OUT) == "SUCCESS"
        base, inheriting = anywhere.memory.u64(OUT + 8), anywhere.memory.u64(OUT + 16)
        assert base & 1 << bit
        assert anywhere("fd_fdstat_set_rights", 3, base & ~(1 << bit), inheriting) == "SUCCESS"
        anywhere.path("f")
        anywhere.path("new", PATH2)
        assert anywhere(name, *arguments) == "NOTCAPABLE", name
    anywhere.host.open_first()
    assert anywhere.names() == [b"f"]


def test_a_bad_result_pointer_leaves_no_open_file(anywhere: Guest) -> None:
    at, n = anywhere.path("f")
    bad = anywhere.memory.size - 2
    assert anywhere("path_open", 3, 0, at, n, CREAT, 2, 0, 0, bad) == "FAULT"
    assert anywhere.open("g", oflags=CREAT) == 4


def test_dots_stay_inside(anywhere: Guest) -> None:
    anywhere.make_directory("a")
    anywhere.make_directory("a/b")
    for path in ("a/../f", "./a/b/../../f", "a//b/..//../f", ".//f", "a/b/./../../a/../f"):
        anywhere.close(anywhere.open(path, oflags=CREAT))
    assert anywhere.names() == [b"a", b"f"]
    for path in (".", "a/..", "a/b/../..", "./", "a/../.", "a/b/../../"):
        assert anywhere.names(path) == [b"a", b"f"]
        assert anywhere.stat(path).ino == anywhere.fd_stat(3).ino
    assert one(anywhere, "path_create_directory", "a/..") == "EXIST"
    assert one(anywhere, "path_create_directory", ".") == "EXIST"
    assert one(anywhere, "path_remove_directory", ".") == "INVAL"
    assert one(anywhere, "path_remove_directory", "a/b/.") == "INVAL"
    assert one(anywhere, "path_remove_directory", "a/..") == "NOTEMPTY"
    assert one(anywhere, "path_unlink_file", "a/..") == "ISDIR"
    assert one(anywhere, "path_unlink_file", ".") == "ISDIR"
    assert two(anywhere, "path_rename", "a/..", "z") == "BUSY"
    assert two(anywhere, "path_rename", ".", "z") == "BUSY"
    assert two(anywhere, "path_rename", "a", ".") == "BUSY"
    assert two(anywhere, "path_link", "a/..", "z") == "PERM"
    assert two(anywhere, "path_link", "f", "a/.") == "EXIST"
    assert anywhere.names() == [b"a", b"f"]


# -- links --------------------------------------------------------------------------------------


def test_symbolic_links_are_followed_wherever_they_stand(anywhere: Guest) -> None:
    anywhere.make_directory("d")
    anywhere.make_directory("d/e")
    anywhere.make("d/e/f", b"f")
    for target, path in (
        ("d/e/f", "file"),
        ("d", "dir"),
        ("d/e/", "slash"),
        ("../d/e", "d/up"),
        ("..", "d/e/above"),
        ("dir/up/f", "chain"),
        (".", "here"),
    ):
        anywhere.make_link(target, path)
    for path in (
        "file",
        "dir/e/f",
        "slash/f",
        "d/up/f",
        "dir/up/f",
        "chain",
        "here/here/chain",
        "d/e/above/e/above/up/f",
        "slash/above/../file",
        "dir/../chain",
    ):
        assert anywhere.content(path) == b"f", path
    assert anywhere.readlink("chain") == b"dir/up/f"
    assert anywhere.readlink("dir/e/above") == b".."
    assert anywhere.stat("chain").type == SYMLINK
    assert anywhere.stat("chain").size == len("dir/up/f")
    assert anywhere.stat("chain", follow=True) == anywhere.stat("d/e/f")
    assert anywhere.stat("dir/up/").type == DIRECTORY


def test_forty_links_in_a_row_and_no_more(anywhere: Guest) -> None:
    anywhere.make("0", b"end")
    for i in range(41):
        anywhere.make_link(str(i), str(i + 1))
    assert anywhere.content("40") == b"end"
    assert anywhere.try_open("41", rights=RIGHTS_READ) == "LOOP"


def test_readlink_cuts_off(anywhere: Guest) -> None:
    anywhere.make_link("some/target", "link")
    at = anywhere.path("link")
    for size in (0, 1, 10, 11, 12, 4096):
        expected = b"some/target"[:size]
        anywhere.memory.write(DATA, b"\xa5" * 4096)
        with anywhere.writes((DATA, expected), (OUT, struct.pack("<I", len(expected)))):
            assert anywhere("path_readlink", 3, *at, DATA, size, OUT) == "SUCCESS"


def test_targets_of_any_bytes_and_length(anywhere: Guest) -> None:
    for i, target in enumerate((b"\xff\xfe\n", b"x" * 4095, b"a/" * 100, b"..", b"///x"[3:])):
        anywhere.make_link(target, f"link{i}")
        assert anywhere.readlink(f"link{i}") == target
    at = anywhere.path("new", PATH2)
    for bad, expected in (("", "NOENT"), ("/abs", "PERM"), ("/", "PERM"), ("a\0b", "INVAL")):
        assert anywhere("path_symlink", *anywhere.path(bad), 3, *at) == expected
    assert anywhere("path_symlink", DATA, 4096, 3, *at) == "NAMETOOLONG"


def test_hard_links_are_the_same_file(anywhere: Guest) -> None:
    anywhere.make("f", b"one")
    anywhere.make_directory("d")
    sub = anywhere.open("d", rights=RIGHTS_READ)
    assert two(anywhere, "path_link", "f", "g", to=sub) == "SUCCESS"
    assert two(anywhere, "path_link", "d/g", "h") == "SUCCESS"
    assert anywhere.stat("f") == anywhere.stat("d/g") == anywhere.stat("h")
    assert anywhere.stat("f").nlink == 3
    fd = anywhere.open("h", rights=RIGHTS_WRITE)
    anywhere.write(fd, b"two")
    assert one(anywhere, "path_unlink_file", "f") == "SUCCESS"
    assert anywhere.content("d/g") == b"two"
    assert anywhere.fd_stat(fd).nlink == 2
    f, g = anywhere.path("h"), anywhere.path("i", PATH2)
    assert anywhere("path_link", 3, FOLLOW, *f, 3, *g) == "INVAL"
    assert anywhere("path_link", 3, 2, *f, 3, *g) == "INVAL"


def test_a_link_is_linked_and_not_followed(anywhere: Guest) -> None:
    anywhere.make("f", b"f")
    anywhere.make_link("f", "link")
    assert two(anywhere, "path_link", "link", "other") == "SUCCESS"
    assert anywhere.readlink("other") == b"f"
    assert anywhere.stat("link").nlink == 2


# -- renaming and removing ----------------------------------------------------------------------


def test_rename_replaces(anywhere: Guest) -> None:
    anywhere.make("f", b"f")
    anywhere.make("g", b"g")
    old = anywhere.open("g", rights=RIGHTS_READ)
    inode = anywhere.stat("f").ino
    assert two(anywhere, "path_rename", "f", "g") == "SUCCESS"
    assert anywhere.names() == [b"g"]
    assert anywhere.content("g") == b"f"
    assert anywhere.stat("g").ino == inode
    assert anywhere.read(old, 9) == b"g", "what was replaced is still open"
    assert anywhere.fd_stat(old).nlink == 0


def test_rename_between_directories(anywhere: Guest) -> None:
    anywhere.make_directory("a")
    anywhere.make_directory("a/b")
    anywhere.make("a/b/f", b"f")
    anywhere.make_directory("c")
    a, c = (anywhere.open(name, rights=RIGHTS_READ) for name in "ac")
    inside = anywhere.open("a/b", rights=RIGHTS_READ)
    assert two(anywhere, "path_rename", "b", "moved", fd=a, to=c) == "SUCCESS"
    assert anywhere.names("a") == []
    assert anywhere.content("c/moved/f") == b"f"
    assert anywhere.content("f", fd=inside) == b"f"
    anywhere.make("g", b"g", fd=inside)
    assert anywhere.names("c/moved") == [b"f", b"g"]


def test_rename_that_changes_nothing_or_cannot_be(anywhere: Guest) -> None:
    anywhere.make("f", b"f")
    assert two(anywhere, "path_link", "f", "g") == "SUCCESS"
    assert two(anywhere, "path_rename", "f", "f") == "SUCCESS"
    assert two(anywhere, "path_rename", "f", "g") == "SUCCESS"
    assert anywhere.names() == [b"f", b"g"], "two names of one file both stay"
    anywhere.make_directory("d")
    anywhere.make_directory("d/e")
    assert two(anywhere, "path_rename", "d", "d") == "SUCCESS"
    for new in ("d/x", "d/e/x"):
        assert two(anywhere, "path_rename", "d", new) == "INVAL"
    assert two(anywhere, "path_rename", "d", "d/e") in ("INVAL", "NOTEMPTY")
    assert two(anywhere, "path_rename", "d/e", "d") == "NOTEMPTY"


def test_a_directory_that_is_gone_but_open(anywhere: Guest) -> None:
    anywhere.make_directory("d")
    fd = anywhere.open("d", rights=RIGHTS_READ)
    assert one(anywhere, "path_remove_directory", "d") == "SUCCESS"
    assert anywhere.try_open("f", fd=fd, oflags=CREAT) == "NOENT"
    assert one(anywhere, "path_create_directory", "e", fd) == "NOENT"
    assert anywhere.fd_stat(fd).type == DIRECTORY
    anywhere.make_directory("d")
    assert anywhere.stat("d").ino != anywhere.fd_stat(fd).ino


def test_a_file_that_is_gone_but_open(anywhere: Guest) -> None:
    fd = anywhere.open("f", oflags=CREAT)
    other = anywhere.open("f")
    assert one(anywhere, "path_unlink_file", "f") == "SUCCESS"
    anywhere.write(fd, b"still there")
    assert anywhere.read(other, 99) == b"still there"
    assert anywhere.fd_stat(fd).nlink == 0
    anywhere.make("f", b"another")
    assert anywhere.fd_stat(fd).ino != anywhere.stat("f").ino


# -- attributes ---------------------------------------------------------------------------------


def test_link_counts_sizes_and_types(anywhere: Guest) -> None:
    anywhere.make("f", b"12345")
    anywhere.make_directory("d")
    anywhere.make_link("f", "l")
    f, d, link = (anywhere.stat(name) for name in "fdl")
    assert (f.type, f.nlink, f.size) == (REGULAR, 1, 5)
    assert d.type == DIRECTORY
    assert (link.type, link.nlink, link.size) == (SYMLINK, 1, 1)
    assert f.dev == d.dev == link.dev == anywhere.fd_stat(3).dev
    assert len({f.ino, d.ino, link.ino, anywhere.fd_stat(3).ino}) == 4


def test_times_by_path(anywhere: Guest) -> None:
    def set_times(flags: int, path: str, access: int, modification: int, which: int) -> str:
        at = anywhere.path(path)
        return anywhere("path_filestat_set_times", 3, flags, *at, access, modification, which)

    def times(path: str) -> tuple[int, int]:
        return anywhere.stat(path)[5:7]

    anywhere.make("f")
    anywhere.make_link("f", "link")
    assert set_times(FOLLOW, "link", 5, 6, 1 | 4) == "SUCCESS"
    assert times("f") == (5, 6)
    assert set_times(0, "link", 7, 8, 1 | 4) == "SUCCESS"
    assert times("f") == (5, 6)
    assert times("link") == (7, 8)
    assert set_times(FOLLOW, "link", 9, 10, 4) == "SUCCESS"
    assert times("f") == (5, 10)
    assert set_times(FOLLOW, "link", 11, 12, 0) == "SUCCESS"
    assert times("f") == (5, 10)
    assert set_times(FOLLOW, "link", 0, 0, 2) == "SUCCESS"
    assert times("f")[0] > 1 << 60
    assert times("f")[1] == 10
    for bad in (1 | 2, 4 | 8, 16, 0xFFFF):
        assert set_times(0, "link", 7, 8, bad) == "INVAL"
    assert set_times(2, "link", 7, 8, 1) == "INVAL"
    assert anywhere("path_filestat_get", 3, 2, *anywhere.path("link"), OUT) == "INVAL"
    assert set_times(FOLLOW, ".", 7, 8, 4) == "SUCCESS"
    assert anywhere.fd_stat(3).mtim == 8
    with_ns = 1_234_567_890_123_456_789
    assert set_times(0, "f", with_ns, with_ns + 1, 1 | 4) == "SUCCESS"
    assert times("f") == (with_ns, with_ns + 1)


def test_changes_are_seen_in_the_times(anywhere: Guest) -> None:
    def old(path: str) -> None:
        at = anywhere.path(path)
        assert anywhere("path_filestat_set_times", 3, 0, *at, 1, 1, 1 | 4) == "SUCCESS"

    fd = anywhere.open("f", oflags=CREAT)
    old("f")
    anywhere.write(fd, b"x")
    assert anywhere.stat("f").mtim > 1
    old("f")
    assert anywhere("fd_filestat_set_size", fd, 9) == "SUCCESS"
    assert anywhere.stat("f").mtim > 1
    anywhere.make_directory("d")
    for change in ("path_create_directory", "path_remove_directory"):
        old("d")
        assert one(anywhere, change, "d/e") == "SUCCESS"
        assert anywhere.stat("d").mtim > 1


NAMES_OF_BYTES = [b"a b", b"new\nline", b"\xff\xfe", "Действие".encode(), b"-", b"*", b"...", b"\\"]


@pytest.mark.parametrize("name", [*NAMES_OF_BYTES, b"n" * 255, b"\x01\x7f\x80", b" "])
def test_names_are_bytes(anywhere: Guest, name: bytes) -> None:
    anywhere.make(name, name)
    assert anywhere.names() == [name]
    assert anywhere.content(name) == name
    assert one(anywhere, "path_create_directory", b"d") == "SUCCESS"
    new = anywhere.path(b"d/" + name, PATH2)
    assert anywhere("path_rename", 3, *anywhere.path(name), 3, *new) == "SUCCESS"
    anywhere.make_link(b"d/" + name, name)
    assert anywhere.readlink(name) == b"d/" + name
    assert anywhere.content(name) == name
    assert one(anywhere, "path_unlink_file", name) == "SUCCESS"
    assert anywhere.names() == [b"d"]


# -- read-only mappings, several mappings -------------------------------------------------------


def test_read_only_mappings_cannot_be_changed(
    kind: str, make_guest: MakeGuest, tmp_path: Path
) -> None:
    """By no call; and reading is as anywhere else."""
    if kind == "tmp":
        pytest.skip("there would be nothing in it")
    ro, rw = tmp_path / "ro", tmp_path / "rw"
    (ro / "d").mkdir(parents=True)
    rw.mkdir()
    (ro / "f").write_text("same")
    (ro / "link").symlink_to("f")
    (rw / "f").write_text("rw")
    for path in (ro / "f", ro / "d", ro / "link", ro):
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    before = {p: (p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in (ro, *ro.rglob("*"))}
    guest = make_guest(KINDS[kind](ro, "/ro", True), KINDS[kind](rw, "/rw", False))
    fd = guest.open("f", rights=RIGHTS_READ)
    sub = guest.open("d", rights=RIGHTS_READ)
    assert guest.read(fd, 9) == b"same"
    assert guest.content("link") == b"same"
    assert guest.names() == [b"d", b"f", b"link"]
    for rights in (RIGHTS_WRITE, RIGHTS_READ | RIGHTS_WRITE):
        for oflags in (0, CREAT, TRUNC, CREAT | TRUNC):
            for name in ("f", "link", "new"):
                assert guest.try_open(name, rights=rights, oflags=oflags) in ("ROFS", "NOENT")
    for name in ("f", "link"):
        assert guest.try_open(name, rights=RIGHTS_READ, oflags=TRUNC) == "ROFS"
        assert guest.try_open(name, rights=RIGHTS_READ, oflags=CREAT) == "SUCCESS"
        assert guest.try_open(name, rights=RIGHTS_READ, oflags=CREAT | EXCL) == "EXIST"
    for at in (3, sub):
        assert guest.try_open("new", fd=at, rights=RIGHTS_READ, oflags=CREAT) == "ROFS"
        assert guest.try_open("new", fd=at, rights=0, oflags=CREAT | EXCL) == "ROFS"
        assert guest("fd_filestat_set_times", at, 0, 0, 2) == "ROFS"
        assert guest("path_symlink", *guest.path("f"), at, *guest.path("g", PATH2)) == "ROFS"
    for name in ("n", "d", "f"):
        assert one(guest, "path_create_directory", name) == "ROFS"
        assert one(guest, "path_remove_directory", name) == "ROFS"
        assert one(guest, "path_unlink_file", name) == "ROFS"
        for flags in (0, FOLLOW):
            at, n = guest.path(name)
            assert guest("path_filestat_set_times", 3, flags, at, n, 0, 0, 2) == "ROFS"
        for to in (3, 4):
            assert two(guest, "path_rename", name, "g", to=to) == "ROFS"
            assert two(guest, "path_link", name, "g", to=to) == "ROFS"
            assert two(guest, "path_rename", "f", name, fd=to) == "ROFS"
            assert two(guest, "path_link", "f", name, fd=to) == "ROFS"
    assert guest("fd_filestat_set_times", fd, 0, 0, 2) == "ROFS"
    assert guest("fd_filestat_set_size", fd, 0) == "INVAL"
    assert guest("fd_allocate", fd, 0, 100) == "BADF"
    assert guest("fd_write", fd, *guest.iovs(1), OUT) == "BADF"
    assert guest("fd_pwrite", fd, *guest.iovs(1), 0, OUT) == "BADF"
    assert guest("fd_fdstat_set_flags", fd, 1) == "SUCCESS"
    assert guest("fd_write", fd, *guest.iovs(1), OUT) == "BADF"
    after = {p: (p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in (ro, *ro.rglob("*"))}
    assert after == before
    assert (ro / "f").read_text() == "same"
    assert (rw / "f").read_text() == "rw"
