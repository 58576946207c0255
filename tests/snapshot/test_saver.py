"""Snapshots of a guest that writes to its memory all the time, whatever becomes of them."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

from wasnap.engine import Cache, Executable, Family, Program, Stopped, code, dirty, tracking
from wasnap.errors import JournalWriteFailed
from wasnap.host import Host, HostConfig, HostState, Mapping
from wasnap.host.directory import HostDirectory
from wasnap.host.history.log import Log
from wasnap.journal import PAGE_SIZE, Journal, SnapshotWriter, StartRecord, Storage
from wasnap.snapshot import Phase, Saver, Staging, World, saver, staging
from wasnap.triggers import EndNow

MEMORIES = 2
PAGES = 1024
WRITER = bytes(
    wasmtime.wat2wasm("""(module
      (memory $m (export "memory") 16 64) (memory $other 1)
      (data (memory $m) (i32.const 70000) "a data segment")
      (global $seed (mut i32) (i32.const 1)) (global $left (mut i32) (i32.const 0))
      ;; endless: 20 pages of a hot spot, then one anywhere; now and then the memory grows
      (func (export "_start") (local $at i32)
        (loop $again
          (global.set $seed
            (i32.add (i32.mul (global.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
          (local.set $at (i32.rem_u (i32.shr_u (global.get $seed) (i32.const 8))
            (i32.sub (i32.mul (memory.size $m) (i32.const 65536)) (i32.const 4))))
          (if (i32.and (global.get $seed) (i32.const 0xf0000000))
            (then (local.set $at (i32.and (local.get $at) (i32.const 0x13ffc)))))
          (i32.store $m (local.get $at) (i32.and (global.get $seed) (i32.const 0x20)))
          (i32.store $other (i32.and (global.get $seed) (i32.const 0xfffc)) (local.get $at))
          (if (i32.eqz (i32.and (global.get $seed) (i32.const 0xffffff)))
            (then (drop (memory.grow $m (i32.const 1)))))
          (br $again))))""")
)
START = StartRecord(
    wasnap="0", transform=1, module_sha256=bytes(32), module_name="a.wasm", created_ns=1
)


class Failing(Storage):
    """A file whose writes fail from the n-th on, if ``left`` is that n."""

    left = -1

    def write(self, position: int, buffers: object) -> int:
        if Failing.left >= 0:
            Failing.left -= 1
            if Failing.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(position, buffers)  # type: ignore[arg-type]


class Setting:
    """A running guest, its journal, and the saver between them."""

    def __init__(self, directory: Path, capacity: int, dirs: tuple[Mapping, ...]) -> None:
        self.host = Host(HostConfig(("a",), {}, dirs, None, None, None))
        program = Program.load(WRITER)
        self.guest = Family(
            Executable(program, lambda: WRITER, b""),
            lambda module, name: self.host.function(module, name),
            self.host.processes,
        )
        self.world = World(self.guest, self.host)
        self.path = directory / "journal"
        self.journal = Journal.create(
            self.path, WRITER, START, durability="process", storage=Failing
        )
        self.saver = Saver(self.world, self.journal, None, self.guest.nudge, Staging(capacity))
        self.guest.start()

    def stop(self) -> None:
        """Have the guest stand still."""
        self.guest.stop()
        while (event := self.guest.wait()) is None:
            pass
        assert isinstance(event, Stopped)

    def contents(self) -> list[bytes]:
        """What its memories hold."""
        return [memory.read(0, memory.size) for memory in self.guest.first.memories]

    def saved(self, snapshot: int) -> list[bytes]:
        """What they held, says the journal, read as it is in the file."""
        with Journal.open(self.path, verify=True) as journal:
            loaded = journal.load(snapshot)
            images = [loaded.memory(index) for index in range(MEMORIES)]
            return [image.read(0, image.pages_total) for image in images]

    def ready(self) -> bool:
        """Wait until what is being prepared is READY; False if it failed."""
        while self.saver.phase is Phase.PREPARING:
            self.guest.wait()
            if self.saver.poll() is not None:
                return False
        return True

    def close(self) -> None:
        Failing.left = -1
        if self.saver.phase is Phase.COMMITTING:
            self.saver.wait()
        assert self.saver.close()
        self.guest.close()
        self.world.close()
        self.host.close()
        self.journal.close()


Make = Callable[..., Setting]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Setting] = []

    def setting(capacity: int = 1 << 20, dirs: tuple[Mapping, ...] = ()) -> Setting:
        made.append(Setting(tmp_path, capacity, dirs))
        return made[-1]

    yield setting
    for each in made:
        each.close()


@pytest.fixture(params=["kernel", "comparing"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of finding out what was written to."""
    if request.param == "comparing":
        monkeypatch.setenv(tracking.COMPARE, "1")
    elif not dirty.supported():
        pytest.skip(dirty.missing())


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(4))
def test_every_snapshot_is_what_the_guest_had(
    make: Make, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared or not, copied aside or written in place, with more than fits the staging area, and
    after snapshots that failed at any write: the pages are those of the moment of the stop."""
    chance = random.Random(f"saver {seed}")
    monkeypatch.setattr(saver, "FEW_PAGES", chance.choice([0, 4, 100]))
    monkeypatch.setattr(saver, "WORTH", chance.choice([0.7, 1.5]))
    monkeypatch.setattr(saver, "_STEP_PAGES", chance.choice([50, 2048]))
    monkeypatch.setattr(staging, "BLOCK_PAGES", chance.choice([8, 64]))
    setting = make(chance.choice([1, 1 << 18, 1 << 24]))
    taking = setting.saver
    taken: dict[int, list[bytes]] = {}
    for _ in range(25):
        Failing.left = chance.randrange(12) if chance.random() < 0.4 else -1
        if chance.random() < 0.6:
            taking.prepare("timer", "")
            if chance.random() < 0.7 and not setting.ready():
                continue
        setting.stop()
        content = setting.contents()
        if chance.random() < 0.1:
            taking.cancel()
            setting.guest.proceed()
            continue
        try:
            if chance.random() < 0.3:
                taken[taking.save("timer", "")] = content
                setting.guest.proceed()
                continue
            taking.capture("timer", "")
        except JournalWriteFailed:
            setting.guest.proceed()
            continue
        setting.guest.proceed()
        outcome = taking.wait()
        if outcome.snapshot is None:
            assert isinstance(outcome.error, JournalWriteFailed)
        else:
            taken[outcome.snapshot] = content
    setting.stop()
    Failing.left = 0
    with pytest.raises(JournalWriteFailed):
        taking.save("timer", "")
    assert taken, f"seed {seed}"
    for snapshot, content in taken.items():
        assert setting.saved(snapshot) == content, f"seed {seed}, snapshot {snapshot}"


def test_a_guest_that_ends_meanwhile(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was being prepared is taken back, and the next snapshot has its pages."""
    monkeypatch.setattr(saver, "FEW_PAGES", 0)
    setting = make(1 << 20)
    size = setting.path.stat().st_size
    setting.saver.prepare("timer", "")
    setting.ready()
    setting.saver.cancel()
    assert setting.path.stat().st_size == size
    setting.stop()
    content = setting.contents()
    assert setting.saved(setting.saver.save("timer", "")) == content


@pytest.mark.usefixtures("way")
def test_most_is_written_while_the_guest_runs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first snapshot of a large memory stops the guest for the rest only, and has each page
    once."""
    monkeypatch.setattr(saver, "FEW_PAGES", 64)
    setting = make(1 << 24)
    setting.stop()
    for memory in setting.guest.first.memories:
        memory.write(0, os.urandom(memory.size))
    setting.guest.proceed()
    setting.saver.prepare("timer", "")
    assert setting.ready()
    before = setting.path.stat().st_size
    assert before > 16 * 65536
    setting.stop()
    content = setting.contents()
    setting.saver.capture("timer", "")
    setting.guest.proceed()
    snapshot = setting.saver.wait().snapshot
    assert snapshot is not None
    pages = sum(map(len, content)) // PAGE_SIZE
    assert setting.journal.snapshots[-1].pages <= pages
    assert setting.saved(snapshot) == content


@pytest.mark.usefixtures("way")
def test_the_program_is_decoded_while_it_runs(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What continuations are made of is at hand before the guest is stopped: it takes 0.2 s for a
    CPython. Not if it ends then. Where the module cannot be had that is no reason to have no
    snapshot."""
    monkeypatch.setattr(code, "MANY_SITES", 1)
    cache = Cache(tmp_path / "cache")
    Program.load(WRITER, cache=cache)
    asked: list[str] = []

    def module() -> bytes:
        asked.append(threading.current_thread().name)
        return WRITER if len(asked) > 1 else b""

    program = Program.cached(module, hashlib.sha256(WRITER).digest(), cache=cache)
    assert program is not None
    setting = make()
    first = setting.guest.first
    setting.guest.executables[first] = Executable(program, module, b"")
    for goes_on, times in ((False, 0), (True, 1), (True, 2), (True, 2)):
        setting.saver.prepare("timer", "", goes_on=goes_on)
        assert setting.ready()
        setting.saver.cancel()
        assert asked == ["saver"] * times


def test_abandoned(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not wait for a commit gets the journal as it was before."""
    monkeypatch.setattr(saver, "_ABANDONED_SECONDS", 60)  # a slow disk is another matter
    setting = make(1 << 20)
    setting.stop()
    first = setting.saver.save("timer", "")
    size = setting.path.stat().st_size
    setting.guest.proceed()
    setting.stop()
    content = setting.contents()
    setting.saver.capture("timer", "")
    abandoned = setting.saver.close(abandon=True)
    assert abandoned
    with Journal.open(setting.path, verify=True) as journal:
        ids = [info.id for info in journal.snapshots]
    if ids == [first]:
        assert setting.path.stat().st_size == size
    else:  # it was quicker
        assert setting.saved(ids[-1]) == content
    setting.saver.phase = Phase.IDLE


class Syncs:
    """A guest with a directory whose changes are noted; what happens to a snapshot, in order."""

    def __init__(
        self, make: Make, directory: Path, monkeypatch: pytest.MonkeyPatch, *, sync: bool
    ) -> None:
        data = directory / "data"
        data.mkdir()
        self.setting = make(dirs=(Mapping(str(data), "/data"),))
        self.setting.host.note_changes(directory / "files", sync=sync)
        self.events: list[str] = []
        self.fails = False
        self._made = 0
        capture, synced, commit = Host.capture, Log.sync, SnapshotWriter.commit

        def captured(host: Host) -> HostState:
            state = capture(host)
            self.events.append("captured")
            return state

        def sync_log(log: Log) -> None:
            self.events.append("synced")
            if self.fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            synced(log)

        def committed(writer: SnapshotWriter) -> int:
            self.events.append("committed")
            return commit(writer)

        monkeypatch.setattr(Host, "capture", captured)
        monkeypatch.setattr(Log, "sync", sync_log)
        monkeypatch.setattr(SnapshotWriter, "commit", committed)

    def change(self) -> None:
        """Something that is noted; the guest stands still."""
        data = self.setting.host.descriptors.get(3)
        assert isinstance(data, HostDirectory)
        data.make_directory(b"made %d" % self._made)
        self._made += 1

    def snapshot(self, way: str) -> Exception | None:
        """Take one; why there is none."""
        self.events.clear()
        try:
            if way == "save":
                self.setting.saver.save("timer", "")
                return None
            self.setting.saver.capture("timer", "")
        except OSError as error:
            return error
        return self.setting.saver.wait().error


def test_an_end_at_once_while_its_thread_starts(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler raises wherever the supervisor is: there is then nothing to wait for."""

    def start(thread: threading.Thread) -> None:
        raise EndNow(143)

    setting = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(EndNow):
            setting.saver.prepare("sigterm", "")
    assert setting.saver.close(abandon=True)


@pytest.mark.parametrize("way", ["save", "capture"])
def test_noted_changes_are_synced_before_the_commit(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """And not while the guest stands still to be captured; once for each point."""
    syncs = Syncs(make, tmp_path, monkeypatch, sync=True)
    syncs.setting.stop()
    for _ in range(2):
        syncs.change()
        assert syncs.snapshot(way) is None
        assert syncs.events == ["captured", "synced", "committed"]
    assert syncs.snapshot(way) is None
    assert syncs.events == ["captured", "committed"], "nothing was noted since"


@pytest.mark.parametrize("way", ["save", "capture"])
def test_a_failing_sync_of_noted_changes_fails_the_snapshot(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The journal is as it was; the next one syncs again, though nothing was noted since."""
    syncs = Syncs(make, tmp_path, monkeypatch, sync=True)
    setting = syncs.setting
    setting.stop()
    size = setting.path.stat().st_size
    content = setting.contents()
    syncs.change()
    syncs.fails = True
    error = syncs.snapshot(way)
    assert isinstance(error, OSError) and error.errno == errno.EIO
    assert syncs.events == ["captured", "synced"]
    assert setting.path.stat().st_size == size and not setting.journal.snapshots
    syncs.fails = False
    assert syncs.snapshot(way) is None
    assert syncs.events == ["captured", "synced", "committed"]
    assert setting.saved(setting.journal.snapshots[-1].id) == content


def test_noted_changes_are_not_synced_unless_asked_for(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durability ``process``."""
    syncs = Syncs(make, tmp_path, monkeypatch, sync=False)
    syncs.setting.stop()
    syncs.change()
    assert syncs.snapshot("capture") is None
    assert syncs.events == ["captured", "committed"]
