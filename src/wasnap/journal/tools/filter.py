"""A journal without what others should not see, for a report; see "Leaving out" in
docs/journal-format.md.

Whatever is left out, the result must never resume as something else than it was. So a journal can
lose what the guest does not know of, names and text on a terminal, and is otherwise the same; or it
loses all that the guest held, and then is marked, can be looked at, and is refused by everything
that would go on with it. There is nothing in between: what is secret in a guest (arguments,
environment, files) also is somewhere in its memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from wasnap.errors import JournalError, UsageError
from wasnap.journal.layout import Kind
from wasnap.journal.records import CONTENTS, HostRecord, StackRecord, StartRecord, decode, encode
from wasnap.journal.storage import Storage
from wasnap.journal.survey import Progress
from wasnap.journal.tools.compact import Compacted, choose, put
from wasnap.journal.tools.rewrite import Source, rewrite

LABELS: Final = "labels"
TERMINAL: Final = "terminal"
WORDS: Final = (LABELS, TERMINAL, CONTENTS)


def filter_journal(
    path: Path,
    output: Path,
    drop: Collection[str],
    *,
    keep: Sequence[str | int] = (),
    progress: Progress | None = None,
) -> Compacted:
    """Makes ``output``, a new file, of the journal without what ``drop`` says, some of ``WORDS``.

    ``keep``: snapshots; all, if it is empty. As ``compact`` raises.
    """
    if not drop or not set(drop) <= set(WORDS):
        raise UsageError("it is not said what to leave out", f"--drop {', '.join(WORDS)}")
    done: list[Compacted] = []

    def write(new: Storage) -> None:
        source = Source(path, progress=progress)
        try:
            there = [info.id for info in source.index.snapshots()]
            chosen = choose(source.index, keep or there, None, path)
            rewrite(
                source,
                chosen,
                new,
                edit=_Edit(drop),
                with_pages=CONTENTS not in drop,
                progress=progress,
            )
            done.append(Compacted(chosen, len(there), source.size, new.size()))
        finally:
            source.close()

    put(path, output, write)
    return done[0]


class _Edit:
    """What becomes of the records."""

    def __init__(self, drop: Collection[str]) -> None:
        self._drop = drop
        self._contents: dict[int, Callable[[bytes], bytes]] = {
            Kind.START: _start,
            Kind.STACK: _stack,
            Kind.HOST: _host,
        }

    def __call__(self, kind: int, payload: bytes) -> bytes:
        if CONTENTS in self._drop and kind in self._contents:
            payload = self._contents[kind](payload)
        if kind == Kind.START:
            start = decode(payload, StartRecord)
            start.dropped = sorted({*start.dropped, *self._drop})
            return encode(start)
        if LABELS in self._drop and kind == Kind.BEGIN:
            return msgspec.msgpack.encode(msgspec.msgpack.decode(payload) | {"label": ""})
        if TERMINAL in self._drop and kind == Kind.HOST:
            return _without_terminal(payload)
        return payload


def _start(payload: bytes) -> bytes:
    start = decode(payload, StartRecord)
    start.args = []
    start.env = dict.fromkeys(start.env, "")
    start.listen = []
    start.options = {}
    for directory in start.dirs:
        directory.host = ""
    return encode(start)


def _stack(payload: bytes) -> bytes:
    stack = decode(payload, StackRecord)
    stack.data = b""
    stack.entries = []
    stack.interrupted = []
    for each in stack.globals:
        each.value = None
    if stack.pending is not None:
        stack.pending.args = []
        stack.pending.progress = None
    return encode(stack)


def _host(payload: bytes) -> bytes:
    """Which descriptors there are, and of what type."""
    there = decode(payload, HostRecord).state.get("descriptors", [])
    kept: list[dict[str, Any]] = []
    for each in there if isinstance(there, list) else []:
        if isinstance(each, dict):
            kept.append({key: each[key] for key in ("type", "number") if key in each})
    return encode(HostRecord(state={"descriptors": kept}))


def _without_terminal(payload: bytes) -> bytes:
    state = decode(payload, HostRecord).state
    terminal = state.get("terminal")
    if not isinstance(terminal, dict):
        return payload
    if not terminal.get("flows"):
        raise JournalError(
            "the terminal was drawn on all over, and a resume goes on from what it showed",
            f"leave out all that the guest held: --drop {CONTENTS}",
        )
    state["terminal"] = terminal | {"text": [], "painting": zlib.compress(b"")}
    return encode(HostRecord(state=state))
