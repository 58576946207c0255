"""``view``'s data as lines of text.

Text from the guest or the file may hold anything; it is escaped before it is shown. Long call
stacks are shown from both ends, with runs of the same frame as one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from wasnap.journal.layout import HOST_MEMORY, PAGE_SIZE
from wasnap.journal.view import bytes_of

STACK_TOP = 60
STACK_BOTTOM = 20
SAME_FRAMES_MAX = 3
BYTES_SHOWN = 32


def lines(view: Mapping[str, Any]) -> Iterator[str]:
    """``describe``'s data as text."""
    start = view.get("start")
    yield f"{printable(view['journal'])}: journal {view['format']}, {size_text(view['size'])}"
    if start:
        size = size_text(view["module_size"]) if "module_size" in view else "damaged"
        sha256 = bytes_of(start["module_sha256"]).hex()[:12]
        yield f"  module   {printable(start['module_name'])}  {size}  sha256 {sha256}"
        yield f"  args     {' '.join(map(_quoted, start['args'])) or '(none)'}"
        for directory in start["dirs"]:
            names = _quoted(directory["guest"])
            if directory["host"]:
                names += f" = {_quoted(directory['host'])}"
            kind = printable(directory["mapping"])
            yield f"  {kind:8} {names}{'  read-only' if directory['readonly'] else ''}"
        for address in start["listen"]:
            yield f"  listen   {_quoted(address)}"
        yield f"  made by  {printable(view['made_by'])}, {time_text(view['created_ns'])}"
    snapshots = view["snapshots"]
    yield f"  {len(snapshots)} snapshots" if len(snapshots) != 1 else "  1 snapshot"
    yield from _tree(snapshots)
    for damaged in view["damaged"]:
        yield f"  damaged: snapshot {damaged['id']}: {printable(damaged['reason'])}"
    for gap in view["gaps"]:
        yield f"  damaged: {gap['size']} bytes at byte {gap['position']}: {gap['what']}"
    for problem in view["problems"]:
        yield f"  damaged: {printable(problem)}"
    if view["tail"]:
        yield f"  {view['tail']} bytes at the end are not committed and do not count"


def snapshot_lines(view: Mapping[str, Any]) -> Iterator[str]:
    """``describe_snapshot``'s data as text: call stacks innermost first."""
    yield f"snapshot {view['id']} of {printable(view['journal'])}"
    if "time_ns" in view:
        parent = "the start" if view["parent"] is None else f"snapshot {view['parent']}"
        label = f"  {_quoted(view['label'])}" if view["label"] else ""
        yield f"  {time_text(view['time_ns'])}  {printable(view['trigger'])}{label}"
        yield f"  after {parent}, {size_text(view['size'])} in the journal"
    for problem in view["problems"]:
        yield f"  damaged: {printable(problem)}"
    for stack in view["stacks"]:
        yield f"thread {stack['thread']}, {len(stack['frames'])} frames"
        if stack["pending"]:
            yield f"  waits in {_call_text(stack['pending'])}"
        yield from _frame_lines(stack["frames"])
    for memory in view["memories"]:
        traits = "64-bit " * memory["is64"] + "shared " * memory["shared"]
        total = size_text(memory["pages_total"] * PAGE_SIZE)
        stored = size_text(memory["pages_stored"] * PAGE_SIZE)
        name = f"memory {memory['index']}"
        if memory["index"] == HOST_MEMORY:
            name = "directories in memory"
        yield (f"{traits}{name}: {total}, {stored} of it not zero, in {memory['extents']} extents")
    for table in view["tables"]:
        elements = table["elements"]
        name = printable(table["table"])
        yield f"table {name}: {len(elements)} elements, {elements.count(-1)} null"
    if view["host"]:
        yield "host"
        yield from value_lines(view["host"], "  ")


def value_lines(value: Any, indent: str) -> Iterator[str]:
    """Any plain data, one line for each leaf."""
    items: Iterator[tuple[str, Any]]
    if isinstance(value, dict):
        items = ((f"{printable(str(key))}: ", each) for key, each in value.items())
    else:
        items = (("- ", each) for each in value)
    for head, each in items:
        if _is_leaf(each):
            yield f"{indent}{head}{_leaf(each)}"
        elif isinstance(each, list) and all(map(_is_leaf, each)):
            yield f"{indent}{head}{' '.join(map(_leaf, each))}"
        else:
            yield f"{indent}{head}".rstrip()
            yield from value_lines(each, indent + "  ")


def printable(text: str) -> str:
    """``text`` with everything a terminal could take for a command escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def size_text(size: int) -> str:
    """``12 bytes``, ``1.5 KiB``, ``20.0 MiB``."""
    if size < 1024:
        return f"{size} bytes"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def time_text(time_ns: int) -> str:
    """Local time, to the second."""
    try:
        moment = datetime.fromtimestamp(time_ns // 10**9).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns after 1970"
    return moment.isoformat(sep=" ", timespec="seconds")


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
        notes += [_quoted(row["label"])] if row["label"] else []
        yield (
            f"    {name:<{width}}  {time_text(row['time_ns'])}"
            f"  {printable(row['trigger']):<{trigger_width}}  {size_text(row['size']):>10}"
            f"  {row['pages']:>8,} {'page ' if row['pages'] == 1 else 'pages'}  {'  '.join(notes)}"
        ).rstrip()


def _frame_lines(frames: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The frames, with long runs of the same one and the middle of long stacks left out."""
    rows: list[str] = []
    at = 0
    while at < len(frames):
        end = at + 1
        while end < len(frames) and frames[end] == frames[at]:
            end += 1
        shown = end - at if end - at <= SAME_FRAMES_MAX else 1
        rows += [_frame_text(number, frames[at]) for number in range(at, at + shown)]
        if shown < end - at:
            rows.append(f"         ... {end - at - shown:,} more of the same")
        at = end
    left_out = len(rows) - STACK_TOP - STACK_BOTTOM
    if left_out > 1:
        rows[STACK_TOP:-STACK_BOTTOM] = [
            f"         ... {left_out:,} lines left out (--json has all)"
        ]
    yield from rows


def _frame_text(number: int, frame: Mapping[str, Any]) -> str:
    offset = f", module byte 0x{frame['offset']:x}" if frame["offset"] >= 0 else ""
    place = f"function {frame['function']}, site {frame['site']}{offset}"
    return f"  #{number:<5} {printable(frame['name'])}  ({place})"


def _call_text(call: Mapping[str, Any]) -> str:
    text = f"{printable(call['module'])}.{printable(call['name'])}"
    text += f"({', '.join(map(_leaf, call['args']))})"
    progress = call["progress"]
    if progress:
        done = ", ".join(f"{printable(key)}={_leaf(each)}" for key, each in progress.items())
        text += f"  [{done}]"
    return text


def _is_leaf(value: Any) -> bool:
    """Whether ``value`` is shown in one word: no container, an empty one, or bytes."""
    if isinstance(value, dict):
        return not value or set(value) == {"base64"}
    return not isinstance(value, list) or not value


def _leaf(value: Any) -> str:
    if isinstance(value, dict) and value:
        data = bytes_of(value)
        more = "..." if len(data) > BYTES_SHOWN else ""
        return f"<{len(data)} bytes {data[:BYTES_SHOWN].hex()}{more}>"
    if isinstance(value, str):
        return _quoted(value)
    if value is None:
        return "-"
    return str(value)


def _quoted(text: str) -> str:
    """Text as one word: in quotes if it would not be seen as one."""
    text = printable(text)
    return f'"{text}"' if not text or " " in text else text
