"""Attacks on the sandbox by somebody who changes the directory while the guest's calls look at it."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from wasnap.host import beneath

from .conftest import KINDS, MakeGuest, use_walk
from .fakes import DATA, OUT, PATH2, RIGHTS_READ, RIGHTS_WRITE, Guest

CREAT, TRUNC = 1, 8
CALLS = int(os.environ.get("WASNAP_ATTACKS", "2000"))
HOST_KINDS = ("dir", "dir by walk", "overlay", "overlay by walk")

SWAPPER = """
import ctypes, os, sys
os.chdir(sys.argv[1])
swap = ctypes.CDLL(None).renameat2
while True:
    if swap(-100, b"swap", -100, b"evil", 2):
        sys.exit("no renameat2 here")
    if sys.stdout:
        print("ready", flush=True)
        sys.stdout.close()
        sys.stdout = None
"""
"""Exchanges a directory and a link to the outside, as fast as it can: both names always exist."""


@pytest.fixture(params=HOST_KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kinds with a host directory behind them."""
    if "walk" in request.param:
        use_walk(monkeypatch)
    return str(request.param)


@pytest.fixture
def victim(kind: str, tmp_path: Path, make_guest: MakeGuest) -> Guest:
    """/dir holds ``swap``, a directory, and ``evil``, a link to ``outside`` beside /dir."""
    for name in ("dir/swap/sub", "outside/sub"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("dir/swap/file", "outside/file"):
        (tmp_path / name).write_text(name)
    os.symlink("harmless", tmp_path / "dir/swap/link")
    os.symlink("secret", tmp_path / "outside/link")
    os.symlink("../outside", tmp_path / "dir/evil")
    for path in (tmp_path / "outside", *(tmp_path / "outside").iterdir()):
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    return make_guest(KINDS[kind](tmp_path / "dir", "/dir", False))


def outside(tmp_path: Path) -> dict[str, tuple[int, ...]]:
    """All that must stay: names, sizes, numbers of links, and when anything was changed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (tmp_path / "outside", *sorted((tmp_path / "outside").rglob("*"))):
        s = path.lstat()
        found[str(path)] = (s.st_ino, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
    return found


def two(name: str, old: str, new: str) -> Callable[[Guest], str]:
    flags = (0,) if name == "path_link" else ()

    def call(guest: Guest) -> str:
        at = guest.path(old)
        return guest(name, 3, *flags, *at, 3, *guest.path(new, PATH2))

    return call


def one(name: str, path: str) -> Callable[[Guest], str]:
    return lambda guest: guest(name, 3, *guest.path(path))


def opening(path: str, oflags: int, rights: int) -> Callable[[Guest], str]:
    def call(guest: Guest) -> str:
        result = guest.try_open(path, oflags=oflags, rights=rights)
        if result == "SUCCESS":
            fd = guest.memory.u32(OUT)
            if rights & RIGHTS_WRITE:
                guest.write(fd, b"the guest was here")
            else:
                assert b"outside" not in guest.read(fd, 100)
            guest.close(fd)
        return result

    return call


def readlink(guest: Guest) -> str:
    result = guest("path_readlink", 3, *guest.path("swap/link"), DATA, 99, OUT)
    if result == "SUCCESS":
        assert guest.memory.read(DATA, 8) == b"harmless"
    return result


def times(guest: Guest) -> str:
    flags = random.getrandbits(1)
    return guest("path_filestat_set_times", 3, flags, *guest.path("swap/file"), 9, 9, 5)


def symlink(guest: Guest) -> str:
    return guest("path_symlink", *guest.path("t"), 3, *guest.path("swap/new", PATH2))


ATTACKS: tuple[Callable[[Guest], str], ...] = (
    opening("swap/file", 0, RIGHTS_READ),
    opening("swap/file", 0, RIGHTS_WRITE),
    opening("swap/file", TRUNC, RIGHTS_READ),
    opening("swap/made", CREAT | TRUNC, RIGHTS_WRITE),
    opening("swap/sub/../made", CREAT, RIGHTS_WRITE),
    one("path_create_directory", "swap/new"),
    one("path_remove_directory", "swap/new"),
    one("path_remove_directory", "swap/sub/"),
    one("path_unlink_file", "swap/new"),
    one("path_unlink_file", "swap/made"),
    two("path_rename", "swap/made", "swap/new"),
    two("path_rename", "swap/new", "mine"),
    two("path_rename", "mine", "swap/new"),
    two("path_link", "swap/file", "swap/made"),
    two("path_link", "swap/file", "mine"),
    readlink,
    symlink,
    times,
)


@pytest.fixture
def swapping(victim: Guest, tmp_path: Path) -> Iterator[None]:
    command = [sys.executable, "-c", SWAPPER, str(tmp_path / "dir")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as attacker:
        assert attacker.stdout is not None
        if attacker.stdout.readline() != b"ready\n":
            pytest.skip("no renameat2 here")
        yield
        assert attacker.poll() is None
        attacker.kill()


def test_every_call_while_a_directory_is_exchanged_with_a_link_out(
    victim: Guest, swapping: None, tmp_path: Path
) -> None:
    before = outside(tmp_path)
    chance = random.Random(5)
    results: dict[str, int] = {}
    for _ in range(CALLS):
        result = chance.choice(ATTACKS)(victim)
        results[result] = results.get(result, 0) + 1
    assert outside(tmp_path) == before
    assert set(results) <= {
        *("SUCCESS", "PERM", "NOENT", "NOTDIR", "LOOP", "EXIST"),
        *("NOTEMPTY", "ISDIR", "INVAL"),
    }


def test_a_directory_replaced_by_a_link_between_two_calls(
    victim: Guest, kind: str, tmp_path: Path
) -> None:
    """What is open stays what it was; the name is refused by every call.

    An overlay may go on with what it knows already: it never leads out, either.
    """
    fd = victim.open("swap", rights=RIGHTS_READ)
    file = victim.open("swap/file", rights=RIGHTS_READ)
    os.rename(tmp_path / "dir/swap", tmp_path / "dir/moved")
    os.symlink("../outside", tmp_path / "dir/swap")
    before = outside(tmp_path)
    for attack in ATTACKS:
        result = attack(victim)
        assert result in ("PERM", "NOENT") or kind.startswith("overlay")
    if kind.startswith("dir"):
        assert victim.content("file", fd=fd) == b"dir/swap/file"
        victim.make("made", fd=fd)
        assert (tmp_path / "dir/moved/made").exists()
        assert victim.read(file, 99) == b"dir/swap/file"
    assert outside(tmp_path) == before


def test_a_file_replaced_by_a_link_between_two_calls(
    victim: Guest, kind: str, tmp_path: Path
) -> None:
    assert victim.stat("swap/file").size == len("dir/swap/file")
    (tmp_path / "dir/swap/file").unlink()
    os.symlink("../../outside/file", tmp_path / "dir/swap/file")
    before = outside(tmp_path)
    for attack in ATTACKS:
        attack(victim)
    if kind.startswith("dir"):
        os.symlink("../../outside/file", tmp_path / "dir/swap/again")
        for oflags in (0, CREAT, TRUNC, CREAT | TRUNC):
            for rights in (RIGHTS_READ, RIGHTS_WRITE):
                for follow, expected in ((True, "PERM"), (False, "LOOP")):
                    result = victim.try_open(
                        "swap/again", follow=follow, oflags=oflags, rights=rights
                    )
                    assert result == expected
        at = victim.path("swap/again")
        assert victim("path_filestat_get", 3, 1, *at, OUT) == "PERM"
        assert victim("path_filestat_set_times", 3, 1, *at, 9, 9, 5) == "PERM"
        assert two("path_link", "swap/again", "mine2")(victim) == "SUCCESS", "the link itself"
        assert victim.try_open("mine2", rights=RIGHTS_READ) == "PERM"
    assert outside(tmp_path) == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_that_refuses_openat2_is_done_without(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old one, or a container's filter."""
    refuse_openat2(monkeypatch, number)
    assert beneath._bind_openat2() is None


def refuse_openat2(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A kernel that answers each with this errno."""

    def syscall(*arguments: object) -> int:
        ctypes.set_errno(number)
        return -1

    library = SimpleNamespace(syscall=syscall)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: library)


def test_renames_that_never_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel asks for another try each time; the guest does not hear of it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "f").write_text("content")
    refuse_openat2(monkeypatch, errno.EAGAIN)
    opened = beneath._bind_openat2()
    assert opened is not None
    at = os.open(tmp_path, os.O_RDONLY)
    with open(opened(at, b"a/../f", os.O_RDONLY, 0)) as file:
        assert file.read() == "content"
    with pytest.raises(PermissionError):
        opened(at, b"a/../../f", os.O_RDONLY, 0)
    os.close(at)
