"""The format document, the layouts and schemas in the code, and golden bytes say the same.

The golden files are hex with a comment on each field; they were written by hand from the document.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from journal.helpers import MODULE, BytesStorage
from wasnap.journal import layout, records
from wasnap.journal.records import decode, encode
from wasnap.journal.storage import write_all
from wasnap.journal.writer import Log

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "journal-format.md").read_text()

LAYOUTS: dict[str, tuple[struct.Struct, Any, tuple[Any, ...]]] = {
    "File header": (
        layout.FILE_HEADER,
        layout.FileHeader,
        (b"\x89WASNAP\n", 1, 0, 0, b"journal!", bytes(36), None),
    ),
    "Record header": (
        layout.RECORD_HEADER,
        layout.RecordHeader,
        (b"WREC", 1, 0, 35, 1, b"journal!", 576, 7, 15, 15, None, None),
    ),
    "COMMIT": (layout.COMMIT, layout.Commit, (3, 1, 448, 320, 5, 0xDEADBEEF, bytes(24))),
    "LABEL": (layout.LABEL, layout.Label, (3, 448, b"fast".ljust(160, b"\0"), bytes(16))),
    "Memory head": (layout.MEMORY_HEAD, layout.MemoryHead, (1, 4096, 32, 1, 2, 3)),
    "Extent": (layout.EXTENT, layout.StoredExtent, (5, 8192, 3, 300, 0x12345678, 7, 2)),
}

SCHEMAS: dict[str, msgspec.Struct | None] = {
    "START": records.StartRecord(
        wasnap="0.1.0",
        transform=1,
        module_sha256=bytes(range(32)),
        module_name="a.wasm",
        created_ns=1000,
        args=["a", "b"],
        env={"K": "V"},
        dirs=[records.Directory(guest="/", host=".", readonly=True)],
        listen=["h:1"],
    ),
    "BEGIN": records.BeginRecord(
        id=2, parent=1, base=1, base_commit=640, time_ns=1000, trigger="timer", depth=1
    ),
    "STACK": records.StackRecord(
        transform=1,
        data=b"\xaa\xbb\xcc",
        frames_base=18,
        fp=19,
        frames=[records.Frame(7, 3, -1)],
        names={3: "fib"},
        globals=[
            records.Global(0, "sp", "i32", 1000),
            records.Global(2, "", "externref", None),
        ],
        pending=records.PendingCall(module="w", name="r", args=[1, 1.5], progress={"t": 5}),
        entries=[records.Entry(export="f", args=[2])],
        entry=1,
        interrupted=[
            records.Interrupted(
                frames=b"\xdd",
                refs=[7, -1],
                entries=[records.Entry(export="g")],
                stack_pointer=100,
                again=True,
            )
        ],
        process=2,
    ),
    "TABLES": records.TablesRecord(tables={"t": [5, -1, 128]}),
    "HOST": records.HostRecord(state={"fds": [0, None]}),
    "PROCESS": records.ProcessRecord(
        process=3, memories=[2, 5], program=layout.PROGRAMS + 1, size=10000, sha256=b"\xaa\xbb"
    ),
}


class Line(NamedTuple):
    data: bytes
    field: str


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading of the document, without the head."""
    section = re.split(rf"^#+ {heading}$", DOCUMENT, flags=re.M)[1]
    section = re.split(r"^#", section, flags=re.M)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def golden(name: str) -> list[Line]:
    """The fields of a golden file; bytes without a comment belong to the next comment."""
    lines = []
    data = b""
    text = (HERE / "golden" / f"{name.lower().replace(' ', '_')}.hex").read_text()
    for row in text.splitlines():
        code, _, comment = row.partition("#")
        data += bytes.fromhex(code)
        if comment:
            lines.append(Line(data, comment.strip().split(":")[0].split()[0]))
            data = b""
    return lines


