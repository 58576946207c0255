"""A journal made smaller: the snapshots that are to be kept, and nothing else.

In place, the new file takes the old one's name when it is complete, checked and on the disk; while
a process writes to the journal, this is refused: such a process knows where its pages stand in the
old file, and would go on writing to what has no name any more. A copy (``output``) is made without
a lock, as all reading is: what is committed meanwhile is not in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wasnap.errors import JournalError, JournalWriteFailed, NoSuchSnapshot, UsageError
from wasnap.journal import labels, pack, place
from wasnap.journal.index import Index
from wasnap.journal.layout import MINOR
from wasnap.journal.storage import Storage
from wasnap.journal.survey import Progress
from wasnap.journal.tools.rewrite import Source, damaged, rewrite


class Compacted(NamedTuple):
    """``kept``: ids, of ``total`` snapshots; sizes in bytes."""

    kept: list[int]
    total: int
    size_before: int
    size: int


def compact(
    path: Path,
    *,
    keep: Sequence[str | int] = (),
    last: int | None = None,
    compress: bool = False,
    output: Path | None = None,
    progress: Progress | None = None,
    storage: Callable[[int], Storage] = Storage,
) -> Compacted:
    """Keeps the snapshots ``keep`` (ids or labels) and the ``last`` so many; without both, the last.

    ``output``: a new file, and ``path`` is left as it is. MissingFile, UsageError, NoSuchSnapshot,
    JournalError (damaged, of a newer version), JournalLocked, JournalWriteFailed; nothing is changed
    then.
    """
    level = pack.LEVEL if compress else None
    done: list[Compacted] = []

    def write(new: Storage) -> None:
        source = Source(path, storage, progress)
        try:
            chosen = choose(source.index, keep, last, path)
            rewrite(source, chosen, new, level=level, progress=progress)
            total = len(source.index.snapshots())
            done.append(Compacted(chosen, total, source.size, new.size()))
        finally:
            source.close()

    put(path, output, write, storage)
    return done[0]


def put(
    path: Path,
    output: Path | None,
    write: Callable[[Storage], None],
    storage: Callable[[int], Storage] = Storage,
) -> None:
    """Replaces the journal, or makes ``output``, which must not be there: whole or not at all."""
    where = path if output is None else output
    try:
        if output is None:
            place.replace(path, write, storage).close()
            return
        os.close(place.open_file(path, writable=False))
        if output.exists() and os.path.samefile(path, output):
            raise UsageError(f"{output} is the journal itself", "give the name of a new file")
        if output.exists() and output.stat().st_size:
            raise UsageError(f"{output} is there already", "give the name of a new file")
        place.create(output, write, storage, overwrite=False).close()
    except (OSError, JournalWriteFailed) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        reason = (isinstance(cause, OSError) and cause.strerror) or str(cause or error)
        raise JournalWriteFailed(
            f"{where} cannot be written: {reason}",
            f"{path} is whole; make room, or give another file: --output",
        ) from error


def choose(index: Index, keep: Sequence[str | int], last: int | None, path: Path) -> list[int]:
    """The ids, sorted. NoSuchSnapshot; JournalError if one is damaged."""
    if index.version[1] > MINOR:
        raise JournalError(f"{path} was written by a newer wasnap", "use that one, or a newer one")
    there = index.snapshots()
    chosen = {labels.find(name, there) for name in keep}
    for number in chosen:
        index.entry(number)
    if last is None and not keep:
        last = 1
    if last is not None:
        if last < 1:
            raise UsageError(f"the last {last} snapshots are none", "keep one at least")
        reasons = {each.id: each.reason for each in index.damaged}
        for number in sorted(reasons.keys() | {info.id for info in there})[-last:]:
            if number in reasons:
                raise damaged(number, reasons[number])
            chosen.add(number)
    if not chosen:
        raise NoSuchSnapshot(f"{path} holds no snapshot: there is nothing to keep")
    return sorted(chosen)
