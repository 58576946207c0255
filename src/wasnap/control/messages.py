"""What is said over a process's socket: one message, one answer, each a line of JSON.

::

    {"verb":"status","version":1}
    {"verb":"snapshot","version":1,"label":"before the upgrade"}
    {"verb":"stop","version":1,"label":""}        a snapshot, then the process ends with code 0
    {"verb":"signal","version":1,"number":15}
    {"verb":"take-over","version":1,"device":2049,"inode":131}     a conversation: handover.py

    {"answer":"status", ...}   {"answer":"taken","id":7}   {"answer":"sent"}
    {"answer":"refused","message":"...","hint":"...","exit_code":64}

A process answers messages of its own version; another one it refuses by name. Fields may be added
without raising it: unknown ones are skipped.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

VERSION = 1
SIZE_MAX = 65_536
"""Of a message, in bytes. Answers have no limit."""


class _Message(msgspec.Struct, tag_field="verb", tag=str.lower, frozen=True, kw_only=True):
    version: int = VERSION


class StatusOf(_Message, frozen=True, tag="status"):
    """How are you?"""


class Snapshot(_Message, frozen=True, kw_only=True):
    """Take one; answered when it is committed."""

    label: str = ""


class Stop(_Message, frozen=True, kw_only=True):
    """Take one, then end with code 0; without a snapshot the process goes on."""

    label: str = ""


class Signal(_Message, frozen=True, kw_only=True):
    """Do as if this signal had come (this machine's number); answered before it is done."""

    number: int


class TakeOver(_Message, frozen=True, kw_only=True, tag="take-over"):
    """Hand the process over to me; I go on in this journal."""

    device: int
    inode: int


Message: TypeAlias = StatusOf | Snapshot | Stop | Signal | TakeOver


class Status(msgspec.Struct, tag_field="answer", tag="status", frozen=True, kw_only=True):
    """``state``: starting, running. ``command``: the program's name and its arguments. Times in ns
    since 1970. ``snapshot``: the newest one, committed or resumed from.
    """

    pid: int
    wasnap: str
    state: str
    command: list[str]
    journal: str | None
    triggers: list[str]
    started_ns: int
    snapshot: int | None
    snapshot_ns: int | None


class Taken(msgspec.Struct, tag_field="answer", tag="taken", frozen=True):
    """The snapshot is committed."""

    id: int


class Sent(msgspec.Struct, tag_field="answer", tag="sent", frozen=True):
    """The signal is on its way."""


class Refused(msgspec.Struct, tag_field="answer", tag="refused", frozen=True):
    """It cannot be done; as in ``wasnap.errors``."""

    message: str
    hint: str = ""
    exit_code: int = 70


class Part(msgspec.Struct, tag_field="answer", tag="part", frozen=True):
    """Some of the guest's sockets, by their numbers; the descriptors come along, in this order."""

    numbers: list[int]


class Offer(msgspec.Struct, tag_field="answer", tag="offer", frozen=True):
    """These were all; the guest stands still at this snapshot. The journal's descriptor comes along."""

    snapshot: int


class Yours(msgspec.Struct, tag_field="answer", tag="yours", frozen=True):
    """The process is yours; I end."""


class Withdrawn(msgspec.Struct, tag_field="answer", tag="withdrawn", frozen=True):
    """The process stays mine; its guest goes on."""

    message: str


Answer: TypeAlias = Status | Taken | Sent | Refused | Part | Offer | Yours | Withdrawn


class Got(msgspec.Struct, tag_field="reply", tag="got", frozen=True):
    """Of a part."""


class Ready(msgspec.Struct, tag_field="reply", tag="ready", frozen=True):
    """Of the offer: everything is restored; say that it is mine and I go on."""


class Mine(msgspec.Struct, tag_field="reply", tag="mine", frozen=True):
    """From here on the process is this one."""


Reply: TypeAlias = Got | Ready | Mine


class _Versioned(msgspec.Struct):
    version: int


def decode(line: bytes) -> Message:
    """Raises ValueError: not a message, or not of this version."""
    version = msgspec.json.decode(line, type=_Versioned).version
    if version != VERSION:
        raise ValueError(f"version {version} of control messages; this wasnap has {VERSION}")
    return msgspec.json.decode(line, type=Message)  # type: ignore[no-any-return]


def encode(item: Message | Answer | Reply) -> bytes:
    """With its newline."""
    return msgspec.json.encode(item) + b"\n"


def decode_as(line: bytes, kind: Any) -> Any:
    """One of ``kind``, a type or a union of them. Raises ValueError."""
    return msgspec.json.decode(line, type=kind)


def decode_answer(line: bytes) -> Answer:
    """Raises ValueError."""
    return msgspec.json.decode(line, type=Answer)  # type: ignore[no-any-return]
