"""Changed pages by comparing: exactly those, whatever grows, and owed again until they are saved."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from engine.guests import functions, load
from wasnap.engine import BufferExtent, Changes, Guest, GuestMemory, MemoryImage
from wasnap.snapshot.sources import MemorySource, Slot

PAGE = 4096


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    """A memory of 2 wasm pages (32 of ours) that can grow to 8."""
    program = load('(module (memory (export "memory") 2 8))')
    with Guest(program, functions()) as guest:
        yield guest.memories[0]


def found(changes: Changes, memory: GuestMemory) -> list[tuple[int, bytes]]:
    """(page, its first byte) of each page that changed since the last time."""
    pages: list[tuple[int, bytes]] = []
    for first, end in changes.written(memory.size):
        pages += [(page, memory.read(page * PAGE, 1)) for page in range(first, end)]
    return pages


def test_at_first_all_that_is_not_zero(memory: GuestMemory) -> None:
    """Nothing is saved yet: a page counts if it has any byte that is not zero."""
    memory.write(5 * PAGE + 17, b"x")
    memory.write(6 * PAGE, b"y")
    memory.write(32 * PAGE - 1, b"z")
    assert [page for page, _ in found(Changes(memory), memory)] == [5, 6, 31]


def test_then_what_differs_from_what_was_told(memory: GuestMemory) -> None:
    """Also a page that is zero again, and not one that was changed and changed back."""
    changes = Changes(memory)
    memory.write(PAGE, b"a")
    memory.write(20 * PAGE, b"b")
    assert [page for page, _ in found(changes, memory)] == [1, 20]
    assert found(changes, memory) == []
    memory.write(PAGE, b"\0")
    memory.write(20 * PAGE, b"c")
    memory.write(20 * PAGE, b"b")
    memory.write(2 * PAGE - 1, b"")
    assert found(changes, memory) == [(1, b"\0")]


def test_what_is_not_saved_is_owed_again(
    memory: GuestMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that failed leaves its pages for the next."""
    monkeypatch.setenv("WASNAP_COMPARE_PAGES", "1")
    source = MemorySource(Slot(0, False, False), memory)
    memory.write(3 * PAGE, b"a")
    for _ in range(2):
        source.look(running=False)
        assert source.take(100) == [(3, 4)]
        source.not_saved()
    memory.write(4 * PAGE, b"b")
    source.look(running=False)
    assert source.take(100) == [(3, 5)]
    source.saved()
    assert source.look(running=False) == 0
    source.close()


def test_a_memory_that_grows(memory: GuestMemory) -> None:
    """What is new is compared with zeros."""
    changes = Changes(memory)
    memory.write(0, b"a")
    found(changes, memory)
    memory.grow_to(8 * 65536)
    assert found(changes, memory) == []
    memory.write(127 * PAGE, b"b")
    assert found(changes, memory) == [(127, b"b")]


def test_after_a_restore(memory: GuestMemory) -> None:
    """What was restored is what the next snapshot is compared with."""
    image = MemoryImage(2 * 65536, [BufferExtent(PAGE, b"q" * 2 * PAGE)])
    memory.restore(image)
    changes = Changes(memory)
    changes.restored(image)
    assert found(changes, memory) == []
    memory.write(2 * PAGE, b"r")
    assert found(changes, memory) == [(2, b"r")]


def test_against_a_model(memory: GuestMemory) -> None:
    """Random writes: always the pages whose bytes differ, and no others."""
    chance = random.Random(7)
    changes = Changes(memory)
    saved = memory.read(0, memory.size)
    for _ in range(200):
        for _ in range(chance.randint(0, 4)):
            memory.write(chance.randrange(memory.size - 1), bytes([chance.randrange(3)]))
        now = memory.read(0, memory.size)
        differ = [
            page
            for page in range(len(now) // PAGE)
            if now[page * PAGE : (page + 1) * PAGE] != saved[page * PAGE : (page + 1) * PAGE]
        ]
        assert [page for page, _ in found(changes, memory)] == differ
        saved = now
