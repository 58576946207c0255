"""A whole journal (``view.describe``) as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wasnap.journal.tools.view import bytes_of
from wasnap.journal.tools.words import printable, quoted, size_text, time_text


def lines(view: Mapping[str, Any]) -> Iterator[str]:
    """``describe``'s data as text."""
    start = view.get("start")
    yield f"{printable(view['journal'])}: journal {view['format']}, {size_text(view['size'])}"
    if start:
        size = size_text(view["module_size"]) if "module_size" in view else "damaged"
        sha256 = bytes_of(start["module_sha256"]).hex()[:12]
        yield f"  module   {printable(start['module_name'])}  {size}  sha256 {sha256}"
        yield f"  args     {' '.join(map(quoted, start['args'])) or '(none)'}"
        for directory in start["dirs"]:
            names = quoted(directory["guest"])
            if directory["host"]:
                names += f" = {quoted(directory['host'])}"
            kind = printable(directory["mapping"])
            yield f"  {kind:8} {names}{'  read-only' if directory['readonly'] else ''}"
        for address in start["listen"]:
            yield f"  listen   {quoted(address)}"
        yield f"  made by  {printable(view['made_by'])}, {time_text(view['created_ns'])}"
    snapshots = view["snapshots"]
    yield f"  {len(snapshots)} snapshots" if len(snapshots) != 1 else "  1 snapshot"
    yield from _tree(snapshots)
    yield from damage_lines(view)


def damage_lines(view: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it should be, a line each."""
    for damaged in view["damaged"]:
        yield f"  damaged: snapshot {damaged['id']}: {printable(damaged['reason'])}"
    for gap in view["gaps"]:
        yield f"  damaged: {gap['size']} bytes at byte {gap['position']}: {gap['what']}"
    for problem in view["problems"]:
        yield f"  damaged: {printable(problem)}"
    if view["tail"]:
        yield f"  {view['tail']} bytes at the end are not committed and do not count"


def _tree(snapshots: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line a snapshot. A line of descent stays in its column; each branch gets one of its
    own.
    """
    ids = {snapshot["id"] for snapshot in snapshots}
    children: dict[int | None, list[Mapping[str, Any]]] = {}
    for snapshot in snapshots:
        parent = snapshot["parent"] if snapshot["parent"] in ids else None
        children.setdefault(parent, []).append(snapshot)
    roots = children.get(None, [])
    rows: list[tuple[str, Mapping[str, Any]]] = []
    todo = [("", "", root) for root in reversed(roots)]
    while todo:
        first, rest, snapshot = todo.pop()
        rows.append((f"{first}{snapshot['id']}", snapshot))
        below = children.get(snapshot["id"], [])
        if len(below) == 1:
            todo.append((rest, rest, below[0]))
            continue
        for child in reversed(below):
            last = child is below[-1]
            todo.append(
                (rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), child)
            )
    width = max((len(name) for name, _ in rows), default=0)
    trigger_width = max((len(row["trigger"]) for _, row in rows), default=0)
    for name, row in rows:
        lost = row["parent"] is not None and row["parent"] not in ids
        notes = [f"after {row['parent']}, which is damaged"] if lost else []
        notes += [f"after {row['after']}, which was left out"] if row["after"] else []
        notes += [quoted(row["label"])] if row["label"] else []
        yield (
            f"    {name:<{width}}  {time_text(row['time_ns'])}"
            f"  {printable(row['trigger']):<{trigger_width}}  {size_text(row['size']):>10}"
            f"  {row['pages']:>8,} {'page ' if row['pages'] == 1 else 'pages'}  {'  '.join(notes)}"
        ).rstrip()
