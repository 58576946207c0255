"""What a resume does about files: its own changes, others' changes, and what the user says."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from wasnap.errors import CannotResume, JournalError
from wasnap.host import Files, Mapping

from .conftest import KINDS, MakeGuest, Noted
from .fakes import OUT, Guest
from .saving import Saved, restore, saved

CREAT, TRUNC = 1, 8


def pass_time(path: Path) -> None:
    """Until a change to the file would have another time: a file system's clock may be coarse."""
    with tempfile.NamedTemporaryFile(dir=path.parent.parent) as file:
        while os.fstat(file.fileno()).st_mtime_ns <= path.stat().st_mtime_ns:
            os.pwrite(file.fileno(), b"x", 0)


class Scene:
    """A guest with three files; then a snapshot; then it changes them all and is gone."""

    def __init__(self, directory: Path, make_guest: MakeGuest) -> None:
        self.data = directory / "data"
        self.data.mkdir()
        self._make_guest = make_guest
        guest = self._make()
        for name in ("open", "closed", "gone"):
            fd = guest.open(name, oflags=CREAT)
            guest.write(fd, b"before")
            if name != "open":
                assert guest("fd_close", fd) == "SUCCESS"
        self.fd = 4
        self.state: Saved = saved(guest)
        pass_time(self.data / "open")
        guest.seek(self.fd, 0)
        guest.write(self.fd, b"after!")
        guest.write(guest.open("closed", oflags=TRUNC), b"")
        assert guest("path_unlink_file", 3, *guest.path("gone")) == "SUCCESS"
        guest.write(guest.open("made", oflags=CREAT), b"new")
        self.after = self.all()
        guest.host.close()

    def _make(self) -> Guest:
        return self._make_guest(Noted(str(self.data), "/dir"))

    def all(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.data.iterdir()}

    def resume(self, files: Files | None = None) -> Guest:
        guest = self._make()
        state = self.state
        options: dict[str, Any] = {"history": guest.history, "files": files, "sync": False}
        guest.host.restore(state.state, state.arena(), **options)
        return guest


BEFORE = {"open": b"before", "closed": b"before", "gone": b"before"}


@pytest.fixture
def scene(tmp_path: Path, make_guest: MakeGuest) -> Scene:
    return Scene(tmp_path, make_guest)


@pytest.mark.parametrize("files", [None, "rewind"])
def test_own_changes_are_undone(scene: Scene, files: Files | None) -> None:
    guest = scene.resume(files)
    assert scene.all() == BEFORE
    assert guest.tell(scene.fd) == 6


def test_keep(scene: Scene) -> None:
    guest = scene.resume("keep")
    assert scene.all() == scene.after
    assert guest.tell(scene.fd) == 6
    guest.host.close()
    scene.resume()
    assert scene.all() == BEFORE, "and it can still be gone back to"


def test_fail(scene: Scene) -> None:
    with pytest.raises(CannotResume) as refused:
        scene.resume("fail")
    for text in ("/dir/open was changed", "/dir/gone was removed", "/dir/made was made"):
        assert f"{text} by the process itself" in refused.value.message
    assert scene.all() == scene.after


