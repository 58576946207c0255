"""Which pages were written to, told by the kernel and found by comparing: whoever writes, and how.

The tests of the kernel's way need Linux 6.7; elsewhere they are skipped, and what runs is the other.
"""

from __future__ import annotations

import ctypes
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.guests import functions, load
from wasnap.engine import (
    BufferExtent,
    Changes,
    Dirty,
    FileExtent,
    Guest,
    GuestMemory,
    MemoryImage,
    Run,
    Tracker,
    dirty,
    image,
    tracker,
    tracking,
)

PAGE = 4096
KERNEL = pytest.mark.skipif(not dirty.supported(), reason=dirty.missing())
WAYS = [pytest.param(Dirty, id="kernel", marks=KERNEL), pytest.param(Changes, id="comparing")]


def guest_text(kind: str) -> str:
    """Two memories with data segments, and exports that write to the first in every way."""
    return f"""(module
      (memory $m (export "memory") {kind} 4 64) (memory $other {kind} 1 8)
      (data (memory $m) ({kind}.const 20480) "first") (data (memory $m) ({kind}.const 90000) "last")
      (data (memory $other) ({kind}.const 70) "other") (data $passive "passive data segment")
      (func (export "store") (param {kind} i32)
        (i32.store8 $m (local.get 0) (local.get 1)))
      (func (export "atomic") (param {kind} i32)
        (drop (i32.atomic.rmw8.add_u $m (local.get 0) (local.get 1))))
      (func (export "vector") (param {kind} i32)
        (v128.store $m align=1 (local.get 0) (i8x16.splat (local.get 1))))
      (func (export "fill") (param {kind} i32 {kind})
        (memory.fill $m (local.get 0) (local.get 1) (local.get 2)))
      (func (export "copy") (param {kind} {kind} {kind})
        (memory.copy $m $m (local.get 0) (local.get 1) (local.get 2)))
      (func (export "init") (param {kind})
        (memory.init $m $passive (local.get 0) (i32.const 0) (i32.const 20)))
      (func (export "load") (param {kind}) (result i32) (i32.load8_u $m (local.get 0)))
      (func (export "store_other") (param {kind} i32)
        (i32.store8 $other (local.get 0) (local.get 1)))
      (func (export "grow") (param {kind}) (result {kind}) (memory.grow $m (local.get 0))))"""


