"""Keeps the way from a snapshot to its memory's image short, however many snapshots there are.

A snapshot rests on a *base*: pages it does not name are as there. With each one resting on its
parent, the ten thousandth would need the extent tables of ten thousand. So every 64th rests on the
64th before it, every 4096th on the 4096th before it, and so on, and *carries* the extents of those
in between: their tables, merged, pointing at pages that are in the journal already. An extent is
carried once for each such step, 32 bytes for at least 4096 of data.

See "MEMORY" in the format document. Readers know nothing of this: they follow ``base``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wasnap.journal.image import Holes, MemoryTable, decode_memory
from wasnap.journal.index import Index
from wasnap.journal.layout import Kind, MemoryHead, StoredExtent
from wasnap.journal.proof import Entry
from wasnap.journal.scan import read_checked
from wasnap.journal.storage import Storage

STEP = 64


class Base(NamedTuple):
    """What a new snapshot rests on, and the snapshots between it and that, newest first."""

    entry: Entry
    between: list[Entry]


def base_for(index: Index, parent: Entry) -> Base:
    """For a child of ``parent``. JournalError if one of the snapshots in between is damaged."""
    wanted = _level(parent.info.depth + 1)
    between: list[Entry] = []
    for entry in index.chain(parent.info.id):
        if wanted == 0 or entry.info.base is None or _level(entry.info.depth) >= wanted:
            return Base(entry, between)
        between.append(entry)
    raise AssertionError("a chain ends with a snapshot that has no base")


def tables(storage: Storage, entry: Entry) -> dict[int, list[MemoryTable]]:
    """A snapshot's own MEMORY records, by memory. JournalError if one is damaged."""
    found: dict[int, list[MemoryTable]] = {}
    for header in entry.records:
        if header.kind == Kind.MEMORY:
            table = decode_memory(read_checked(storage, header), header)
            found.setdefault(table.head.memory, []).append(table)
    return found


def carried(
    storage: Storage, between: Iterable[Entry], named: Mapping[int, Iterable[StoredExtent]]
) -> dict[int, tuple[MemoryHead, list[StoredExtent]]]:
    """By memory: a head, and the extents of the snapshots ``between`` that are not replaced by a
    newer one or by those the new snapshot has ``named``; zero pages among them.
    """
    heads: dict[int, MemoryHead] = {}
    holes: dict[int, Holes] = {}
    extents: dict[int, list[StoredExtent]] = {}
    for entry in between:
        for memory, found in tables(storage, entry).items():
            if memory not in heads:
                heads[memory] = found[0].head
                holes[memory] = Holes(found[0].head.pages_total)
                for extent in named.get(memory, ()):
                    holes[memory].fill(extent)
                extents[memory] = []
            for table in found:
                for extent in table.extents:
                    extents[memory] += holes[memory].fill(extent)
    return {memory: (heads[memory], sorted(extents[memory])) for memory in heads}


def _level(depth: int) -> int:
    """How many times ``depth`` can be divided by ``STEP``."""
    level = 0
    while depth and not depth % STEP:
        depth //= STEP
        level += 1
    return level
