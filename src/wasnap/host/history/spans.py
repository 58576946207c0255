"""A set of numbers kept as spans: which bytes of a file have been saved already."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Spans:
    """Starts empty. All spans are half open: ``start`` is in, ``end`` is not."""

    __slots__ = ("_edges",)

    def __init__(self) -> None:
        self._edges: list[int] = []  # start, end, start, end, ...: ascending, none equal

    def add(self, start: int, end: int) -> list[tuple[int, int]]:
        """Put a span in; the parts of it that were not there before."""
        edges = self._edges
        first = bisect_left(edges, start)
        last = bisect_right(edges, end)
        inner = edges[first:last]
        replacing = []
        if not first & 1:  # `start` lies in no span
            replacing.append(start)
            inner.insert(0, start)
        if not last & 1:
            replacing.append(end)
            inner.append(end)
        edges[first:last] = replacing
        return [(a, b) for a, b in zip(inner[::2], inner[1::2], strict=True) if a < b]

    def covers(self, start: int, end: int) -> bool:
        """Whether all of a span is there."""
        edges = self._edges
        i = bisect_right(edges, start)
        return bool(i & 1) and end <= edges[i]