def golden_bytes(name: str) -> bytes:
    return b"".join(line.data for line in golden(name))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_as_the_document_says(name: str) -> None:
    """Offsets, sizes and names in the document's table are those of the Struct and the tuple."""
    form, fields, _ = LAYOUTS[name]
    rows = table(name)
    assert [row[2] for row in rows] == list(fields._fields)
    offset = 0
    codes = re.findall(r"\d*[a-zA-Z]", form.format[1:])
    assert form.format[0] == "<" and len(codes) == len(rows)
    for code, row in zip(codes, rows, strict=True):
        assert [int(row[0]), int(row[1])] == [offset, struct.calcsize("<" + code)]
        offset += int(row[1])
    assert offset == form.size


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_has_its_golden_bytes(name: str) -> None:
    """Golden fields have the document's names and sizes, and decode to and from the values."""
    form, fields, values = LAYOUTS[name]
    lines = golden(name)
    assert [(line.field, len(line.data)) for line in lines] == [
        (row[2], int(row[1])) for row in table(name)
    ]
    decoded = fields._make(form.unpack(golden_bytes(name)))
    for value, wanted in zip(decoded, values, strict=True):
        assert wanted is None or value == wanted
    assert form.pack(*decoded) == golden_bytes(name)


def test_golden_headers_are_what_is_written() -> None:
    """The packing functions make the golden headers, crc and all."""
    assert layout.pack_file_header(b"journal!") == golden_bytes("File header")
    storage = BytesStorage(bytes(576))
    log = Log(storage, b"journal!", 576, 6, sync=False)
    log.append(layout.Kind.HOST, [golden_bytes("HOST")], flags=layout.RECORD_IGNORABLE)
    assert storage.data[576 : 576 + 64] == golden_bytes("Record header")


def test_kinds_are_those_of_the_document() -> None:
    rows = [row for row in table("Kinds") if row[0].isdigit()]
    assert {row[1]: int(row[0]) for row in rows} == {kind.name: kind.value for kind in layout.Kind}


def test_encodings_are_those_of_the_document() -> None:
    rows = {row[1].upper(): int(row[0]) for row in table("Encodings")}
    assert rows == {encoding.name: encoding.value for encoding in layout.Encoding}


@pytest.mark.parametrize(
    "name", [*SCHEMAS, "Directory", "Frame", "Global", "PendingCall", "Entry", "Interrupted"]
)
def test_schema_is_as_the_document_says(name: str) -> None:
    """Field names, types and which are required."""
    record = SCHEMAS.get(name)
    struct_type = getattr(records, name) if record is None else type(record)
    shown = [
        (field.encode_name, text_of(field.type), "yes" if field.required else "no")
        for field in msgspec.structs.fields(struct_type)
    ]
    assert [(row[0], row[1], row[2]) for row in table(name)] == shown


def text_of(annotation: Any) -> str:
    """A type as the document writes it."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    if hasattr(annotation, "__origin__"):
        text = str(annotation)
    text = re.sub(r"wasnap\.journal\.records\.|typing\.", "", text)
    return text.replace(" | None", "?").replace("Any", "any")


@pytest.mark.parametrize("name", SCHEMAS)
def test_record_has_its_golden_bytes(name: str) -> None:
    """Each kind encodes to and decodes from its golden bytes."""
    record = SCHEMAS[name]
    assert isinstance(record, records.Record)
    assert encode(record) == golden_bytes(name)
    assert decode(golden_bytes(name), type(record)) == record


def test_unknown_keys_are_skipped_and_missing_ones_have_defaults() -> None:
    """A record of a later minor version, and one of an earlier."""
    later = msgspec.msgpack.encode({"tables": {}, "invented_later": [1]})
    assert decode(later, records.TablesRecord) == records.TablesRecord(tables={})
    earlier = msgspec.msgpack.encode(
        {"id": 1, "parent": None, "base": None, "base_commit": 0, "time_ns": 0, "trigger": "timer"}
    )
    assert decode(earlier, records.BeginRecord).label == ""


def test_layout_of_a_file() -> None:
    """START stands at 64, records at multiples of 64, the raw module as it is."""
    storage = BytesStorage(b"")
    end = write_all(storage, 0, [layout.pack_file_header(b"journal!")])
    log = Log(storage, b"journal!", end, 0, sync=False)
    start = log.append(layout.Kind.START, [golden_bytes("START")])
    module = log.append(layout.Kind.MODULE, [MODULE])
    assert (start.position, module.position % 64) == (64, 0)
    assert storage.read(module.payload, 8) == MODULE
    assert len(storage.data) % 64 == 0
