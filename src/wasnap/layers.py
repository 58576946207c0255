"""What a journal and the host say together: directories in memory, loaded to go on with, or to be
written out; and the history of files beside it, checked.

Needs no engine: a layer can be looked at on a machine that could not run its guest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from wasnap.errors import JournalError, UsageError
from wasnap.host import Arena, HostState
from wasnap.host.history import HistoryState, directory_of
from wasnap.host.tree.export import export
from wasnap.host.tree.tree import Tree
from wasnap.journal import HOST_MEMORY, HostRecord, Journal, Snapshot


def load_arena(snapshot: Snapshot) -> Arena:
    """The pages that directories in memory consist of. Raises JournalError if one is damaged."""
    saved = snapshot.memories.get(HOST_MEMORY)
    return Arena() if saved is None else Arena.load(saved.pages_total, saved.content())


def export_files(
    journal: Journal, at: int | str | None, guest: str | None, into: Path
) -> Iterator[tuple[str, bytes, bytes]]:
    """Write out what was mapped as ``guest`` (None: the only one) at a snapshot (None: newest).

    Gives what was done, as ``host.tree.export.export`` says. Raises UsageError, NoSuchSnapshot,
    JournalError, MissingFile, CannotResume.
    """
    snapshot = journal.newest() if at is None else journal.load(journal.find(at))
    trees = HostState.from_plain(snapshot.record(HostRecord).state).trees
    if guest is None and len(trees) == 1:
        guest = next(iter(trees))
    if guest is None or guest not in trees:
        there = ", ".join(sorted(trees))
        problem = "holds several" if guest is None and there else "has no such"
        raise UsageError(
            f"snapshot {snapshot.info.id} of {journal.path} {problem} directories in memory",
            f"give --mapping, one of: {there}" if there else "only --tmp and --overlay are kept",
        )
    arena = load_arena(snapshot)
    yield from export(Tree.load(trees[guest], arena, lambda: 0), arena, into)


def check_files(journal: Journal) -> dict[str, Any] | None:
    """Whether changes to files can be undone: ``path``, and ``problems``; or a ``note`` on what is
    not there. None where no snapshot asks for it. Changes nothing.
    """
    from wasnap.host.history.check import check  # no process needs it that runs

    states: dict[int, HistoryState] = {}
    for info in journal.snapshots:
        with suppress(JournalError, msgspec.ValidationError):
            record = journal.load(info.id, verify=False).record(HostRecord)
            if noted := record.state.get("history"):
                states[info.id] = msgspec.convert(noted, HistoryState)
    if not states:
        return None
    path = directory_of(journal.path)
    found: dict[str, Any] = {"path": str(path), "problems": []}
    try:
        checked = check(path, states)
    except FileNotFoundError:
        return found | {"note": "is not there: a resume undoes no changes to files"}
    except OSError as error:
        return found | {"problems": [f"it cannot be read: {error.strerror}"]}
    if not checked.ours:
        return found | {"note": "belongs to another journal: a resume undoes no changes to files"}
    return found | checked._asdict()