@pytest.fixture(params=["i32", "i64"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    with Guest(load(guest_text(request.param)), functions()) as guest:
        yield guest


@pytest.fixture
def memory(guest: Guest) -> GuestMemory:
    return guest.memories[0]


def run(guest: Guest, export: str, *args: int) -> None:
    """Call an export, on the guest's thread."""
    guest.call(export, args)
    guest.wait(20)


def pages(runs: list[Run]) -> list[int]:
    """Their numbers; runs are sorted, not empty, and not adjacent."""
    ends = [-1, *(end for _, end in runs)]
    assert all(before < first < end for before, (first, end) in zip(ends, runs, strict=False))
    return [page for first, end in runs for page in range(first, end)]


@pytest.mark.parametrize("way", WAYS)
def test_at_first_all_that_is_not_zero(
    guest: Guest, memory: GuestMemory, way: type[Dirty | Changes]
) -> None:
    """The module's data segments, too, whether or not anybody has looked at them."""
    run(guest, "store", 3 * PAGE, 1)
    tracked = way(memory)
    first = pages(tracked.written(memory.size))
    assert set(first) >= {3, 5, 21}
    nonzero = [at for at in range(memory.size // PAGE) if any(memory.read(at * PAGE, PAGE))]
    assert nonzero == [3, 5, 21]
    other = way(guest.memories[1])
    assert 0 in pages(other.written(guest.memories[1].size))
    assert tracked.written(memory.size) == other.written(guest.memories[1].size) == []
    tracked.close()
    other.close()


@pytest.mark.parametrize("way", WAYS)
def test_what_is_saved_of_a_page_is_known(memory: GuestMemory, way: type[Dirty | Changes]) -> None:
    """The guest runs: a page is written to between being told of and being saved, and is then as it
    was told of. Either that is what was saved, or it is told of again."""
    tracked = way(memory)
    tracked.written(memory.size)
    memory.write(7 * PAGE, b"a")
    assert pages(tracked.written(memory.size)) == [7]
    memory.write(7 * PAGE, b"b")
    saved = bytes(tracked.content(memory.size)[7 * PAGE : 8 * PAGE])
    memory.write(7 * PAGE, b"a")
    if pages(tracked.written(memory.size)) == [7]:
        saved = bytes(tracked.content(memory.size)[7 * PAGE : 8 * PAGE])
    assert saved == memory.read(7 * PAGE, PAGE)
    memory.grow_to(memory.size + 1)
    memory.write(memory.size - PAGE, b"new")
    last = memory.size // PAGE - 1
    assert pages(tracked.written(memory.size)) == [last]
    assert bytes(tracked.content(memory.size)[last * PAGE :][:3]) == b"new"
    tracked.close()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_writing(guest: Guest, memory: GuestMemory, way: type[Dirty | Changes]) -> None:
    """The guest by each kind of instruction, the host by each kind of access, and the kernel."""
    source, feed = os.pipe()
    os.write(feed, b"x" * 100)
    file = os.open("/bin/sh", os.O_RDONLY)
    libc = ctypes.CDLL(None)
    view = memory.view(0, memory.size)

    def in_thread() -> None:
        thread = threading.Thread(target=lambda: view.__setitem__(40 * PAGE, 9))
        thread.start()
        thread.join()

    written: list[tuple[Callable[[], object], list[int]]] = [
        (lambda: run(guest, "store", 7 * PAGE + 5, 7), [7]),
        (lambda: run(guest, "atomic", 8 * PAGE, 1), [8]),
        (lambda: run(guest, "vector", 10 * PAGE - 8, 3), [9, 10]),
        (lambda: run(guest, "fill", 11 * PAGE + 1, 5, 3 * PAGE), [11, 12, 13, 14]),
        (lambda: run(guest, "copy", 50 * PAGE - 1, 12 * PAGE, PAGE + 2), [49, 50, 51]),
        (lambda: run(guest, "init", 16 * PAGE - 1), [15, 16]),
        (lambda: memory.write(17 * PAGE - 1, b"ab"), [16, 17]),
        (lambda: memory.set_u32(18 * PAGE, 1), [18]),
        (lambda: ctypes.memset(memory.address + 20 * PAGE, 1, PAGE), [20]),
        (lambda: libc.read(source, ctypes.c_void_p(memory.address + 22 * PAGE), 50), [22]),
        (lambda: os.readv(source, [view[23 * PAGE : 23 * PAGE + 50]]), [23]),
        (lambda: os.preadv(file, [view[25 * PAGE - 4 : 25 * PAGE + 4]], 0), [24, 25]),
        (in_thread, [40]),
        (lambda: run(guest, "load", 30 * PAGE), []),
        (lambda: memory.read(31 * PAGE, 2 * PAGE), []),
        (lambda: run(guest, "store_other", 5, 6), []),
    ]
    tracked = way(memory)
    tracked.written(memory.size)
    for write, expected in written:
        write()
        assert pages(tracked.written(memory.size)) == expected
    for write, _ in written[:7]:
        write()
    assert set(pages(tracked.written(memory.size))) <= {
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        49,
        50,
        51,
    }
    view.release()
    for fd in (source, feed, file):
        os.close(fd)
    tracked.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_memory_that_grows(guest: Guest, memory: GuestMemory, way: type[Dirty | Changes]) -> None:
    """What is new is tracked from its beginning, by however many steps it came."""
    tracked = way(memory)
    tracked.written(memory.size)
    before = memory.size // PAGE
    run(guest, "grow", 3)
    run(guest, "store", before * PAGE, 1)
    run(guest, "grow", 5)
    run(guest, "store", memory.size - 1, 1)
    assert pages(tracked.written(memory.size)) == [before, memory.size // PAGE - 1]
    run(guest, "grow", 1)
    assert set(pages(tracked.written(memory.size))) <= set(
        range(memory.size // PAGE - 16, memory.size // PAGE)
    )
    run(guest, "store", memory.size - 1, 2)
    run(guest, "store", 0, 2)
    assert pages(tracked.written(memory.size)) == [0, memory.size // PAGE - 1]
    tracked.close()


def saved(directory: Path, size: int, chance: random.Random) -> tuple[MemoryImage, bytes]:
    """An image of runs in a file and in a buffer, and what a memory equal to it holds."""
    content = bytearray(size)
    extents: list[FileExtent | BufferExtent] = []
    path = directory / "journal"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    page = 0
    while page < size // PAGE:
        length = min(chance.choice([1, 2, 40]), size // PAGE - page) * PAGE
        data = chance.randbytes(length)
        kind = chance.choice(["file", "file", "buffer", "zero"])
        if kind != "zero":
            content[page * PAGE : page * PAGE + length] = data
        if kind == "file":
            offset = os.fstat(fd).st_size
            os.pwrite(fd, data, offset)
            extents.append(FileExtent(page * PAGE, length, fd, offset))
        elif kind == "buffer":
            extents.append(BufferExtent(page * PAGE, data))
        page += length // PAGE
    return MemoryImage(size, extents), bytes(content)


def mapped(what: MemoryImage) -> set[int]:
    """Pages that are mapped from the file, and so exactly known from the beginning."""
    return {
        page
        for extent in what.extents
        if isinstance(extent, FileExtent) and extent.length >= image.MAPPED_MIN
        for page in range(extent.address // PAGE, (extent.address + extent.length) // PAGE)
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("copied_max", [0, 4096])
def test_after_a_restore(
    guest: Guest,
    memory: GuestMemory,
    way: type[Dirty | Changes],
    tmp_path: Path,
    copied_max: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mapped pages count when they are written to, not when they are read; copied ones may count
    once, and do not when there are many."""
    monkeypatch.setattr(dirty, "COPIED_MAX", copied_max)
    chance = random.Random(3)
    what, content = saved(tmp_path, 64 * 65536, chance)
    memory.restore(what)
    tracked = way(memory)
    tracked.restored(what)
    assert memory.read(0, memory.size) == content
    numbers = chance.sample(range(memory.size // PAGE), 30)
    for number in numbers[:15]:
        memory.write(number * PAGE + 9, bytes([content[number * PAGE + 9] ^ 1]))
    found = set(pages(tracked.written(memory.size)))
    assert found >= set(numbers[:15])
    assert mapped(what) & set(numbers[:15])
    assert found & mapped(what) == set(numbers[:15]) & mapped(what)
    if not copied_max:
        assert found == set(numbers[:15])
    for number in numbers[10:]:
        memory.write(number * PAGE + 9, bytes([content[number * PAGE + 9] ^ 2]))
    assert pages(tracked.written(memory.size)) == sorted(numbers[10:])
    tracked.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("regions", [3, 8192])
@pytest.mark.parametrize("seed", range(3))
def test_against_a_model(
    guest: Guest,
    memory: GuestMemory,
    way: type[Dirty | Changes],
    regions: int,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random writes by guest and host, growth, a restored or a fresh memory: all pages that differ
    are told, and no others but those that were written to."""
    monkeypatch.setattr(dirty, "VEC_LENGTH", regions)
    monkeypatch.setattr(dirty, "STEP", 1 << chance_of(seed).choice([16, 20, 30]))
    chance = chance_of(seed)
    touched: set[int] = set()
    last = bytes(memory.size)
    tracked: Tracker
    if chance.random() < 0.7:
        what, last = saved(tmp_path, 16 * 65536, chance)
        memory.restore(what)
        tracked = way(memory)
        tracked.restored(what)
        touched |= set(range(memory.size // PAGE)) - mapped(what)
    else:
        tracked = way(memory)
        touched |= set(range(memory.size // PAGE))
    for _ in range(60):
        for _ in range(chance.randint(0, 5)):
            touched |= write_somewhere(guest, memory, chance)
        now = memory.read(0, memory.size)
        last += bytes(len(now) - len(last))
        differ = {
            page
            for page in range(len(now) // PAGE)
            if now[page * PAGE : (page + 1) * PAGE] != last[page * PAGE : (page + 1) * PAGE]
        }
        found = set(pages(tracked.written(memory.size)))
        assert found >= differ, f"seed {seed}"
        assert found <= touched, f"seed {seed}"
        last, touched = now, set()
    tracked.close()


def chance_of(seed: int) -> random.Random:
    return random.Random(f"tracking {seed}")


def write_somewhere(guest: Guest, memory: GuestMemory, chance: random.Random) -> set[int]:
    """One write; the pages it touched."""
    size = memory.size
    at, byte = chance.randrange(size - 16), chance.randrange(256)
    length = min(chance.choice([1, 100, PAGE, 20 * PAGE]), size - at)
    match chance.randrange(7):
        case 0:
            run(guest, "store", at, byte)
            length = 1
        case 1:
            run(guest, "fill", at, byte, length)
        case 2:
            source = chance.randrange(size - length + 1)
            run(guest, "copy", at, source, length)
        case 3:
            memory.write(at, chance.randbytes(length))
        case 4:
            memory.write(at, memory.read(at, length))  # as it was
        case 5:
            with open("/bin/sh", "rb") as file:
                length = os.readv(file.fileno(), [memory.view(at, length)])
        case 6 if size < 40 * 65536:
            run(guest, "grow", chance.randint(1, 2))
            return set(range(size // PAGE, memory.size // PAGE))
        case _:
            return set()
    return set(range(at // PAGE, (at + length - 1) // PAGE + 1)) if length else set()


@KERNEL
def test_writes_while_it_is_asked_are_not_lost(guest: Guest, memory: GuestMemory) -> None:
    """A guest that writes all the time: what it wrote since the last answer is in the next."""
    text = """(module (memory (export "memory") 64)
      (func (export "run") (param i32) (local $i i32)
        (loop $again
          (i32.store (i32.mul (i32.and (local.get $i) (i32.const 1023)) (i32.const 4096))
            (i32.add (i32.load (i32.mul (i32.and (local.get $i) (i32.const 1023)) (i32.const 4096)))
              (i32.const 1)))
          (br_if $again
            (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 0))))))"""
    with Guest(load(text), functions()) as busy:
        (memory,) = busy.memories
        tracked = Dirty(memory)
        copy = bytearray(memory.size)
        busy.call("run", (300_000_000,))
        for _ in range(200):
            for page in pages(tracked.written(memory.size)):
                copy[page * PAGE : (page + 1) * PAGE] = memory.read(page * PAGE, PAGE)
        busy.stop()
        assert busy.wait(60) is not None
        for page in pages(tracked.written(memory.size)):
            copy[page * PAGE : (page + 1) * PAGE] = memory.read(page * PAGE, PAGE)
        assert memory.read(0, memory.size) == copy
        tracked.close()


@KERNEL
def test_should_the_kernel_fail_everything_counts(
    memory: GuestMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and nothing is lost."""
    tracked = Dirty(memory)
    tracked.written(memory.size)

    def fails(*_: object) -> int:
        raise OSError(1, os.strerror(1))

    with monkeypatch.context() as patch:
        patch.setattr("wasnap.engine.dirty.fcntl.ioctl", fails)
        assert tracked.written(memory.size) == [(0, memory.size // PAGE)]
    assert tracked.written(memory.size) == [(0, memory.size // PAGE)]
    assert len(caplog.records) == 1
    tracked.close()


@KERNEL
def test_huge_pages() -> None:
    """A kernel that gives memory in pieces of 2 MiB tells of single pages all the same."""
    import mmap

    class Own:
        def __init__(self) -> None:
            self.map = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self.map.madvise(mmap.MADV_HUGEPAGE)
            self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
            self.size = 16 << 20

        def least_size(self) -> int:
            return self.size

    own = Own()
    ctypes.memset(own.address, 1, own.size)
    tracked = Dirty(own)
    assert pages(tracked.written(own.size)) == list(range(4096))
    own.map[700 * PAGE] = 1
    own.map[1500 * PAGE + 5] = 1
    assert pages(tracked.written(own.size)) == [700, 1500]
    own.map[701 * PAGE] = 1
    assert pages(tracked.written(own.size)) == [701]
    tracked.close()


def test_which_way_is_taken(memory: GuestMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's, if it has one and nobody wants the other."""
    monkeypatch.delenv(tracking.COMPARE, raising=False)
    assert isinstance(tracker(memory), Dirty if dirty.supported() else Changes)
    monkeypatch.setenv(tracking.COMPARE, "1")
    assert isinstance(tracker(memory), Changes)
    monkeypatch.delenv(tracking.COMPARE)
    monkeypatch.setattr(dirty, "supported", lambda: False)
    assert isinstance(tracker(memory), Changes)
