"""What each operation on a name does to each kind of thing that can have the name: one large table.

It was written down from POSIX and agrees with wasmtime's own WASI but where a comment says so.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .fakes import DATA, OUT, PATH2, RIGHTS_READ, RIGHTS_WRITE, Guest

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
FOLLOW = 1

THINGS = ("file", "dir", "full", "tofile", "todir", "dangling", "loop", "none")
"""A file, an empty and a full directory, links to a file, a directory, nothing and itself; nothing."""

# Each cell: the result for the name, and for the name with a slash behind it.
TABLE = """
operation         file           dir            full               tofile         todir          dangling       loop         none
open              ok/NOTDIR      ok/ok          ok/ok              ok/NOTDIR      ok/ok          NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
open-nofollow     ok/NOTDIR      ok/ok          ok/ok              LOOP/NOTDIR    LOOP/ok        LOOP/NOENT     LOOP/LOOP    NOENT/NOENT
open-write        ok/NOTDIR      ISDIR/ISDIR    ISDIR/ISDIR        ok/NOTDIR      ISDIR/ISDIR    NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
open-directory    NOTDIR/NOTDIR  ok/ok          ok/ok              NOTDIR/NOTDIR  ok/ok          NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
open-dir-nofollow NOTDIR/NOTDIR  ok/ok          ok/ok              NOTDIR/NOTDIR  NOTDIR/ok      NOTDIR/NOENT   NOTDIR/LOOP  NOENT/NOENT
open-dir-write    NOTDIR/NOTDIR  ISDIR/ISDIR    ISDIR/ISDIR        NOTDIR/NOTDIR  ISDIR/ISDIR    NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
creat             ok/ISDIR       ISDIR/ISDIR    ISDIR/ISDIR        ok/ISDIR       ISDIR/ISDIR    ok/ISDIR       LOOP/ISDIR   ok/ISDIR
creat-nofollow    ok/ISDIR       ISDIR/ISDIR    ISDIR/ISDIR        LOOP/ISDIR     LOOP/ISDIR     LOOP/ISDIR     LOOP/ISDIR   ok/ISDIR
creat-excl        EXIST/ISDIR    EXIST/ISDIR    EXIST/ISDIR        EXIST/ISDIR    EXIST/ISDIR    EXIST/ISDIR    EXIST/ISDIR  ok/ISDIR
trunc             ok/NOTDIR      ISDIR/ISDIR    ISDIR/ISDIR        ok/NOTDIR      ISDIR/ISDIR    NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
trunc-nofollow    ok/NOTDIR      ISDIR/ISDIR    ISDIR/ISDIR        LOOP/NOTDIR    LOOP/ISDIR     LOOP/NOENT     LOOP/LOOP    NOENT/NOENT
creat-trunc       ok/ISDIR       ISDIR/ISDIR    ISDIR/ISDIR        ok/ISDIR       ISDIR/ISDIR    ok/ISDIR       LOOP/ISDIR   ok/ISDIR
stat              4/NOTDIR       3/3            3/3                7/NOTDIR       7/3            7/NOENT        7/LOOP       NOENT/NOENT
stat-follow       4/NOTDIR       3/3            3/3                4/NOTDIR       3/3            NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
times             ok/NOTDIR      ok/ok          ok/ok              ok/NOTDIR      ok/ok          ok/NOENT       ok/LOOP      NOENT/NOENT
times-follow      ok/NOTDIR      ok/ok          ok/ok              ok/NOTDIR      ok/ok          NOENT/NOENT    LOOP/LOOP    NOENT/NOENT
readlink          INVAL/NOTDIR   INVAL/INVAL    INVAL/INVAL        ok/NOTDIR      ok/INVAL       ok/NOENT       ok/LOOP      NOENT/NOENT
mkdir             EXIST/EXIST    EXIST/EXIST    EXIST/EXIST        EXIST/EXIST    EXIST/EXIST    EXIST/EXIST    EXIST/EXIST  ok/ok
rmdir             NOTDIR/NOTDIR  ok/ok          NOTEMPTY/NOTEMPTY  NOTDIR/NOTDIR  NOTDIR/NOTDIR  NOTDIR/NOTDIR  NOTDIR/NOTDIR NOENT/NOENT
unlink            ok/NOTDIR      ISDIR/ISDIR    ISDIR/ISDIR        ok/NOTDIR      ok/NOTDIR      ok/NOTDIR      ok/NOTDIR    NOENT/NOENT
symlink           EXIST/NOTDIR   EXIST/EXIST    EXIST/EXIST        EXIST/NOTDIR   EXIST/EXIST    EXIST/NOENT    EXIST/LOOP   ok/NOENT
link-to           EXIST/NOTDIR   EXIST/EXIST    EXIST/EXIST        EXIST/NOTDIR   EXIST/EXIST    EXIST/NOENT    EXIST/LOOP   ok/NOENT
link-from         ok/NOTDIR      PERM/PERM      PERM/PERM          ok/NOTDIR      ok/PERM        ok/NOENT       ok/LOOP      NOENT/NOENT
rename-from       ok/NOTDIR      ok/ok          ok/ok              ok/NOTDIR      ok/NOTDIR      ok/NOTDIR      ok/NOTDIR    NOENT/NOENT
rename-from-to/   NOTDIR/NOTDIR  ok/ok          ok/ok              NOTDIR/NOTDIR  NOTDIR/NOTDIR  NOTDIR/NOTDIR  NOTDIR/NOTDIR NOENT/NOENT
rename-file-to    ok/NOTDIR      ISDIR/NOTDIR   ISDIR/NOTDIR       ok/NOTDIR      ok/NOTDIR      ok/NOTDIR      ok/NOTDIR    ok/NOTDIR
rename-dir-to     NOTDIR/NOTDIR  ok/ok          NOTEMPTY/NOTEMPTY  NOTDIR/NOTDIR  NOTDIR/NOTDIR  NOTDIR/NOTDIR  NOTDIR/NOTDIR ok/ok
"""  # noqa: E501
# wasmtime removes no directory called with a slash (INVAL), and gives LOOP where a link is not to be
# followed and a directory is wanted.

HEADER, *ROWS = (line.split() for line in TABLE.strip().splitlines())

Operation = Callable[[Guest, str, str], str]
"""(guest, directory with the things, name) -> "ok", a file type, or the errno."""


def opening(oflags: int = 0, follow: bool = True, rights: int = RIGHTS_READ) -> Operation:
    def operation(guest: Guest, at: str, name: str) -> str:
        result = guest.try_open(at + name, oflags=oflags, follow=follow, rights=rights)
        if result == "SUCCESS":
            guest.close(guest.memory.u32(OUT))
        return result

    return operation


def stat(flags: int) -> Operation:
    def operation(guest: Guest, at: str, name: str) -> str:
        result = guest("path_filestat_get", 3, flags, *guest.path(at + name), OUT)
        return str(guest.memory.u8(OUT + 16)) if result == "SUCCESS" else result

    return operation


def times(flags: int) -> Operation:
    return lambda guest, at, name: guest(
        "path_filestat_set_times", 3, flags, *guest.path(at + name), 1, 2, 1 | 4
    )


def one(function: str) -> Operation:
    return lambda guest, at, name: guest(function, 3, *guest.path(at + name))


def two(function: str, old: str, new: str) -> Operation:
    """``{}``: the name."""
    flags = (0,) if function == "path_link" else ()

    def operation(guest: Guest, at: str, name: str) -> str:
        source = guest.path(at + old.format(name))
        return guest(function, 3, *flags, *source, 3, *guest.path(at + new.format(name), PATH2))

    return operation


def symlink(guest: Guest, at: str, name: str) -> str:
    return guest("path_symlink", *guest.path("target"), 3, *guest.path(at + name, PATH2))


def readlink(guest: Guest, at: str, name: str) -> str:
    return guest("path_readlink", 3, *guest.path(at + name), DATA, 100, OUT)


BOTH = RIGHTS_READ | RIGHTS_WRITE
OPERATIONS: dict[str, Operation] = {
    "open": opening(),
    "open-nofollow": opening(follow=False),
    "open-write": opening(rights=BOTH),
    "open-directory": opening(DIRECTORY),
    "open-dir-nofollow": opening(DIRECTORY, follow=False),
    "open-dir-write": opening(DIRECTORY, rights=BOTH),
    "creat": opening(CREAT, rights=BOTH),
    "creat-nofollow": opening(CREAT, follow=False),
    "creat-excl": opening(CREAT | EXCL),
    "trunc": opening(TRUNC, rights=RIGHTS_WRITE),
    "trunc-nofollow": opening(TRUNC, follow=False),
    "creat-trunc": opening(CREAT | TRUNC, rights=RIGHTS_WRITE),
    "stat": stat(0),
    "stat-follow": stat(FOLLOW),
    "times": times(0),
    "times-follow": times(FOLLOW),
    "readlink": readlink,
    "mkdir": one("path_create_directory"),
    "rmdir": one("path_remove_directory"),
    "unlink": one("path_unlink_file"),
    "symlink": symlink,
    "link-to": two("path_link", "other", "{}"),
    "link-from": two("path_link", "{}", "new"),
    "rename-from": two("path_rename", "{}", "new"),
    "rename-from-to/": two("path_rename", "{}", "new/"),
    "rename-file-to": two("path_rename", "other", "{}"),
    "rename-dir-to": two("path_rename", "otherdir", "{}"),
}


def furnish(guest: Guest, at: str) -> None:
    """One of each thing in a new directory."""
    guest.make_directory(at)
    guest.make(f"{at}/file", b"data")
    guest.make_directory(f"{at}/dir")
    guest.make_directory(f"{at}/full")
    guest.make(f"{at}/full/inside")
    guest.make_link("file", f"{at}/tofile")
    guest.make_link("dir", f"{at}/todir")
    guest.make_link("nowhere", f"{at}/dangling")
    guest.make_link("loop", f"{at}/loop")
    guest.make(f"{at}/other", b"other")
    guest.make_directory(f"{at}/otherdir")


@pytest.mark.parametrize(("operation", "row"), [(row[0], row[1:]) for row in ROWS])
def test_each_thing(anywhere: Guest, operation: str, row: list[str]) -> None:
    assert HEADER[1:] == list(THINGS)
    found = []
    for thing in THINGS:
        cell = []
        for slash in ("", "/"):
            at = f"{thing}{len(slash)}"
            furnish(anywhere, at)
            result = OPERATIONS[operation](anywhere, f"{at}/", thing + slash)
            cell.append("ok" if result == "SUCCESS" else result)
        found.append("/".join(cell))
    assert found == row


def test_the_table_is_complete() -> None:
    assert [row[0] for row in ROWS] == list(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_below_what_is_no_directory(anywhere: Guest, operation: str) -> None:
    """A file on the way is NOTDIR, nothing is NOENT, a loop LOOP, the outside PERM; always."""
    furnish(anywhere, "at")
    call = OPERATIONS[operation]
    for name, expected in (
        ("file/x", "NOTDIR"),
        ("file/../x", "NOTDIR"),
        ("tofile/x", "NOTDIR"),
        ("none/x", "NOENT"),
        ("none/../file", "NOENT"),
        ("dangling/x", "NOENT"),
        ("loop/x", "LOOP"),
        ("../../x", "PERM"),
        ("../..", "PERM"),
        ("full/../../../at/file", "PERM"),
    ):
        assert call(anywhere, "at/", name) == expected, name
    for name in ("/", "/dir", "//file"):
        if "{}" not in name:
            assert call(anywhere, "", name) == "PERM" or operation.startswith("rename-")
    assert anywhere.names("at") == sorted(
        b"dangling dir file full loop other otherdir todir tofile".split()
    )
    assert anywhere.content("at/file") == b"data"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_paths_that_are_none(anywhere: Guest, operation: str) -> None:
    """Empty: NOENT. With a NUL in it: INVAL. Too long: NAMETOOLONG. Outside memory: FAULT."""
    anywhere.make("other")
    anywhere.make_directory("otherdir")
    call = OPERATIONS[operation]
    if operation not in ("link-from", "rename-from", "rename-from-to/"):
        for name in ("x\0", "\0", "other\0x"):
            assert call(anywhere, "", name) == "INVAL"
    assert call(anywhere, "", "") == "NOENT"
    assert call(anywhere, "", "n" * 256) == "NAMETOOLONG"
    assert call(anywhere, "", "n/" * 2048) == "NAMETOOLONG"
    assert anywhere.names() == [b"other", b"otherdir"]
