"""A layer or a tmp, written out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasnap.errors import CannotResume
from wasnap.host import Mapping
from wasnap.host.tree.export import export
from wasnap.host.tree.tree import Tree

from .conftest import MakeGuest
from .fakes import PATH2, Guest
from .saving import saved


def exported(guest: Guest, into: Path) -> list[tuple[str, bytes, bytes]]:
    """Of the only mapping, through a snapshot."""
    state = saved(guest)
    arena = state.arena()
    (tree,) = state.state.trees.values()
    return list(export(Tree.load(tree, arena, lambda: 0), arena, into))


def test_everything_of_a_tmp(make_guest: MakeGuest, tmp_path: Path) -> None:
    guest = make_guest(Mapping.tmp("/dir"))
    guest.make_directory("d")
    guest.make_directory("d/empty")
    guest.make(b"d/\xff\n", b"x" * 10_000)
    guest.make_link("../../etc/passwd"[6:], "d/link")
    assert guest("path_link", 3, 0, *guest.path(b"d/\xff\n"), 3, *guest.path("same", PATH2)) == (
        "SUCCESS"
    )
    fd = guest.open("sparse", oflags=1)
    guest.seek(fd, 5 << 30)
    guest.write(fd, b"end")
    at = guest.path("d/link")
    assert guest("path_filestat_set_times", 3, 0, *at, 5_000_000_000, 6_000_000_000, 5) == "SUCCESS"
    done = exported(guest, tmp_path / "out")
    assert [what for what, _, _ in done] == ["wrote"] * 4
    out = os.fsencode(tmp_path / "out")
    with open(out + b"/d/\xff\n", "rb") as file:
        assert file.read() == b"x" * 10_000
    assert os.path.samefile(out + b"/d/\xff\n", out + b"/same")
    assert os.listdir(out + b"/d/empty") == []
    assert os.readlink(out + b"/d/link") == b"etc/passwd"
    assert os.lstat(out + b"/d/link").st_mtime_ns == 6_000_000_000
    assert os.stat(out + b"/sparse").st_size == (5 << 30) + 3
    assert os.stat(out + b"/sparse").st_blocks < 100


def test_what_was_changed_in_an_overlay(make_guest: MakeGuest, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    (lower / "d/e").mkdir(parents=True)
    for name in ("read", "written", "gone", "renamed", "d/e/kept", "d/e/changed"):
        (lower / name).write_text(name)
    guest = make_guest(Mapping.overlay(str(lower), "/dir"))
    guest.names()
    assert guest.content("read") == b"read"
    guest.write(guest.open("written"), b"WRITTEN")
    guest.unlink("gone")
    guest.rename("renamed", "anew")
    guest.rename("d", "moved")
    guest.write(guest.open("moved/e/changed"), b"CHANGED")
    done = exported(guest, tmp_path / "out")
    assert sorted(done) == [
        ("moved", b"d", b"moved"),
        ("removed", b"d", b""),
        ("removed", b"gone", b""),
        ("removed", b"renamed", b""),
        ("wrote", b"anew", b""),
        ("wrote", b"moved/e/changed", b""),
        ("wrote", b"written", b""),
    ]
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert files == {"anew", "moved", "moved/e", "moved/e/changed", "written"}
    assert (tmp_path / "out/anew").read_text() == "renamed"
    assert (tmp_path / "out/moved/e/changed").read_text() == "CHANGEDnged"


@pytest.mark.parametrize("name", [b"..", b"a/b", b"/etc/x", b".", b"", b"a\0b"])
def test_names_that_lead_out(make_guest: MakeGuest, tmp_path: Path, name: bytes) -> None:
    """No guest can make them; a forged journal may hold them."""
    guest = make_guest(Mapping.tmp("/dir"))
    guest.make("f", b"evil")
    root = guest.host._roots["/dir"]
    (row,) = root.tree.names.rows.values()  # type: ignore[attr-defined]
    row.name = name
    with pytest.raises(CannotResume, match="called"):
        exported(guest, tmp_path / "out")
