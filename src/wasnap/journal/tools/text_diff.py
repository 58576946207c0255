"""What is different between two snapshots (``diff.diff``) as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wasnap.journal.layout import PAGE_SIZE
from wasnap.journal.tools.diff import same
from wasnap.journal.tools.text_snapshot import frame_lines, memory_name
from wasnap.journal.tools.words import is_leaf, leaf, printable, size_text, value_lines

RUNS_SHOWN = 40


def diff_lines(data: Mapping[str, Any]) -> Iterator[str]:
    """``-`` is the first snapshot, ``+`` the second."""
    yield f"{printable(data['journal'])}: - snapshot {data['before']}, + snapshot {data['after']}"
    for problem in data["problems"]:
        yield f"  damaged: {printable(problem)}"
    for memory in data["memories"]:
        yield from _memory_lines(memory)
    for stack in data["stacks"]:
        yield from _stack_lines(stack)
    for each in data["globals"]:
        name = printable(each["name"] or str(each["index"]))
        yield f"global {name} of {_whose(each)}: {_change(each)}"
    for each in data["tables"]:
        before, after = each["elements"]
        size = f"{before} elements" if before == after else f"{before} -> {after} elements"
        yield f"table {printable(each['table'])}: {size}, {each['changed']} changed"
    for each in data["host"]:
        yield from _value_lines(each)
    if same(data):
        yield "no difference"


def _memory_lines(memory: Mapping[str, Any]) -> Iterator[str]:
    before, after = (
        "none" if pages is None else size_text(pages * PAGE_SIZE) for pages in memory["pages_total"]
    )
    size = before if before == after else f"{before} -> {after}"
    yield (
        f"{memory_name(memory['index'])}: {size}, {memory['bytes']:,} bytes"
        f" in {memory['pages']:,} pages differ"
    )
    for run in memory["runs"][:RUNS_SHOWN]:
        first = run["first_page"] * PAGE_SIZE
        last = first + run["pages"] * PAGE_SIZE - 1
        size = size_text(run["pages"] * PAGE_SIZE)
        yield f"  0x{first:08x} to 0x{last:08x}  {size:>10}  {run['bytes']:,} bytes"
    if len(memory["runs"]) > RUNS_SHOWN:
        yield f"  ... {len(memory['runs']) - RUNS_SHOWN:,} more (--json has all)"


def _stack_lines(stack: Mapping[str, Any]) -> Iterator[str]:
    what = []
    if stack["values"]:
        what.append("values differ")
    if stack["common"]:
        what.append(f"the outermost {stack['common']:,} frames are the same")
    yield f"{_whose(stack)}: {'; '.join(what) or 'no frame is the same'}"
    for sign, side, pending in zip("-+", ("before", "after"), stack["pending"], strict=True):
        if stack["pending"][0] != stack["pending"][1]:
            call = "-" if pending is None else f"{pending['module']}.{pending['name']}"
            yield f"  {sign} waits in {printable(call)}"
        yield from (f"  {sign}{line}" for line in frame_lines(stack[side]))


def _value_lines(change: Mapping[str, Any]) -> Iterator[str]:
    name = printable(".".join(change["path"]))
    sides = [side for side in ("before", "after") if side in change]
    if len(sides) == 2 and all(is_leaf(change[side]) for side in sides):
        yield f"host {name}: {_change(change)}"
        return
    for side in sides:
        sign = "-" if side == "before" else "+"
        if is_leaf(change[side]):
            yield f"host {name}: {sign} {leaf(change[side])}"
        else:
            yield f"host {name}: {sign}"
            yield from value_lines(change[side], "    ")


def _change(change: Mapping[str, Any]) -> str:
    return f"{leaf(change['before'])} -> {leaf(change['after'])}"


def _whose(each: Mapping[str, Any]) -> str:
    """The thread, and of which process if that is not the first."""
    process = "" if each["process"] == 1 else f"process {each['process']}, "
    return f"{process}thread {each['thread']}"
