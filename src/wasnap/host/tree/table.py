"""Rows that are saved in the arena: the files and names of an in-memory directory.

A row is a msgspec Struct with an ``id``. Rows whose ids lie together are encoded together (64 to a
bucket), and a bucket's bytes stand in arena pages of its own; so a snapshot saves the buckets that
changed, and of those the pages that changed. What a snapshot itself must hold is the index: where
each bucket's bytes are.

The lowest free id is given to a new row, so that rows stay together; it follows from the rows, and
need not be saved.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from ...errors import CannotResume
from .arena import PAGE, Arena

_BUCKET: Final = 64

TableState: TypeAlias = list[list[int]]
"""For each bucket its number, its length in bytes, and its pages: first, count, first, count..."""


class Row(msgspec.Struct, array_like=True):
    """Base of all rows. ``id``: from 1, given by the table."""

    id: int


R = TypeVar("R", bound=Row)

_encode = msgspec.msgpack.Encoder().encode


class Table(Generic[R]):
    """Rows by id."""

    def __init__(self, arena: Arena, kind: type[R]) -> None:
        self.rows: dict[int, R] = {}
        self._arena = arena
        self._decoder = msgspec.msgpack.Decoder(list[kind])  # type: ignore[valid-type]
        self._free: list[int] = []
        self._next = 1
        self._changed: set[int] = set()
        self._stored: dict[int, tuple[int, list[tuple[int, int]]]] = {}

    def add(self, row: R) -> R:
        """Give it an id."""
        if self._free:
            row.id = heapq.heappop(self._free)
        else:
            row.id = self._next
            self._next += 1
        self.rows[row.id] = row
        self.touch(row)
        return row

    def touch(self, row: R) -> None:
        """It was changed. To be called after every change."""
        self._changed.add(row.id // _BUCKET)

    def remove(self, row: R) -> None:
        """It is gone, and its id free."""
        del self.rows[row.id]
        heapq.heappush(self._free, row.id)
        self.touch(row)

    # -- snapshots --------------------------------------------------------------------------

    def capture(self) -> TableState:
        """Store what changed into the arena; where everything is."""
        for bucket in sorted(self._changed):
            ids = range(bucket * _BUCKET, (bucket + 1) * _BUCKET)
            rows = [self.rows[i] for i in ids if i in self.rows]
            self._store(bucket, _encode(rows) if rows else b"")
        self._changed.clear()
        return [
            [bucket, length, *(n for run in runs for n in run)]
            for bucket, (length, runs) in sorted(self._stored.items())
        ]

    def _store(self, bucket: int, data: bytes) -> None:
        arena = self._arena
        _, runs = self._stored.pop(bucket, (0, []))
        have = sum(count for _, count in runs)
        need = -(-len(data) // PAGE)
        while have > need:
            first, count = runs.pop()
            keep = max(0, count - (have - need))
            arena.give(first + keep, count - keep)
            if keep:
                runs.append((first, keep))
            have -= count - keep
        if have < need:
            runs += arena.take(need - have)
        if not data:
            return
        left = memoryview(data)
        for first, view in _pages(arena, runs):
            piece = left[:PAGE]
            if view[: len(piece)] != piece:
                view[: len(piece)] = piece
                arena.touch(first, 1)
            left = left[PAGE:]
        self._stored[bucket] = (len(data), runs)

    @classmethod
    def load(cls, arena: Arena, kind: type[R], state: TableState) -> Table[R]:
        """The table of a snapshot. Raises CannotResume."""
        table = cls(arena, kind)
        for bucket, length, *pages in state:
            runs = list(zip(pages[::2], pages[1::2], strict=True))
            for first, count in runs:
                arena.claim(first, count)
            data = b"".join(bytes(view) for _, view in _pages(arena, runs))
            try:
                found: list[R] = table._decoder.decode(data[:length])
            except msgspec.MsgspecError as error:
                raise CannotResume(
                    f"the content of an in-memory directory is not as it should be: {error}",
                    "was it written by another version of wasnap?",
                ) from error
            table.rows.update((row.id, row) for row in found)
            table._stored[bucket] = (length, runs)
        table._next = max(table.rows, default=0) + 1
        table._free = [i for i in range(1, table._next) if i not in table.rows]
        return table


def _pages(arena: Arena, runs: list[tuple[int, int]]) -> Iterator[tuple[int, memoryview]]:
    """Each page of the runs: its number and its bytes."""
    for first, count in runs:
        for page in range(first, first + count):
            for view in arena.views(page, 1):
                yield page, view
