"""What is different between two snapshots of a journal: pages, globals, files, call stacks.

Pages that are the same place in the file are not read; where two snapshots share most of their
memory only the rest is compared, byte by byte.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any, TypeVar

from wasnap.errors import JournalError
from wasnap.journal.image import Block, MemoryImage
from wasnap.journal.journal import Journal
from wasnap.journal.layout import PAGE_SIZE, StoredExtent
from wasnap.journal.records import HostRecord, Record, StackRecord, TablesRecord
from wasnap.journal.snapshot import Snapshot
from wasnap.journal.survey import Progress
from wasnap.journal.tools import view

STEP_PAGES = 256

R = TypeVar("R", bound=Record)


def diff(
    journal: Journal, before: int, after: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Plain data: ``memories``, ``stacks``, ``globals``, ``tables``, ``host``: what differs only.

    Damaged pages are compared as they are, and told under ``problems``. NoSuchSnapshot;
    JournalError if one of the snapshots cannot be read.
    """
    old, new = (journal.load(number, verify=False) for number in (before, after))
    problems = []
    verified: set[Block] = set()
    for snapshot in (old, new):
        try:
            snapshot.verify(verified)
        except JournalError as error:
            problems.append(f"snapshot {snapshot.info.id}: {error.message}")
    return {
        "journal": str(journal.path),
        "before": before,
        "after": after,
        "problems": problems,
        "memories": list(_memories(old, new, progress)),
        "stacks": list(_stacks(old, new)),
        "globals": list(_globals(old, new)),
        "tables": list(_tables(old, new)),
        "host": list(_values(_host(old), _host(new), [])),
    }


def same(data: Mapping[str, Any]) -> bool:
    """Whether ``diff`` found nothing."""
    return not any(data[key] for key in ("memories", "stacks", "globals", "tables", "host"))


def _memories(old: Snapshot, new: Snapshot, progress: Progress | None) -> Iterator[dict[str, Any]]:
    for index in sorted(old.memories.keys() | new.memories.keys()):
        images = old.memories.get(index), new.memories.get(index)
        sizes = [None if image is None else image.pages_total for image in images]
        runs = []
        if images[0] is not None and images[1] is not None:
            runs = list(changed_pages(images[0], images[1], progress))
        if runs or sizes[0] != sizes[1]:
            pages = sum(run["pages"] for run in runs)
            yield {
                "index": index,
                "pages_total": sizes,
                "pages": pages,
                "bytes": sum(run["bytes"] for run in runs),
                "runs": runs,
            }


def changed_pages(
    old: MemoryImage, new: MemoryImage, progress: Progress | None = None
) -> Iterator[dict[str, int]]:
    """Runs of pages that differ: ``first_page``, ``pages``, and how many ``bytes`` of them do.

    What one image has beyond the other's end is compared with zeros.
    """
    pages: list[tuple[int, int]] = []
    done = 0
    suspects = list(unlike(old.parts, new.parts))
    total = sum(end - start for start, end in suspects)
    for start, end in suspects:
        for first in range(start, end, STEP_PAGES):
            count = min(STEP_PAGES, end - first)
            pages += _compared(old, new, first, count)
            done += count
            if progress is not None:
                progress(done * PAGE_SIZE, total * PAGE_SIZE)
    for _, run in groupby(enumerate(pages), lambda item: item[1][0] - item[0]):
        found = [each for _, each in run]
        yield {
            "first_page": found[0][0],
            "pages": len(found),
            "bytes": sum(count for _, count in found),
        }


def _compared(
    old: MemoryImage, new: MemoryImage, first: int, count: int
) -> Iterator[tuple[int, int]]:
    """Pages that differ, and in how many bytes."""
    contents = [image.read(first, count).ljust(count * PAGE_SIZE, b"\0") for image in (old, new)]
    if contents[0] == contents[1]:
        return
    for at in range(count):
        a, b = (content[at * PAGE_SIZE : (at + 1) * PAGE_SIZE] for content in contents)
        if a != b:
            unequal = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
            yield first + at, PAGE_SIZE - unequal.to_bytes(PAGE_SIZE, "little").count(0)


def unlike(old: list[StoredExtent], new: list[StoredExtent]) -> Iterator[tuple[int, int]]:
    """Of two images' parts: ranges of pages that are neither the same pages of the same block, nor
    zero in both."""
    start = end = 0
    for first, stop in _boundaries(old, new):
        if _place(old, first) == _place(new, first):
            continue
        if first != end:
            if end:
                yield start, end
            start = first
        end = stop
    if end:
        yield start, end


