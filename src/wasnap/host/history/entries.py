"""What stands in the log: see the table of entries in docs/files-format.md.

An entry is written before its change, and says all that is needed to undo it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

KEPT = -1
"""The root of files that lie in the history's own directory."""

Identity: TypeAlias = tuple[int, int]
"""Device and inode."""
Times: TypeAlias = tuple[int, int]
"""Access and modification time, ns since 1970."""


class _Entry(msgspec.Struct, array_like=True):
    pass


class Life(_Entry, tag=1):
    roots: list[tuple[str, int, int]]
    boot: str


class Point(_Entry, tag=2):
    pass


class Back(_Entry, tag=3):
    to: int
    aliases: list[tuple[Identity, Identity]]
    left: list[str]
    elsewhere: list[Identity]


class Made(_Entry, tag=4):
    root: int
    path: bytes
    mode: int
    identity: Identity | None
    target: bytes
    kept: int
    parent: Times


class Is(_Entry, tag=5):
    identity: Identity


class Gone(_Entry, tag=6):
    root: int
    path: bytes
    mode: int
    identity: Identity
    target: bytes
    kept: int
    times: Times
    parent: Times


class Moved(_Entry, tag=7):
    root: int
    path: bytes
    to_root: int
    to_path: bytes
    identity: Identity
    mode: int
    parent: Times
    to_parent: Times
    replaced: Gone | None


class File(_Entry, tag=8):
    root: int
    path: bytes
    identity: Identity
    size: int
    times: Times


class Bytes(_Entry, tag=9):
    root: int
    path: bytes
    identity: Identity
    offset: int


class Hole(_Entry, tag=10):
    root: int
    path: bytes
    identity: Identity
    offset: int
    length: int


class Stamped(_Entry, tag=11):
    root: int
    path: bytes
    identity: Identity
    times: Times


class Foreign(_Entry, tag=12):
    identity: Identity


class Lost(_Entry, tag=13):
    root: int
    path: bytes
    why: str


class Break(_Entry, tag=14):
    why: str


Entry: TypeAlias = (
    Life
    | Point
    | Back
    | Made
    | Is
    | Gone
    | Moved
    | File
    | Bytes
    | Hole
    | Stamped
    | Foreign
    | Lost
    | Break
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """As it stands in the log."""
    return _encoder.encode(entry)


def decode(data: bytes) -> Entry:
    """The inverse. Raises msgspec.MsgspecError."""
    return _decoder.decode(data)
