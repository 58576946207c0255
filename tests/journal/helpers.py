"""What the journal's tests share: a file in memory, one that fails on demand, a small journal."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wasnap.journal import HostRecord, Journal, StackRecord, StartRecord, Storage, TablesRecord
from wasnap.journal.layout import PAGE_SIZE, RecordHeader
from wasnap.journal.records import Frame
from wasnap.journal.scan import Gap, identify, walk
from wasnap.journal.storage import Buffer, Window
from wasnap.journal.survey import survey

MODULE = b"\0asm\x01\0\0\0"
START = StartRecord(
    wasnap="0.1.0",
    transform=1,
    module_sha256=bytes(range(32)),
    module_name="a.wasm",
    created_ns=1000,
    args=["a.wasm", "two words"],
)


def page(byte: int | str) -> bytes:
    """A page full of one byte."""
    return bytes([byte if isinstance(byte, int) else ord(byte)]) * PAGE_SIZE


class BytesStorage(Storage):
    """A file in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        super().__init__(-1)
        self.data = bytearray(data)

    def size(self) -> int:
        return len(self.data)

    def read(self, position: int, size: int) -> bytes:
        return bytes(self.data[position : position + size])

    def write(self, position: int, buffers: Sequence[Buffer]) -> int:
        data = b"".join(buffers)
        assert position <= len(self.data)
        self.data[position : position + len(data)] = data
        return len(data)

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.data += bytes(size - len(self.data))

    def sync(self) -> None:
        pass


class FaultyStorage(Storage):
    """A real file whose n-th call of write, sync or truncate (counted together from 1) fails.

    ``fault``: an errno, "interrupt" (KeyboardInterrupt), or "short": every write writes one
    buffer's half at most. ``last``: the last call that fails (default: only the n-th).
    """

    def __init__(self, fd: int, nth: int, fault: int | str, last: int | None = None) -> None:
        super().__init__(fd)
        self.nth = nth
        self.last = nth if last is None else last
        self.fault = fault
        self.calls = 0

    def _call(self) -> None:
        self.calls += 1
        if self.fault != "short" and self.nth <= self.calls <= self.last:
            if isinstance(self.fault, int):
                raise OSError(self.fault, os.strerror(self.fault))
            raise KeyboardInterrupt

    def write(self, position: int, buffers: Sequence[Buffer]) -> int:
        if self.fault in (errno.ENOSPC, "interrupt") and self.calls + 1 == self.nth:
            # a disk that fills up takes a part first, a signal may come after one
            super().write(position, [memoryview(buffers[0])[: len(buffers[0]) // 2]])
        self._call()
        if self.fault == "short":
            first = memoryview(buffers[0])
            return super().write(position, [first[: max(len(first) // 2, 1)]])
        return super().write(position, buffers)

    def truncate(self, size: int) -> None:
        self._call()
        super().truncate(size)

    def sync(self) -> None:
        self._call()


def open_bytes(data: bytes | bytearray) -> Journal:
    """The journal in ``data``, opened for reading."""
    storage = BytesStorage(data)
    identity = identify(storage, "test.journal")
    return Journal(storage, Path("test.journal"), survey(storage, identity))


class Scan(NamedTuple):
    """What ``walk`` finds in a file."""

    records: list[RecordHeader]
    gaps: list[Gap]


def scanned(data: bytes | bytearray) -> Scan:
    """All intact record headers of the journal in ``data``, and what lies between them."""
    storage = BytesStorage(data)
    found = list(walk(Window(storage), identify(storage, "test.journal")))
    records = [each for each in found if isinstance(each, RecordHeader)]
    return Scan(records, [each for each in found if isinstance(each, Gap)])


def make(path: Path, clock: Callable[[], int] = lambda: 1_700_000_000_000_000_000) -> Journal:
    """A new journal without snapshots, always the same."""
    return Journal.create(path, MODULE, START, random=lambda n: b"journal!"[:n], clock=clock)


def add(
    journal: Journal, parent: int | None, pages: dict[int, bytes], total: int = 16, tag: str = ""
) -> int:
    """Commits a snapshot that changes ``pages`` of memory 0 and has one record of each kind."""
    with journal.begin(parent, "timer", label=tag) as writer:
        writer.memory(0, total, PAGE_SIZE, sorted(pages.items()))
        writer.record(
            StackRecord(
                transform=1,
                data=b"stframes",
                frames_base=18,
                fp=24,
                frames=[Frame(7, 3, 0x40)],
                names={3: "fib"},
            )
        )
        writer.record(TablesRecord(tables={"wasnap.t0": [1, -1]}))
        writer.record(HostRecord(state={"tag": tag}))
        return writer.commit()


def three_snapshots(path: Path) -> bytes:
    """A journal with snapshots 1, 2 (after 1) and 3 (after 1), each with its own pages."""
    with make(path) as journal:
        add(journal, None, {0: page("a"), 1: page("b")}, tag="one")
        add(journal, 1, {1: page("c")}, tag="two")
        add(journal, 1, {0: page(0), 2: page("d")}, tag="three")
    return path.read_bytes()


EXPECTED = {
    1: {0: page("a"), 1: page("b")},
    2: {0: page("a"), 1: page("c")},
    3: {1: page("b"), 2: page("d")},
}
"""Snapshot id to its pages that are not zero, in ``three_snapshots``."""


def contents(journal: Journal, snapshot: int) -> dict[int, bytes]:
    """The pages of memory 0 that are not zero."""
    image = journal.load(snapshot).memory(0)
    everything = ((at, image.read(at, 1)) for at in range(image.pages_total))
    return {at: data for at, data in everything if data != page(0)}


Model = dict[int, tuple[int, dict[int, bytes]]]
"""Snapshot -> size of its memory, and pages that are not zero."""


def history(path: Path, seed: int, count: int) -> Model:
    """Snapshots with random parents (mostly the last), pages, sizes, some full ones, written either
    way; the journal is closed and opened again between some."""
    chance = random.Random(seed)
    model: Model = {0: (12, {})}
    journal = make(path)
    for number in range(1, count + 1):
        parent = number - 1 if chance.random() < 0.8 else chance.randrange(number)
        total, before = model[parent]
        total += chance.choice([0, 0, 0, 3])
        changes = {
            at: page(chance.choice([0, 1, 2, 255]))
            for at in chance.sample(range(total), chance.randrange(5))
        }
        full = chance.random() < 0.05
        with journal.begin(parent or None, "timer", full=full) as writer:
            runs = sorted(changes.items())
            if full or chance.random() < 0.3:
                writer.memory(0, total, PAGE_SIZE, runs)
            else:
                writer.changed(0, total, runs[:2])
                writer.changed(0, total, runs[1:])
            writer.record(HostRecord(state={"number": number}))
            assert writer.commit() == number
        after = ({} if full else before) | changes
        model[number] = (total, {at: data for at, data in after.items() if any(data)})
        if chance.random() < 0.2:
            journal.close()
            journal = Journal.open_for_writing(path)
    journal.close()
    del model[0]
    return model
