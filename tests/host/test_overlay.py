"""Overlays: the lower directory is never written, and what was seen of it stays as it was seen."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wasnap.errors import CannotResume, MissingFile
from wasnap.host import Mapping

from .conftest import MakeGuest
from .fakes import OUT, PATH2, RIGHTS_READ, RIGHTS_WRITE, Guest
from .saving import restore, saved

CREAT, TRUNC = 1, 8
State = dict[str, tuple[object, ...]]


def state_of(path: Path) -> State:
    """All that can be seen of a directory from outside."""
    found: State = {}
    for each in sorted(path.rglob("*")):
        status = each.lstat()
        content = each.read_bytes() if each.is_file() and not each.is_symlink() else b""
        found[str(each)] = (status.st_ino, status.st_nlink, status.st_mtime_ns, content)
    return found


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A host directory with a little of everything."""
    top = tmp_path / "lower"
    (top / "d/e").mkdir(parents=True)
    (top / "f").write_text("f of the lower")
    (top / "d/g").write_text("g")
    (top / "d/e/h").write_text("h")
    (top / "link").symlink_to("d/g")
    os.link(top / "f", top / "d/f2")
    return top


@pytest.fixture
def unchanged(lower: Path) -> Callable[[], bool]:
    """Whether the lower directory is as it was at first."""
    before = state_of(lower)
    return lambda: state_of(lower) == before


@pytest.fixture
def guest(make_guest: MakeGuest, lower: Path) -> Guest:
    return make_guest(Mapping.overlay(str(lower), "/dir"))


def resumed(make_guest: MakeGuest, lower: Path, guest: Guest) -> Guest:
    fresh = make_guest(Mapping.overlay(str(lower), "/dir"))
    restore(fresh, saved(guest))
    return fresh


def test_it_looks_like_the_directory_below(guest: Guest, unchanged: Callable[[], bool]) -> None:
    assert guest.names() == [b"d", b"f", b"link"]
    assert guest.names("d") == [b"e", b"f2", b"g"]
    assert guest.content("f") == b"f of the lower"
    assert guest.content("link") == b"g"
    assert guest.content("d/e/h") == b"h"
    assert guest.readlink("link") == b"d/g"
    assert guest.stat("f").size == 14
    assert guest.stat("f") == guest.stat("d/f2"), "two names of one file"
    assert guest.stat("f").nlink == 2
    assert guest.try_open("none") == "NOENT"
    assert unchanged()


def test_nothing_is_written_below(guest: Guest, unchanged: Callable[[], bool]) -> None:
    fd = guest.open("f")
    guest.write(fd, b"CHANGED")
    assert guest.content("d/f2") == b"CHANGEDe lower", "through its other name"
    guest.make("new", b"new")
    guest.make_directory("d/n")
    guest.open("d/g", oflags=TRUNC)
    assert guest.content("link") == b""
    guest.rename("d/e/h", "moved")
    assert guest.content("moved") == b"h"
    guest.unlink("link")
    assert guest("path_filestat_set_times", 3, 1, *guest.path("d"), 5, 6, 5) == "SUCCESS"
    assert guest("path_remove_directory", 3, *guest.path("d/e")) == "SUCCESS"
    assert guest.names() == [b"d", b"f", b"moved", b"new"]
    assert guest.names("d") == [b"f2", b"g", b"n"]
    assert unchanged()


def test_directories_can_be_renamed_unread(guest: Guest, unchanged: Callable[[], bool]) -> None:
    guest.rename("d", "x")
    assert guest.try_open("d", rights=RIGHTS_READ) == "NOENT"
    assert guest.content("x/e/h") == b"h"
    assert guest.try_open("link", rights=RIGHTS_READ) == "NOENT", "it leads to the old name"
    guest.make_directory("d")
    assert guest.names("d") == [], "a new one is empty, whatever lies below"
    assert guest.names("x") == [b"e", b"f2", b"g"]
    assert unchanged()