def _boundaries(*images: list[StoredExtent]) -> Iterator[tuple[int, int]]:
    """Ranges within which no extent of any image begins or ends."""
    edges = sorted({edge for parts in images for p in parts for edge in (p.first_page, p.end)})
    return pairwise(edges)


def _place(parts: list[StoredExtent], page: int) -> tuple[int, int] | None:
    """Where a page stands: its block, and which page of that; None if it is zero."""
    at = bisect_right(parts, page, key=lambda part: part.first_page) - 1
    if at < 0 or parts[at].end <= page:
        return None
    return parts[at].position, parts[at].skip + page - parts[at].first_page


def _pairs(
    old: Snapshot, new: Snapshot, record_type: type[R]
) -> Iterator[tuple[dict[str, int], R | None, R | None]]:
    """Whose, and the record of that thread in both snapshots."""
    sides = [{_whose(r): r for r in s.records(record_type)} for s in (old, new)]
    for process, thread in sorted(sides[0].keys() | sides[1].keys()):
        key = process, thread
        whose = {"process": process, "thread": thread}
        yield whose, sides[0].get(key), sides[1].get(key)


def _whose(record: Record) -> tuple[int, int]:
    """Process and thread."""
    return getattr(record, "process", 1), getattr(record, "thread", 0)


def _stacks(old: Snapshot, new: Snapshot) -> Iterator[dict[str, Any]]:
    """``common``: how many outermost frames are the same; then the others, innermost first;
    ``values``: whether anything in the frames differs.
    """
    for whose, a, b in _pairs(old, new, StackRecord):
        if a == b:
            continue
        frames = [[] if s is None else view.describe_stack(s)["frames"] for s in (a, b)]
        common = 0
        while common < min(map(len, frames)) and frames[0][-1 - common] == frames[1][-1 - common]:
            common += 1
        pending = [None if s is None else view.plain(s.pending) for s in (a, b)]
        values = (a and a.data) != (b and b.data)
        if not values and frames[0] == frames[1] and pending[0] == pending[1]:
            continue
        yield {
            **whose,
            "common": common,
            "before": frames[0][: len(frames[0]) - common],
            "after": frames[1][: len(frames[1]) - common],
            "values": values,
            "pending": pending,
        }


def _globals(old: Snapshot, new: Snapshot) -> Iterator[dict[str, Any]]:
    for whose, a, b in _pairs(old, new, StackRecord):
        sides = [{} if s is None else {g.index: g for g in s.globals} for s in (a, b)]
        for index in sorted(sides[0].keys() | sides[1].keys()):
            values = [view.plain(side[index].value) if index in side else None for side in sides]
            if values[0] != values[1]:
                shown = sides[0].get(index) or sides[1][index]
                yield {
                    **whose,
                    "index": index,
                    "name": shown.name,
                    "type": shown.type,
                    "before": values[0],
                    "after": values[1],
                }


def _tables(old: Snapshot, new: Snapshot) -> Iterator[dict[str, Any]]:
    for whose, a, b in _pairs(old, new, TablesRecord):
        sides = [{} if t is None else t.tables for t in (a, b)]
        for name in sorted(sides[0].keys() | sides[1].keys()):
            elements = [side.get(name, []) for side in sides]
            if elements[0] != elements[1]:
                changed = sum(x != y for x, y in zip(*elements, strict=False))
                sizes = [len(each) for each in elements]
                yield {**whose, "table": name, "elements": sizes, "changed": changed}


def _host(snapshot: Snapshot) -> Any:
    states = [view.plain(record.state) for record in snapshot.records(HostRecord)]
    return states[0] if states else {}


def _values(before: Any, after: Any, path: list[str]) -> Iterator[dict[str, Any]]:
    """Where plain data differs: ``path``, and ``before`` and ``after`` if there is such a thing."""
    if before == after:
        return
    old, new = _named(before), _named(after)
    if old is None or new is None:
        yield {"path": path, "before": before, "after": after}
        return
    for key in dict.fromkeys([*old, *new]):
        if key not in new:
            yield {"path": [*path, key], "before": old[key]}
        elif key not in old:
            yield {"path": [*path, key], "after": new[key]}
        else:
            yield from _values(old[key], new[key], [*path, key])


def _named(value: Any) -> dict[str, Any] | None:
    """What is in a container, by name: of a list by number, its elements' own if they have one."""
    if view.is_bytes(value):
        return None
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return None
    if all(isinstance(each, dict) and "number" in each for each in value):
        return {str(each["number"]): each for each in value}
    return {str(at): each for at, each in enumerate(value)}
