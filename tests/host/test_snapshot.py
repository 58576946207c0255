"""Capture and restore: every kind of descriptor, through bytes, into a fresh host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from wasnap.errors import CannotResume, Unsaveable, UsageError
from wasnap.host import FakeClock, Host, HostConfig, HostState, Mapping, SeededRandom

from .conftest import KINDS, MakeGuest
from .fakes import OUT, PATH2, RIGHTS_READ, RIGHTS_WRITE, Guest, open_descriptors
from .saving import Saved, restore, saved

Resume = Callable[[Saved], Guest]

CREAT = 1
APPEND = 1


@pytest.fixture
def guest(anywhere: Guest, tmp_path: Path) -> Guest:
    """With tmp_path/dir mapped as /dir, in each way; tmp_path/secret is outside."""
    (tmp_path / "secret").write_text("secret")
    return anywhere


@pytest.fixture
def resumed(make_guest: MakeGuest, tmp_path: Path, kind: str) -> Resume:
    """``resumed(state)``: a fresh guest over the same directory that goes on from it."""

    def resume(state: Saved) -> Guest:
        fresh = make_guest(KINDS[kind](tmp_path / "dir", "/dir", False))
        restore(fresh, state)
        return fresh

    return resume


def test_restoring_twice_gives_the_same_state(guest: Guest, resumed: Resume) -> None:
    guest.make_directory("sub")
    fd = guest.open("sub/f", oflags=CREAT, fdflags=APPEND)
    guest.write(fd, b"data")
    guest.open("sub", rights=RIGHTS_READ)
    guest.readdir(5, 60)
    guest("fd_renumber", fd, 1)
    state = saved(guest)
    again = saved(resumed(state))
    was, now = state.state, again.state
    assert msgspec.structs.replace(now, clock=was.clock) == was
    assert now.clock.monotonic_ns >= was.clock.monotonic_ns  # type: ignore[union-attr]
    assert again.pages == state.pages


@pytest.mark.parametrize("fdflags", [0, APPEND])
def test_files_written_forward_come_out_right(
    guest: Guest, kind: str, resumed: Resume, fdflags: int
) -> None:
    if kind.startswith("dir") and kind != "dir noted":
        pytest.skip("nothing was noted, nothing is undone")
    fd = guest.open("f", oflags=CREAT, fdflags=fdflags)
    guest.write(fd, b"line 1\n")
    state = saved(guest)
    guest.write(fd, b"line 2\nline 3\n")
    fresh = resumed(state)
    assert fresh.content("f") == b"line 1\n"
    fresh.write(fd, b"line 2\n")
    assert fresh.content("f") == b"line 1\nline 2\n"


def test_offsets_flags_rights_and_numbers(guest: Guest, resumed: Resume) -> None:
    a = guest.open("a", oflags=CREAT, fdflags=APPEND)
    guest.write(a, b"0123456789")
    guest("fd_fdstat_set_flags", a, 4)
    guest("fd_fdstat_get", a, OUT)
    guest("fd_fdstat_set_rights", a, guest.memory.u64(OUT + 8) & ~(1 << 4), 0)
    guest.seek(a, 3)
    b = guest.open("a", rights=RIGHTS_READ)
    guest("fd_renumber", b, 0)
    guest("fd_close", 2)
    fresh = resumed(saved(guest))
    assert fresh.tell(a) == 3
    assert fresh.read(a, 2) == b"34"
    assert fresh("fd_sync", a) == "NOTCAPABLE"
    assert fresh.read(0, 2) == b"01"
    assert fresh("fd_write", 0, *fresh.iovs(1), OUT) == "BADF"
    assert fresh("fd_tell", b, OUT) == "BADF"
    assert fresh("fd_tell", 2, OUT) == "BADF"
    assert fresh.open("a") == 2
    assert fresh.open("a") == b
    guest("fd_fdstat_get", a, OUT)
    wanted = guest.memory.read(OUT, 24)
    fresh("fd_fdstat_get", a, OUT)
    assert fresh.memory.read(OUT, 24) == wanted


def test_created_and_truncated_only_once(guest: Guest, resumed: Resume) -> None:
    fd = guest.open("f", oflags=CREAT | 4 | 8)
    guest.write(fd, b"precious")
    fresh = resumed(saved(guest))
    assert fresh.seek(fd, 0) == 0
    assert fresh.read(fd, 20) == b"precious"


def test_a_half_read_directory(guest: Guest, resumed: Resume) -> None:
    for i in range(50):
        guest.make(f"{i:02}")
    first = guest.readdir(3, 200)
    state = saved(guest)
    guest.unlink("00")
    guest.make("zz")
    fresh = resumed(state)
    rest = fresh.readdir(3, cookie=first[-1][0])
    names = [n for _, n in first + rest]
    assert names == [b".", b"..", *(f"{i:02}".encode() for i in range(50))]


def test_renamed_files_and_directories_are_found(guest: Guest, resumed: Resume) -> None:
    guest.make_directory("d")
    fd = guest.open("d/f", oflags=CREAT)
    sub = guest.open("d", rights=RIGHTS_READ)
    guest.write(fd, b"x")
    guest.rename("d/f", "d/g")
    guest.rename("d", "e")
    guest.make_directory("d")
    guest.make("d/f", b"another")
    fresh = resumed(saved(guest))
    assert fresh.seek(fd, 0) == 0
    assert fresh.read(fd, 10) == b"x"
    fresh.open("new", fd=sub, oflags=CREAT)
    assert fresh.names("e") == [b"g", b"new"]


def test_a_file_is_found_by_another_of_its_names(guest: Guest, resumed: Resume) -> None:
    """The name it was opened by is gone; what is written goes where the other names see it."""
    guest.make_directory("d")
    fd = guest.open("a", oflags=CREAT)
    guest.write(fd, b"x")
    old, new = guest.path("a"), guest.path("d/b", PATH2)
    assert guest("path_link", 3, 0, *old, 3, *new) == "SUCCESS"
    guest.unlink("a")
    fresh = resumed(saved(guest))
    assert fresh.fd_stat(fd).nlink == 1
    fresh.write(fd, b"y")
    assert fresh.content("d/b") == b"xy"


def test_files_and_directories_without_a_name(guest: Guest, resumed: Resume) -> None:
    guest.make_directory("gone")
    sub = guest.open("gone", rights=RIGHTS_READ)
    a = guest.open("tmp", oflags=CREAT)
    guest.write(a, b"0123456789")
    b = guest.open("tmp", rights=RIGHTS_WRITE)
    guest.seek(b, 5)
    guest.unlink("tmp")
    assert guest("path_remove_directory", 3, *guest.path("gone")) == "SUCCESS"
    modified = guest.fd_stat(a).mtim
    fresh = resumed(saved(guest))
    assert fresh.fd_stat(a).mtim == modified
    fresh.write(b, b"X")
    assert fresh.tell(a) == 10
    fresh.seek(a, 0)
    assert fresh.read(a, 20) == b"01234X6789"
    assert fresh("fd_read", b, *fresh.iovs(1), OUT) == "BADF"
    assert [n for _, n in fresh.readdir(sub)] == [b".", b".."]
    assert fresh.try_open("x", fd=sub, oflags=CREAT) == "NOENT"
    assert fresh.fd_stat(a).nlink == 0
    again = resumed(saved(fresh))
    again.seek(a, 0)
    assert again.read(a, 20) == b"01234X6789"
    assert again.names() == []


def test_too_large_a_file_without_a_name(guest: Guest, kind: str) -> None:
    """Is refused by name before anything is read, as long as it is open."""
    if not kind.startswith("dir"):
        pytest.skip("a directory in memory has its own limit")
    fd = guest.open("sparse", oflags=CREAT)
    guest.unlink("sparse")
    assert guest("fd_filestat_set_size", fd, 5 << 30) == "SUCCESS"
    with pytest.raises(Unsaveable, match="/dir/sparse has no name any more and 5368709120 bytes"):
        guest.host.capture()
    guest.close(fd)
    saved(guest)


def test_closed_preopens_stay_closed(guest: Guest, resumed: Resume) -> None:
    fd = guest.open("f", oflags=CREAT)
    assert guest("fd_close", 3) == "SUCCESS"
    fresh = resumed(saved(guest))
    assert fresh("fd_prestat_get", 3, OUT) == "BADF"
    assert fresh.tell(fd) == 0


def test_mappings_are_found_by_their_guest_path(make_guest: MakeGuest, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    a, b = Mapping(str(tmp_path / "a"), "/a"), Mapping(str(tmp_path / "b"), "/b")
    guest = make_guest(a, b)
    fd = guest.open("f", fd=4)
    fresh = make_guest(b, a)
    restore(fresh, saved(guest))
    assert fresh.read(fd, 5) == b"b"
    assert fresh.read(fresh.open("f", fd=3), 5) == b"a"


def test_arguments_environment_clock_and_randomness() -> None:
    config = HostConfig(args=("p", "x"), env={"A": "b"})
    first = Host(config, clock=FakeClock(step_ns=7), random=SeededRandom(b"s"))
    Guest(first).raw("random_get", OUT, 8)
    state = first.capture()
    fresh = Host(HostConfig())
    fresh.restore(state)
    assert (fresh.args, fresh.env) == ([b"p", b"x"], [b"A=b"])
    one, two = Guest(first), Guest(fresh)
    for guest in (one, two):
        guest.raw("random_get", OUT, 8)
        guest.raw("clock_time_get", 1, 0, OUT + 8)
    assert one.memory.bytes == two.memory.bytes
    first.close()
    fresh.close()


def test_everything_that_is_missing_is_named_and_nothing_touched(
    make_guest: MakeGuest, tmp_path: Path
) -> None:
    for name in ("dir", "other"):
        (tmp_path / name).mkdir()
    dirs = Mapping(str(tmp_path / "dir"), "/dir"), Mapping(str(tmp_path / "other"), "/other")
    guest = make_guest(*dirs)
    for name in ("good", "gone", "short", "swapped"):
        guest.write(guest.open(name, oflags=CREAT), b"0123456789")
    guest.open("o", fd=4, oflags=CREAT)
    state = saved(guest)
    inside = tmp_path / "dir"
    with open(inside / "good", "ab") as file:
        file.write(b"and more")
    (inside / "gone").unlink()
    (inside / "short").write_bytes(b"012")
    (inside / "swapped").unlink()
    (inside / "swapped").mkdir()
    fresh = make_guest(dirs[0])
    before = open_descriptors()
    with pytest.raises(CannotResume) as refused:
        restore(fresh, state)
    assert open_descriptors() == before
    message = refused.value.message
    assert "/dir/gone is not there" in message
    assert "/dir/short has 3 bytes, and had 10" in message
    assert "/dir/swapped is not a regular file any more" in message
    assert "no directory is mapped as /other" in message
    assert "/dir/good has 18 bytes, and had 10" in message
    assert (inside / "good").read_bytes() == b"0123456789and more"
    assert fresh.open("good") == 4, "the host is as it was before"


@pytest.mark.parametrize("kind", ["dir"], indirect=True)
def test_another_file_of_the_same_name_is_not_cut(guest: Guest, tmp_path: Path) -> None:
    guest.write(guest.open("f", oflags=CREAT), b"123")
    state = saved(guest)
    os.rename(tmp_path / "dir/f", tmp_path / "dir/old")
    (tmp_path / "dir/f").write_text("not yours to cut")
    fresh = Guest(Host(HostConfig(dirs=(Mapping(str(tmp_path / "dir"), "/dir"),))))
    with pytest.raises(CannotResume, match="/dir/f has 16 bytes, and had 3"):
        restore(fresh, state)
    assert (tmp_path / "dir/f").read_text() == "not yours to cut"
    (tmp_path / "dir/f").write_text("123")
    with pytest.raises(CannotResume, match="/dir/f was changed after the snapshot"):
        restore(fresh, state)
    shutil.copystat(tmp_path / "dir/old", tmp_path / "dir/f")  # a copy of what it was will do
    restore(fresh, state)
    fresh.host.close()


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(CannotResume, match="another version"):
        HostState.from_plain({"args": []})


def test_two_mappings_need_two_names(make_guest: MakeGuest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mapped as /d"):
        make_guest(Mapping(str(tmp_path), "/d"), Mapping(str(tmp_path), "/d"))


def test_a_writable_file_needs_a_writable_mapping(make_guest: MakeGuest, tmp_path: Path) -> None:
    guest = make_guest(Mapping(str(tmp_path), "/d"))
    guest.open("f", oflags=CREAT)
    fresh = make_guest(Mapping(str(tmp_path), "/d", readonly=True))
    with pytest.raises(CannotResume, match="/d is read-only"):
        restore(fresh, saved(guest))


@pytest.mark.parametrize("kind", ["dir"], indirect=True)
def test_links_planted_since_are_not_followed(
    guest: Guest, tmp_path: Path, make_guest: MakeGuest
) -> None:
    fd = guest.open("f", oflags=CREAT)
    guest.write(fd, b"123")
    state = saved(guest)
    (tmp_path / "dir/f").unlink()
    os.symlink("../secret", tmp_path / "dir/f")
    fresh = make_guest(Mapping(str(tmp_path / "dir"), "/dir"))
    with pytest.raises(CannotResume):
        restore(fresh, state)
    assert (tmp_path / "secret").read_text() == "secret"


class TestStandardStreams:
    """A resumed process uses its own; regular files go on where the snapshot was."""

    @pytest.mark.parametrize("mode", ["ab", "r+b"])
    def test_output_is_not_doubled(self, make_guest: MakeGuest, tmp_path: Path, mode: str) -> None:
        """What the file received after the snapshot comes again, and is skipped."""
        (tmp_path / "out").write_bytes(b"by others ")
        with open(tmp_path / "out", mode) as out:
            os.lseek(out.fileno(), 0, os.SEEK_END)
            guest = make_guest(stdout=out.fileno())
            guest.write(1, b"before ")
            state = saved(guest)
            guest.write(1, b"once more and ")  # and then it was killed
            fresh = make_guest(stdout=out.fileno())
            restore(fresh, state)
            for word in (b"once ", b"more ", b"and after"):
                assert fresh.write(1, word) == len(word)
            assert (tmp_path / "out").read_bytes() == b"by others before once more and after"
            assert saved(fresh).state.written["stdout"] == 7 + 19
            assert fresh("fd_close", 1) == "SUCCESS"
            last = make_guest(stdout=out.fileno())
            restore(last, saved(fresh))
            assert saved(last).state.written["stdout"] == 7 + 19, "also of a closed stream"

    def test_two_streams_of_one_file(self, make_guest: MakeGuest, tmp_path: Path) -> None:
        """``>> log 2>&1``; and it is saved again, and killed again, before it was there."""
        with open(tmp_path / "log", "ab") as log:
            guest = make_guest(stdout=log.fileno(), stderr=log.fileno())
            guest.write(1, b"before ")
            state = saved(guest)
            story = ((1, b"out "), (2, b"err "), (2, b"err "), (1, b"out "), (1, b"more "))
            for fd, word in story:
                guest.write(fd, word)
            fresh = make_guest(stdout=log.fileno(), stderr=log.fileno())
            restore(fresh, state)
            for fd, word in story[:3]:
                fresh.write(fd, word)
            again = saved(fresh)
            last = make_guest(stdout=log.fileno(), stderr=log.fileno())
            restore(last, again)
            for fd, word in (*story[3:], (2, b"after")):
                last.write(fd, word)
        expected = b"before " + b"".join(word for _, word in story) + b"after"
        assert (tmp_path / "log").read_bytes() == expected

    @pytest.mark.parametrize("first", [b"", b"one "])
    def test_what_others_wrote_to_it_stays(
        self, make_guest: MakeGuest, tmp_path: Path, first: bytes
    ) -> None:
        with open(tmp_path / "out", "ab") as out:
            guest = make_guest(stdout=out.fileno())
            guest.write(1, b"before ")
            state = saved(guest)
            os.write(out.fileno(), first + b"others ")
            fresh = make_guest(stdout=out.fileno())
            restore(fresh, state)
            for word in (b"one ", b"only ", b"end"):
                fresh.write(1, word)
            rest = b"only end" if first else b"one only end"
            assert (tmp_path / "out").read_bytes() == b"before " + first + b"others " + rest

    def test_a_file_that_was_emptied(self, make_guest: MakeGuest, tmp_path: Path) -> None:
        """``> out`` by the shell that resumes: what comes now, and nothing else."""
        with open(tmp_path / "out", "wb") as out:
            guest = make_guest(stdout=out.fileno())
            guest.write(1, b"before ")
            state = saved(guest)
        with open(tmp_path / "out", "wb") as out:
            fresh = make_guest(stdout=out.fileno())
            restore(fresh, state)
            fresh.write(1, b"after")
        assert (tmp_path / "out").read_bytes() == b"after"

    def test_another_output_file_is_left_alone(self, make_guest: MakeGuest, tmp_path: Path) -> None:
        with open(tmp_path / "out", "ab") as out, open(tmp_path / "new", "ab") as new:
            guest = make_guest(stdout=out.fileno())
            guest.write(1, b"b")
            new.write(b"keep this ")
            new.flush()
            fresh = make_guest(stdout=new.fileno())
            restore(fresh, saved(guest))
            fresh.write(1, b"after")
            assert (tmp_path / "new").read_bytes() == b"keep this after"

    def test_input_goes_on(self, make_guest: MakeGuest, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(b"0123456789")
        with open(tmp_path / "in", "rb") as one, open(tmp_path / "in", "rb") as two:
            guest = make_guest(stdin=one.fileno())
            assert guest.read(0, 4) == b"0123"
            fresh = make_guest(stdin=two.fileno())
            restore(fresh, saved(guest))
            assert fresh.read(0, 9) == b"456789"

    def test_another_kind_of_stream(self, make_guest: MakeGuest, tmp_path: Path) -> None:
        read_end, write_end = os.pipe()
        with open(tmp_path / "out", "wb") as out:
            guest = make_guest(stdout=out.fileno())
            guest.write(1, b"file")
            fresh = make_guest(stdout=write_end)
            restore(fresh, saved(guest))
            fresh.write(1, b"pipe")
            assert os.read(read_end, 9) == b"pipe"
            assert fresh("fd_seek", 1, 0, 1, OUT) == "SPIPE"
            back = make_guest(stdout=out.fileno())
            restore(back, saved(fresh))
            assert back("fd_seek", 1, 0, 1, OUT) == "SUCCESS"
        os.close(read_end)
        os.close(write_end)

    def test_a_missing_stream_is_named(self, make_guest: MakeGuest) -> None:
        guest = make_guest()
        fresh = make_guest(stdin=None)
        with pytest.raises(CannotResume, match="no stdin"):
            restore(fresh, saved(guest))

    @pytest.mark.parametrize("kind", ["dir"], indirect=True)
    def test_a_named_pipe(self, guest: Guest, tmp_path: Path, resumed: Resume) -> None:
        os.mkfifo(tmp_path / "dir/fifo")
        reader = guest.open("fifo", rights=RIGHTS_READ)
        state = saved(guest)
        fresh = resumed(state)
        writer = fresh.open("fifo", rights=RIGHTS_WRITE)
        fresh.write(writer, b"x")
        assert fresh.read(reader, 5) == b"x"