def test_what_others_changed_is_never_overwritten(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    pass_time(scene.data / "open")
    (scene.data / "open").write_bytes(b"theirs")
    (scene.data / "gone").write_bytes(b"theirs, too")
    with open(scene.data / "made", "ab") as made:
        made.write(b" and theirs")
    os.mkdir(scene.data / "elsewhere")
    (scene.data / "elsewhere/x").write_bytes(b"nobody minds")
    theirs = {name: (scene.data / name).read_bytes() for name in ("open", "gone", "made", "closed")}
    with pytest.raises(CannotResume) as refused:
        scene.resume()
    for name in ("open", "gone", "made"):
        assert f"/dir/{name} " in refused.value.message
    assert "/dir/closed" not in refused.value.message
    assert {name: (scene.data / name).read_bytes() for name in theirs} == theirs
    scene.resume("rewind").host.close()
    theirs["closed"] = b"before"
    assert {name: (scene.data / name).read_bytes() for name in theirs} == theirs
    assert caplog.text.count("left as it is") == 3
    with pytest.raises(CannotResume, match="/dir/gone is there, and somebody else made it"):
        scene.resume()


@pytest.mark.parametrize("files", [None, "rewind", "keep", "fail"])
def test_an_open_file_that_others_removed(scene: Scene, files: Files | None) -> None:
    """Told once, whatever the user says; and that ``--files`` is of no help is not hidden."""
    (scene.data / "open").rename(scene.data / "elsewhere")
    before = scene.all()
    with pytest.raises(CannotResume) as refused:
        scene.resume(files)
    assert refused.value.message.count("/dir/open is not there") == 1
    assert "--files" not in refused.value.hint
    assert scene.all() == before


def test_an_open_file_that_only_others_changed(tmp_path: Path, make_guest: MakeGuest) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/f").write_bytes(b"0123")
    mapping = Noted(str(tmp_path / "data"), "/dir")
    guest = make_guest(mapping)
    guest.open("f", rights=2)
    state = saved(guest)
    guest.host.close()
    with open(tmp_path / "data/f", "ab") as file:
        file.write(b"more")
    fresh = make_guest(mapping)
    with pytest.raises(CannotResume, match="/dir/f has 8 bytes, and had 4"):
        fresh.host.restore(state.state, state.arena(), history=fresh.history)
    fresh.host.restore(state.state, state.arena(), history=fresh.history, files="rewind")


@pytest.mark.parametrize("how", ["removed", "another"])
def test_without_its_history(scene: Scene, how: str, tmp_path: Path, make_guest: MakeGuest) -> None:
    """Nothing can be undone; what is open is compared, and the rest is up to the user."""
    files = Path(f"{scene.data}.files")
    os.rename(files, tmp_path / "aside")
    if how == "another":
        make_guest(Noted(str(scene.data), "/dir"))
    with pytest.raises(CannotResume, match="/dir/open was changed after the snapshot"):
        scene.resume()
    guest = scene.resume("keep")
    assert scene.all() == scene.after
    guest.write(scene.fd, b"!")
    assert files.is_dir(), "changes are noted again"
    if how == "another":
        assert Path(f"{files}.1").is_dir(), "what lay there is not lost"


def test_a_copy_of_the_directory(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the end, when the files that are open have their old sizes: that nothing is undone is said."""
    times = (scene.data / "open").stat()
    shutil.copytree(scene.data, tmp_path / "copy")
    scene.data.rename(tmp_path / "away")
    (tmp_path / "copy").rename(scene.data)
    with pytest.raises(CannotResume, match="/dir/open was changed after the snapshot"):
        scene.resume()
    caplog.clear()
    scene.resume("keep").host.close()
    assert "not undone" not in caplog.text
    os.utime(scene.data / "open", ns=(times.st_atime_ns, times.st_mtime_ns))
    before = scene.all()
    with pytest.raises(CannotResume):
        scene.resume("fail")
    scene.resume("rewind")
    assert "changed in /dir after the snapshot is not undone" in caplog.text
    assert scene.all() == before


def test_link_counts_are_the_guests(scene: Scene) -> None:
    """Files that are kept have one more name than the guest knows of."""
    guest = scene.resume()
    fd = guest.open("gone")
    assert guest("path_unlink_file", 3, *guest.path("gone")) == "SUCCESS"
    assert guest("fd_filestat_get", fd, OUT) == "SUCCESS"
    assert guest.memory.u64(OUT + 24) == 0


def test_nothing_is_noted_without_a_journal(tmp_path: Path, make_guest: MakeGuest) -> None:
    (tmp_path / "data").mkdir()
    guest = make_guest(Mapping(str(tmp_path / "data"), "/dir"))
    guest.write(guest.open("f", oflags=CREAT), b"x")
    assert saved(guest).state.history is None
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("seconds", [-(1 << 40), 1 << 40])
@pytest.mark.parametrize("kind", ["dir noted", "overlay"], indirect=True)
def test_files_of_other_ages(seconds: int, kind: str, make_guest: MakeGuest) -> None:
    """Of years that no number of ns in a record can name."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as base:
        inside = Path(base) / "dir"
        inside.mkdir()
        for name in ("open", "gone"):
            (inside / name).write_bytes(b"before")
            os.utime(inside / name, (seconds, seconds))
        told = (inside / "open").stat().st_mtime_ns
        guest = make_guest(KINDS[kind](inside, "/dir", False))
        fd = guest.open("open")
        assert guest.fd_stat(fd).size == 6
        state = saved(guest)
        guest.write(fd, b"after!")
        guest.unlink("gone")
        again = make_guest(KINDS[kind](inside, "/dir", False))
        if guest.history is not None:
            guest.host.close()
            again.history = guest.history
        restore(again, state)
        assert again.content("open") == again.content("gone") == b"before"
        assert again("fd_filestat_get", fd, OUT) == "SUCCESS"
        if abs(told) < 1 << 63:  # a file system that has no such times
            assert again.fd_stat(fd).mtim == told


def test_what_is_in_the_way_stays(tmp_path: Path, make_guest: MakeGuest) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data.files").mkdir()
    (tmp_path / "data.files/mine").write_bytes(b"x")
    guest = make_guest(Mapping(str(tmp_path / "data"), "/dir"))
    with pytest.raises(JournalError, match="is not a history of files"):
        guest.host.note_changes(tmp_path / "data.files")
    assert (tmp_path / "data.files/mine").read_bytes() == b"x"
