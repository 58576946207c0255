"""A journal as plain data: what ``--json`` prints, and what ``text`` makes lines from.

Keys are only ever added. Nothing here changes the file, and whatever is damaged is shown as far as
it can be read, with the reasons under ``problems``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from wasnap.errors import JournalError
from wasnap.journal.image import MemoryImage
from wasnap.journal.journal import Journal
from wasnap.journal.layout import Encoding, Kind
from wasnap.journal.proof import SnapshotInfo
from wasnap.journal.records import HostRecord, ProcessRecord, StackRecord, TablesRecord, decode


def describe(journal: Journal) -> dict[str, Any]:
    """The journal as a whole: what it holds, how it was started, its snapshots, its damage."""
    problems: list[str] = []
    view: dict[str, Any] = {
        "journal": str(journal.path),
        "format": "{}.{}".format(*journal.version),
        "size": journal.size,
        "snapshots": [_snapshot(info) for info in journal.snapshots],
        "damaged": [each._asdict() for each in journal.damaged],
        "gaps": [gap._asdict() for gap in journal.gaps if gap.position < journal.kept],
        "tail": max(journal.size - journal.kept, 0),
        "problems": problems,
    }
    try:
        start = journal.start
        view["made_by"] = f"wasnap {start.wasnap}"
        view["created_ns"] = start.created_ns
        view["start"] = plain(start)
    except JournalError as error:
        problems.append(error.message)
    try:
        view["module_size"] = journal.module_size
    except JournalError as error:
        problems.append(error.message)
    return view


def describe_snapshot(journal: Journal, snapshot: int) -> dict[str, Any]:
    """One snapshot: call stacks, memories, tables, host state. NoSuchSnapshot; JournalError if
    nothing of it is left."""
    problems: list[str] = []
    view: dict[str, Any] = {
        "journal": str(journal.path),
        "id": snapshot,
        "problems": problems,
        "stacks": [],
        "memories": [],
        "tables": [],
        "processes": [],
        "host": {},
    }
    view |= next((_snapshot(info) for info in journal.snapshots if info.id == snapshot), {})
    try:
        view["memories"] = [
            {
                "index": image.index,
                "pages_total": image.pages_total,
                "is64": image.is64,
                "shared": image.shared,
                "pages_stored": sum(part.pages for part in image.parts),
                "extents": len(image.parts),
                "map": memory_map(image),
            }
            for image in journal.load(snapshot, verify=False).memories.values()
        ]
        records = journal.remains(snapshot)
    except JournalError as error:
        records = journal.remains(snapshot)
        if not records:
            raise
        problems.append(error.message)
    for header, payload in records:
        if payload is None:
            problems.append(f"the {header.name} record at byte {header.position} is damaged")
            continue
        try:
            if header.kind == Kind.STACK:
                view["stacks"].append(describe_stack(decode(payload, StackRecord)))
            elif header.kind == Kind.TABLES:
                record = decode(payload, TablesRecord)
                view["tables"] += [
                    {
                        "process": record.process,
                        "thread": record.thread,
                        "table": name,
                        "elements": elements,
                    }
                    for name, elements in record.tables.items()
                ]
            elif header.kind == Kind.PROCESS:
                view["processes"].append(plain(decode(payload, ProcessRecord)))
            elif header.kind == Kind.HOST:
                view["host"] = plain(decode(payload, HostRecord).state)
        except JournalError as error:
            problems.append(error.message)
    return view


def memory_map(image: MemoryImage) -> list[dict[str, Any]]:
    """The runs of pages that are not zero, and how they are stored."""
    runs: list[dict[str, Any]] = []
    for part in image.parts:
        stored = Encoding(part.encoding).name.lower()
        if runs:
            last = runs[-1]
            if (last["first_page"] + last["pages"], last["stored"]) == (part.first_page, stored):
                last["pages"] += part.pages
                continue
        runs.append({"first_page": part.first_page, "pages": part.pages, "stored": stored})
    return runs


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: bytes become ``{"base64": text}``, keys text."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def is_bytes(value: Any) -> bool:
    """Whether ``value`` is bytes as ``plain`` writes them."""
    return isinstance(value, dict) and value.keys() == {"base64"}


def bytes_of(value: Mapping[str, str]) -> bytes:
    """The bytes that ``plain`` wrote as text."""
    return base64.b64decode(value["base64"])


def _snapshot(info: SnapshotInfo) -> dict[str, Any]:
    return info._asdict()


def describe_stack(stack: StackRecord) -> dict[str, Any]:
    """A call stack, innermost frame first."""
    return {
        "process": stack.process,
        "thread": stack.thread,
        "bytes": len(stack.data),
        "pending": plain(stack.pending),
        "frames": [
            {
                "name": stack.names.get(frame.function, f"function {frame.function}"),
                "function": frame.function,
                "site": frame.site,
                "offset": frame.offset,
            }
            for frame in stack.frames
        ],
        "globals": [plain(each) for each in stack.globals],
    }