def test_removed_names_can_be_used_again(guest: Guest, unchanged: Callable[[], bool]) -> None:
    guest.unlink("f")
    assert guest.try_open("f") == "NOENT"
    assert guest.stat("d/f2").nlink == 1
    guest.make("f", b"another")
    assert guest.content("f") == b"another"
    assert guest.stat("f").ino != guest.stat("d/f2").ino
    for name in ("e/h", "g", "f2"):
        guest.unlink(f"d/{name}")
    assert guest("path_remove_directory", 3, *guest.path("d")) == "NOTEMPTY"
    assert guest("path_remove_directory", 3, *guest.path("d/e")) == "SUCCESS"
    assert guest("path_remove_directory", 3, *guest.path("d")) == "SUCCESS"
    guest.make_directory("d")
    assert guest.names("d") == []
    assert unchanged()


def test_what_was_seen_stays(guest: Guest, lower: Path, make_guest: MakeGuest) -> None:
    """Whatever happens below, now or before a resume on another machine."""
    fd = guest.open("d/g", rights=RIGHTS_READ)
    guest.stat("f")
    assert guest.try_open("none") == "NOENT"
    guest.names("d/e")
    shutil.rmtree(lower)
    lower.mkdir()
    (lower / "none").touch()
    (lower / "d").mkdir()
    (lower / "d/g").write_text("not that")
    for again in (guest, resumed(make_guest, lower, guest)):
        assert again.seek(fd, 0) == 0
        assert again.read(fd, 9) == b"g"
        assert again.content("d/g") == b"g"
        assert again.try_open("none") == "NOENT"
        assert again.stat("f").size == 14
        assert again.names("d/e") == [b"h"]
        assert again.try_open("f", rights=RIGHTS_READ) == "NOENT", "only its attributes were seen"


def test_a_resume_without_the_directory(
    guest: Guest, lower: Path, make_guest: MakeGuest, caplog: pytest.LogCaptureFixture
) -> None:
    fd = guest.open("d/g")
    guest.write(fd, b"mine")
    state = saved(guest)
    shutil.rmtree(lower)
    with pytest.raises(MissingFile):
        make_guest(Mapping.overlay(str(lower), "/dir"))
    fresh = make_guest(Mapping(str(lower), "/dir", kind="overlay", may_be_missing=True))
    with caplog.at_level(logging.WARNING):
        restore(fresh, state)
    assert str(lower) in caplog.text
    assert fresh.content("d/g") == b"mine"
    assert fresh.try_open("f", rights=RIGHTS_READ) == "NOENT"
    assert fresh.names() == [b"d"]
    fresh.make("new", b"new")
    assert fresh.names() == [b"d", b"new"]


def test_a_lower_that_changes_is_seen_as_it_is_at_the_first_look(guest: Guest, lower: Path) -> None:
    guest.stat("f")
    (lower / "f").write_text("longer than it was before")
    assert guest.content("f") == b"longer than it was before"
    assert guest.stat("f").size == 25
    (lower / "f").write_text("again")
    assert guest.content("f") == b"longer than it was before"


def test_mapped_in_another_way(guest: Guest, lower: Path, make_guest: MakeGuest) -> None:
    state = saved(guest)
    for mapping in (Mapping(str(lower), "/dir"), Mapping.tmp("/dir")):
        with pytest.raises(CannotResume, match="/dir is"):
            restore(make_guest(mapping), state)
    with pytest.raises(CannotResume, match="--overlay HOST::/dir"):
        restore(make_guest(), state)


