"""Schemas of the records that are msgpack maps, and their encoding.

The fields' meaning stands in docs/journal-format.md. A field may be added with a default (a
higher minor version); none is ever renamed or changed in meaning. What has its default is not
written: a small snapshot is mostly names of fields else. Decoding checks types, so a reader of these
objects need not.

(Annotations here are values: msgspec would have to compile each that is text, at each start.)
"""

from typing import Any, ClassVar, TypeVar

import msgspec

from wasnap.errors import JournalError
from wasnap.journal.layout import Kind

CONTENTS = "contents"
"""In ``StartRecord.dropped``: there is nothing to resume."""


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of all records with a schema; ``kind`` says which kind of record it is stored as."""

    kind: ClassVar[Kind]


class Directory(msgspec.Struct, kw_only=True, omit_defaults=True):
    guest: str
    host: str
    readonly: bool = False
    mapping: str = "dir"
    size: int | None = None


class StartRecord(Record, kw_only=True):
    """How the process was started; once in a journal. Times in ns since 1970, ``module_sha256``
    32 bytes.
    """

    kind: ClassVar[Kind] = Kind.START
    wasnap: str
    transform: int
    module_sha256: bytes
    module_name: str
    created_ns: int
    args: list[str] = []
    env: dict[str, str] = {}
    dirs: list[Directory] = []
    listen: list[str] = []
    counted: bool = False
    options: dict[str, Any] = {}
    ids_used: int = 0
    dropped: list[str] = []


class BeginRecord(Record, kw_only=True):
    """Opens a snapshot. Written by ``Journal.begin``."""

    kind: ClassVar[Kind] = Kind.BEGIN
    id: int
    parent: int | None
    base: int | None
    base_commit: int
    time_ns: int
    trigger: str
    label: str = ""
    depth: int = 0
    after: int | None = None


class Frame(msgspec.Struct, array_like=True):
    """One call frame. ``function`` and ``offset`` are the guest's own: function index, byte in
    the module file.
    """

    site: int
    function: int
    offset: int


class Global(msgspec.Struct, array_like=True):
    """A mutable global. Integers unsigned; of a function reference the function's index."""

    index: int
    name: str
    type: str
    value: Any


class PendingCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The host call in which the innermost frame waits. v128 arguments are 16 bytes."""

    module: str
    name: str
    args: list[Any]
    progress: dict[str, Any] | None = None


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An export that a guest thread runs. ``args``: raw values, unsigned."""

    export: str
    args: list[int] = []


class Interrupted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a guest thread was at when a signal's handler began, and goes on with when it ends."""

    frames: bytes
    refs: list[int] = []
    pending: PendingCall | None = None
    entries: list[Entry] = []
    entry: int = 0
    stack_pointer: int | None = None
    again: bool = False


class StackRecord(Record, kw_only=True):
    """The call stack of one guest thread: raw control memory, and the same frames for people
    (innermost first).
    """

    kind: ClassVar[Kind] = Kind.STACK
    transform: int
    data: bytes
    frames_base: int
    fp: int
    frames: list[Frame] = []
    names: dict[int, str] = {}
    globals: list[Global] = []
    pending: PendingCall | None = None
    entries: list[Entry] = []
    entry: int = 0
    thread: int = 0
    begun: bool = True
    interrupted: list[Interrupted] = []
    process: int = 1


class TablesRecord(Record, kw_only=True):
    """Table name to the function index in each element, -1 for null; of one guest thread."""

    kind: ClassVar[Kind] = Kind.TABLES
    tables: dict[str, list[int]]
    thread: int = 0
    process: int = 1


class ProcessRecord(Record, kw_only=True):
    """One guest process of several: which memories of the snapshot are its own, in order, and which
    holds its program (``size`` bytes of this SHA-256); None: that is the journal's module.
    """

    kind: ClassVar[Kind] = Kind.PROCESS
    process: int
    memories: list[int]
    program: int | None = None
    size: int = 0
    sha256: bytes = b""


class HostRecord(Record, kw_only=True):
    """The host room's state, which owns its schema. Any map of what msgpack can hold."""

    kind: ClassVar[Kind] = Kind.HOST
    state: dict[str, Any]


R = TypeVar("R", bound=Record)

_encoder = msgspec.msgpack.Encoder()


def encode(record: Record) -> bytes:
    """The record's payload. JournalError names what msgpack cannot hold (such as text that is not
    UTF-8).
    """
    try:
        return _encoder.encode(record)
    except (UnicodeEncodeError, TypeError, OverflowError, ValueError, RecursionError) as error:
        raise JournalError(f"this {record.kind.name} record cannot be stored: {error}") from error


def decode(payload: bytes, record_type: type[R]) -> R:
    """The record in ``payload``. JournalError if it is not one of that type."""
    try:
        return msgspec.msgpack.decode(payload, type=record_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise JournalError(
            f"the {record_type.kind.name} record does not follow its schema: {error}"
        ) from error
