"""The journal as a file: who may make it, open it, write to it, and what each refusal says."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from journal.helpers import MODULE, START, add, make, page, three_snapshots
from wasnap.errors import JournalError, JournalLocked, JournalWriteFailed, MissingFile
from wasnap.journal import Journal, place
from wasnap.journal.layout import FILE_HEADER, pack_file_header, seal
from wasnap.journal.storage import Storage


def test_create_refuses_a_file_with_content_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_text("my thesis")
    with pytest.raises(JournalError, match="not empty") as refused:
        make(path)
    assert "--fresh" in refused.value.hint and path.read_text() == "my thesis"
    with Journal.create(path, MODULE, START, overwrite=True) as journal:
        assert journal.snapshots == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_create_takes_an_empty_file_and_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    with make(tmp_path / "link") as journal:
        add(journal, None, {})
    assert (tmp_path / "link").is_symlink()
    with Journal.open(tmp_path / "real") as journal:
        assert len(journal.snapshots) == 1


def test_create_replaces_what_a_crashed_create_left(tmp_path: Path) -> None:
    (tmp_path / ".j.new").write_bytes(b"half")
    (tmp_path / "j").touch()
    make(tmp_path / "j").close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["j"]


@pytest.mark.parametrize("holder", ["create", "open"])
def test_one_writer_at_a_time(tmp_path: Path, holder: str) -> None:
    """The second one is told who has it; readers are let in; closing gives the lock up."""
    path = tmp_path / "j"
    first = make(path)
    if holder == "open":
        first.close()
        first = Journal.open_for_writing(path)
    add(first, None, {0: page("a")})
    with pytest.raises(JournalLocked, match=f"process {os.getpid()} is writing") as refused:
        Journal.open_for_writing(path)
    assert refused.value.exit_code == 75
    with pytest.raises(JournalLocked):
        Journal.create(path, MODULE, START, overwrite=True)
    with Journal.open(path) as reader:
        assert len(reader.snapshots) == 1
    add(first, 1, {1: page("b")})
    first.close()
    with Journal.open_for_writing(path) as second:
        assert len(second.snapshots) == 2


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A writer killed in the middle of a snapshot: no lock left, the tail is cut."""
    path = tmp_path / "j"
    three_snapshots(path)
    script = (
        "import os, sys\n"
        "from wasnap.journal import Journal\n"
        "journal = Journal.open_for_writing(sys.argv[1])\n"
        "writer = journal.begin(3, 'timer')\n"
        "writer.memory(0, 16, 4096, [(1, b'x' * 4096)])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    with pytest.raises(JournalLocked, match=f"process {child.pid} "):
        Journal.open_for_writing(path)
    with Journal.open(path) as reader:
        assert [info.id for info in reader.snapshots] == [1, 2, 3]
        assert reader.size > reader.kept
    child.kill()
    child.communicate()
    with Journal.open_for_writing(path) as journal:
        assert [info.id for info in journal.snapshots] == [1, 2, 3]
        assert path.stat().st_size == journal.kept == journal.size


def test_a_lock_on_a_file_that_was_replaced_does_not_count(tmp_path: Path) -> None:
    """Opened before, locked after another process renamed its new journal there."""
    path = tmp_path / "j"
    path.touch()
    fd = place.open_file(path, writable=True)
    make(path).close()
    with pytest.raises(JournalLocked, match="just replaced"):
        place.lock(fd, path)
    os.close(fd)


def test_files_that_are_no_journals(tmp_path: Path) -> None:
    """One line each, which says what it is and what to do."""
    wasm = tmp_path / "a.wasm"
    wasm.write_bytes(MODULE + bytes(200))
    empty = tmp_path / "empty"
    empty.touch()
    text = tmp_path / "text"
    text.write_text("hello " * 50)
    torn = tmp_path / "torn"
    torn.write_bytes(pack_file_header(b"journal!")[:30])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message, kind in [
        (tmp_path / "nowhere", "not there", MissingFile),
        (text / "below", "not there", MissingFile),
        (tmp_path, "not a regular file", JournalError),
        (fifo, "not a regular file", JournalError),
        (wasm, "wasm module", JournalError),
        (empty, "is empty", JournalError),
        (text, "not a wasnap journal", JournalError),
        (torn, "damaged or cut off", JournalError),
    ]:
        for opened in (Journal.open, Journal.open_for_writing):
            with pytest.raises(kind, match=message) as refused:
                opened(path)
            assert refused.value.hint and "\n" not in str(refused.value)
    assert empty.read_bytes() == b""


def test_newer_versions(tmp_path: Path) -> None:
    """A newer major is refused; a newer minor is read, and not written to."""
    path = tmp_path / "j"
    data = three_snapshots(path)
    magic, _, _, flags, journal, reserved, _ = FILE_HEADER.unpack(data[:64])
    for major, minor, message in [(2, 0, "version 2, this wasnap reads up to 1"), (1, 3, "")]:
        header = seal(FILE_HEADER.pack(magic, major, minor, flags, journal, reserved, 0))
        path.write_bytes(header + data[64:])
        with pytest.raises(JournalError, match=message or "newer wasnap"):
            Journal.open_for_writing(path)
        assert path.read_bytes() == header + data[64:]
        if message:
            with pytest.raises(JournalError, match=message):
                Journal.open(path)
        else:
            with Journal.open(path) as reader:
                assert len(reader.snapshots) == 3 and reader.version == (1, 3)


def test_a_journal_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only files and directories (root may write anyway, so the system's answer is made)."""
    path = tmp_path / "j"
    three_snapshots(path)
    real_open = os.open

    def refusing(name, flags, mode=0o777):  # type: ignore[no-untyped-def]
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(name))
        return real_open(name, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(JournalError, match="may not be written: Permission denied") as refused:
        Journal.open_for_writing(path)
    assert refused.value.hint
    with pytest.raises(JournalError, match="may not be written"):
        make(tmp_path / "new")
    with Journal.open(path) as reader:
        assert len(reader.snapshots) == 3


def test_create_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="not there"):
        make(tmp_path / "no" / "j")


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow: the program goes on, the journal is whole."""
    import resource

    path = tmp_path / "j"
    with make(path) as journal:
        add(journal, None, {0: page("a")})
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 6000, hard))
        try:
            with pytest.raises(JournalWriteFailed, match="File too large"):
                add(journal, 1, {at: page(1 + at) for at in range(16)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert add(journal, 1, {1: page("b")}) == 2
    with Journal.open(path, verify=True) as reader:
        assert len(reader.snapshots) == 2


def test_storage_reads_across_the_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    storage = Storage(os.open(tmp_path / "f", os.O_RDONLY))
    assert storage.read(1, 10) == b"bc" and storage.read(3, 1) == b"" and storage.size() == 3
    storage.close()
    storage.close()
