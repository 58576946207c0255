"""One snapshot (``view.describe_snapshot``) as lines of text.

Long call stacks are shown from both ends, with runs of the same frame as one line; of a scattered
memory neighbouring pieces are shown as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wasnap.journal.layout import HOST_MEMORY, PAGE_SIZE, PROGRAMS
from wasnap.journal.tools.view import bytes_of
from wasnap.journal.tools.words import (
    is_leaf,
    leaf,
    printable,
    quoted,
    size_text,
    time_text,
    value_lines,
)

STACK_TOP = 60
STACK_BOTTOM = 20
SAME_FRAMES_MAX = 3
RANGES_MAX = 24
UNSHOWN = ("type", "number", "name", "rights", "inheriting", "fdflags", "identity")
"""Of an open file: what is shown elsewhere in its line, or says nothing to people."""


def snapshot_lines(view: Mapping[str, Any]) -> Iterator[str]:
    """``describe_snapshot``'s data as text: call stacks innermost first."""
    yield f"snapshot {view['id']} of {printable(view['journal'])}"
    if "time_ns" in view:
        parent = "the start" if view["parent"] is None else f"snapshot {view['parent']}"
        if view["after"]:
            parent = f"snapshot {view['after']}, which was left out, and {parent}"
        label = f"  {quoted(view['label'])}" if view["label"] else ""
        yield f"  {time_text(view['time_ns'])}  {printable(view['trigger'])}{label}"
        yield f"  after {parent}, {size_text(view['size'])} in the journal"
    for problem in view["problems"]:
        yield f"  damaged: {printable(problem)}"
    yield from map(_process_text, view["processes"])
    for stack in view["stacks"]:
        whose = f"process {stack['process']}, " if view["processes"] else ""
        yield f"{whose}thread {stack['thread']}, {len(stack['frames'])} frames"
        if stack["pending"]:
            yield f"  waits in {_call_text(stack['pending'])}"
        yield from frame_lines(stack["frames"])
        yield from map(_global_text, stack["globals"])
    for memory in view["memories"]:
        traits = "64-bit " * memory["is64"] + "shared " * memory["shared"]
        total = size_text(memory["pages_total"] * PAGE_SIZE)
        stored = size_text(memory["pages_stored"] * PAGE_SIZE)
        name = memory_name(memory["index"])
        yield f"{traits}{name}: {total}, {stored} of it not zero, in {memory['extents']} extents"
        yield from _ranges(memory)
    for table in view["tables"]:
        elements = table["elements"]
        name = printable(table["table"])
        yield f"table {name}: {len(elements)} elements, {elements.count(-1)} null"
    host = dict(view["host"])
    files = host.get("descriptors")
    if isinstance(files, list) and all(isinstance(each, dict) for each in files):
        del host["descriptors"]
        yield f"{len(files)} open files"
        yield from map(_file_text, files)
    if host:
        yield "host"
        yield from value_lines(host, "  ")


def memory_name(index: int) -> str:
    """What to call one of the memories in a snapshot."""
    if index == HOST_MEMORY:
        return "directories in memory"
    return f"memory {index}" if index < PROGRAMS else f"program {index - PROGRAMS}"


def _process_text(process: Mapping[str, Any]) -> str:
    memories = ", ".join(map(str, process["memories"]))
    program = process["program"]
    what = "the module" if program is None else memory_name(program)
    return f"process {process['process']}: {what}, memories {memories or '-'}"


def frame_lines(frames: Sequence[Mapping[str, Any]]) -> Iterator[str]:
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
    function = f"function {frame['function']}"
    place = f"site {frame['site']}{offset}"
    if frame["name"] != function:
        place = f"{function}, {place}"
    return f"  #{number:<5} {printable(frame['name'])}  ({place})"


def _global_text(value: Mapping[str, Any]) -> str:
    name = printable(value["name"] or f"{value['index']}")
    shown = leaf(value["value"])
    if isinstance(value["value"], int) and value["value"] > 9 and value["type"] != "funcref":
        shown += f" (0x{value['value']:x})"
    return f"  global {name}: {printable(value['type'])} {shown}"


def _ranges(memory: Mapping[str, Any]) -> Iterator[str]:
    """Where there are pages that are not zero. Of too many ranges, the nearest are shown as one."""
    pieces = [(run["first_page"], run["pages"]) for run in memory["map"]]
    if not pieces:
        return
    gaps = sorted(
        range(1, len(pieces)),
        key=lambda at: pieces[at][0] - sum(pieces[at - 1]),
        reverse=True,
    )
    starts = sorted([0, *gaps[: RANGES_MAX - 1]])
    for start, end in zip(starts, [*starts[1:], len(pieces)], strict=True):
        first = pieces[start][0] * PAGE_SIZE
        last = sum(pieces[end - 1]) * PAGE_SIZE
        stored = sum(pages for _, pages in pieces[start:end]) * PAGE_SIZE
        partly = f"  {size_text(stored)} of it" if stored < last - first else ""
        yield f"  0x{first:08x} to 0x{last - 1:08x}  {size_text(last - first):>10}{partly}"


def _file_text(file: Mapping[str, Any]) -> str:
    """One open file: its number, kind, name; and whatever else it says of itself, in short."""
    words = [f"  {file.get('number', '?'):>3}  {printable(str(file.get('type', '?'))):<9}"]
    place = file.get("place")
    if isinstance(place, dict) and set(place) >= {"guest", "path"}:
        words.append(_path_text(place["guest"], place["path"]))
    elif "name" in file:
        words.append(leaf(file["name"]))
    words += _facts(file)
    return " ".join(words).rstrip()


def _path_text(guest: Any, path: Any) -> str:
    """A path below a mapped directory; it is bytes, but mostly text."""
    if isinstance(path, dict) and is_leaf(path) and path:
        path = bytes_of(path).decode(errors="backslashreplace")
    return quoted(str(guest) if path == "." else f"{guest}/{path}")


def _facts(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if key in UNSHOWN or key in ("place", "guest") or value is None or value is False:
            continue
        if value is True:
            yield printable(key)
        elif isinstance(value, dict) and not is_leaf(value):
            yield from _facts(value)
        elif is_leaf(value):
            yield f"{printable(key)}={leaf(value)}"
        else:
            yield f"{printable(key)}=[{len(value)}]"


def _call_text(call: Mapping[str, Any]) -> str:
    text = f"{printable(call['module'])}.{printable(call['name'])}"
    text += f"({', '.join(map(leaf, call['args']))})"
    progress = call["progress"]
    if progress:
        done = ", ".join(f"{printable(key)}={leaf(each)}" for key, each in progress.items())
        text += f"  [{done}]"
    return text