def test_larger_than_the_layer(
    make_guest: MakeGuest, lower: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (lower / "big").write_bytes(bytes(100_000))
    guest = make_guest(Mapping.overlay(str(lower), "/dir", 65536))
    assert guest.try_open("big", rights=RIGHTS_READ) == "NOSPC"
    assert "big" in caplog.text
    assert guest.content("f") == b"f of the lower"
    with open(lower / "sparse", "wb") as file:
        file.truncate(5 << 30)
    fd = guest.open("sparse", rights=RIGHTS_READ)
    assert guest.fd_stat(fd).size == 5 << 30
    assert guest.read(fd, 10) == bytes(10)


def test_special_files_cannot_be_opened(guest: Guest, lower: Path) -> None:
    os.mkfifo(lower / "pipe")
    assert guest.try_open("pipe", rights=RIGHTS_READ) == "NOTSUP"
    assert b"pipe" in guest.names()


class TestTmp:
    """What is particular to a directory in memory alone."""

    @pytest.fixture
    def small(self, make_guest: MakeGuest) -> Guest:
        """Of 16 pages."""
        return make_guest(Mapping.tmp("/dir", 65536))

    def test_it_is_bounded(self, small: Guest) -> None:
        fd = small.open("f", oflags=CREAT)
        assert small.write(fd, b"x" * 60_000) == 60_000
        assert small.write(fd, b"y" * 60_000) == 5536, "as much as there is room for"
        assert small("fd_write", fd, *small.iovs(1), OUT) == "NOSPC"
        assert small("fd_allocate", fd, 0, 1 << 20) == "NOSPC"
        other = small.open("g", oflags=CREAT)
        assert small("fd_write", other, *small.iovs(1), OUT) == "NOSPC"
        assert small("fd_filestat_set_size", other, 1 << 40) == "SUCCESS", "a hole takes no space"
        small.unlink("f")
        assert small("fd_write", other, *small.iovs(1), OUT) == "NOSPC", "it is still open"
        small.close(fd)
        assert small.write(other, b"z" * 60_000) == 60_000

    def test_names_are_bounded(self, small: Guest) -> None:
        made = 0
        while small.try_open(str(made), oflags=CREAT, rights=RIGHTS_WRITE) == "SUCCESS":
            small.close(small.memory.u32(OUT))
            made += 1
        assert made == 4096 + 16
        assert small.try_open("x", oflags=CREAT, rights=RIGHTS_WRITE) == "NOSPC"

    def test_two_of_them_are_two_file_systems(self, make_guest: MakeGuest) -> None:
        guest = make_guest(Mapping.tmp("/a"), Mapping.tmp("/b"))
        guest.make("f")
        f, g = guest.path("f"), guest.path("g", PATH2)
        assert guest("path_rename", 3, *f, 4, *g) == "XDEV"
        assert guest("path_link", 3, 0, *f, 4, *g) == "XDEV"
        assert guest.fd_stat(3).dev != guest.fd_stat(4).dev

    def test_changes_are_stored_once(self, make_guest: MakeGuest) -> None:
        """Of 20,000 files and 4 MiB, a small change is a few pages."""
        guest = make_guest(Mapping.tmp("/dir"))
        guest.make("big", b"0123456789abcdef" * (1 << 18))
        for i in range(20_000):
            guest.make(str(i))
        saved(guest)
        arena = guest.host.arena
        fd = guest.open("big")
        assert guest("fd_pwrite", fd, *guest.iovs(3, data=b"new"), 1 << 20, OUT) == "SUCCESS"
        guest.unlink("777")
        guest.make("one more", b"!")
        guest.host.capture()
        changed = sum(end - first for first, end in arena.written())
        assert changed <= 8

    def test_what_is_freed_is_zero_and_used_again(self, make_guest: MakeGuest) -> None:
        guest = make_guest(Mapping.tmp("/dir"))
        guest.make("f", b"secret" * 100_000)
        saved(guest)
        total = guest.host.arena.total
        guest.unlink("f")
        fd = guest.open("g", oflags=CREAT)
        guest.seek(fd, 600_000)
        guest.write(fd, b"end")
        assert guest("fd_allocate", fd, 0, 500_000) == "SUCCESS"
        fresh = make_guest(Mapping.tmp("/dir"))
        restore(fresh, saved(guest))
        assert fresh.content("g") == bytes(600_000) + b"end"
        assert fresh.host.arena.total == total
