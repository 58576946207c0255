"""Attacks: nothing outside the mapped directory can be read, changed, or told about."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from .conftest import KINDS, MakeGuest
from .fakes import DATA, OUT, PATH2, RIGHTS_READ, Guest

CREAT = 1

ESCAPES = [
    "../secret",
    "..",
    "/etc/passwd",
    "/",
    "a/../../secret",
    "./../secret",
    "a/b/../../../secret",
    "up/secret",
    "up",
    "up/",
    "deep/up2/secret",
    "abs",
    "abs/passwd",
    "chain/secret",
    "tolink",
]


@pytest.fixture
def trap(kind: str, make_guest: MakeGuest, tmp_path: Path) -> Guest:
    """A directory full of links that lead out."""
    if kind == "tmp":
        pytest.skip("there is nothing behind it")
    inside = tmp_path / "dir"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    guest = make_guest(KINDS[kind](inside, "/dir", False))
    (inside / "a/b").mkdir(parents=True)
    (inside / "deep").mkdir()
    os.symlink("..", inside / "up")
    os.symlink("../..", inside / "deep/up2")
    os.symlink("/etc", inside / "abs")
    os.symlink("deep/up2", inside / "chain")
    os.symlink("../secret", inside / "tolink")
    os.symlink("../created", inside / "dangling")
    return guest


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out(trap: Guest, tmp_path: Path, path: str) -> None:
    before = {p: p.lstat() for p in tmp_path.rglob("*")}
    at = trap.path(path)
    for oflags in (0, CREAT, 2, 8):
        result = trap.try_open(path, oflags=oflags, rights=RIGHTS_READ)
        assert result == "PERM" or (path == "up/" and oflags == CREAT and result == "ISDIR")
    assert trap("path_filestat_get", 3, 1, *at, OUT) == "PERM"
    assert trap("path_filestat_set_times", 3, 1, *at, 0, 0, 1 | 4) == "PERM"
    for name in ("path_create_directory", "path_remove_directory", "path_unlink_file"):
        if path in ("up", "abs", "tolink", "up/", "chain"):
            continue  # the link itself is named here, which lies inside
        assert trap(name, 3, *at) == "PERM", name
    if path not in ("up", "abs", "tolink", "up/"):
        other = trap.path("mine", PATH2)
        assert trap("path_rename", 3, *at, 3, *other) == "PERM"
        assert trap("path_link", 3, 0, *at, 3, *other) == "PERM"
        assert trap("path_symlink", *other, 3, *at) == "PERM"
        mine = trap.path("a", PATH2)
        assert trap("path_rename", 3, *mine, 3, *at) == "PERM"
        assert trap("path_readlink", 3, *at, DATA, 99, OUT) == "PERM"
    after = {p: p.lstat() for p in tmp_path.rglob("*")}
    assert {p: s.st_mtime_ns for p, s in after.items()} == {
        p: s.st_mtime_ns for p, s in before.items()
    }


def test_links_that_lead_out_are_not_followed_by_a_trailing_slash(
    trap: Guest, tmp_path: Path
) -> None:
    os.utime(tmp_path, ns=(1, 1))
    at = trap.path("up/")
    assert trap("path_filestat_get", 3, 0, *at, OUT) == "PERM"
    assert trap("path_filestat_set_times", 3, 0, *at, 9, 9, 5) == "PERM"
    assert trap("path_readlink", 3, *at, DATA, 99, OUT) == "PERM"
    assert trap("path_link", 3, 0, *at, 3, *trap.path("mine", PATH2)) == "PERM"
    assert trap("path_remove_directory", 3, *at) == "NOTDIR"
    assert trap("path_unlink_file", 3, *at) == "NOTDIR"
    assert trap("path_create_directory", 3, *at) == "EXIST"
    assert trap("path_rename", 3, *at, 3, *trap.path("mine", PATH2)) == "NOTDIR"
    assert tmp_path.stat().st_mtime_ns == 1


def test_creating_through_a_dangling_link_creates_nothing_outside(
    trap: Guest, tmp_path: Path
) -> None:
    assert trap.try_open("dangling", oflags=CREAT) == "PERM"
    assert trap.try_open("dangling", oflags=CREAT, follow=False) == "LOOP"
    assert not (tmp_path / "created").exists()


def test_absolute_links_are_neither_made_nor_told(trap: Guest, tmp_path: Path) -> None:
    target, path = trap.path("/etc"), trap.path("new", PATH2)
    assert trap("path_symlink", *target, 3, *path) == "PERM"
    at = trap.path("abs")
    with trap.writes():
        assert trap("path_readlink", 3, *at, DATA, 99, OUT) == "PERM"


def test_a_subdirectory_is_a_sandbox_of_its_own(trap: Guest) -> None:
    fd = trap.open("a", rights=RIGHTS_READ)
    assert trap.try_open("../a", fd=fd, rights=RIGHTS_READ) == "PERM"
    assert trap.try_open("b/../b", fd=fd, rights=RIGHTS_READ) == "SUCCESS"


@pytest.mark.parametrize("kind", ["dir", "dir by walk"], indirect=True)
def test_a_directory_moved_out_does_not_open_the_way_up(trap: Guest, tmp_path: Path) -> None:
    fd = trap.open("a", rights=RIGHTS_READ)
    os.rename(tmp_path / "dir/a", tmp_path / "outside")
    assert trap.try_open("../secret", fd=fd, rights=RIGHTS_READ) == "PERM"
    assert trap.try_open("b/../../secret", fd=fd, rights=RIGHTS_READ) == "PERM"


def test_dotdot_of_the_root_tells_nothing_of_its_parent(trap: Guest, tmp_path: Path) -> None:
    assert trap("fd_readdir", 3, DATA, 100, 0, OUT) == "SUCCESS"
    inode, above = trap.memory.u64(DATA + 8), trap.memory.u64(DATA + 25 + 8)
    assert inode == above != os.stat(tmp_path).st_ino


def test_links_swapped_while_we_look(trap: Guest, tmp_path: Path) -> None:
    """Another process turns a directory into a link to the outside and back, all the time."""
    inside = tmp_path / "dir"
    (inside / "swap").mkdir()
    (inside / "swap/secret").write_text("harmless")
    os.symlink("..", inside / "evil")
    done = threading.Event()

    def attack() -> None:
        while not done.is_set():
            os.rename(inside / "swap", inside / "aside")
            os.rename(inside / "evil", inside / "swap")
            os.rename(inside / "swap", inside / "evil")
            os.rename(inside / "aside", inside / "swap")

    attacker = threading.Thread(target=attack)
    attacker.start()
    results: dict[str, int] = {}
    try:
        for _ in range(1500):
            result = trap.try_open("swap/secret", rights=RIGHTS_READ)
            results[result] = results.get(result, 0) + 1
            if result == "SUCCESS":
                fd = trap.memory.u32(OUT)
                assert trap.read(fd, 20) == b"harmless"
                assert trap("fd_close", fd) == "SUCCESS"
            assert trap("path_unlink_file", 3, *trap.path("swap/absent")) != "SUCCESS"
    finally:
        done.set()
        attacker.join()
    assert set(results) <= {"SUCCESS", "PERM", "NOENT", "NOTDIR", "LOOP"}
    assert (tmp_path / "secret").read_text() == "secret"
