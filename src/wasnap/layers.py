"""Directories in memory, as a journal has them: loaded to go on with, or to be written out.

Needs no engine: a layer can be looked at on a machine that could not run its guest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wasnap.errors import UsageError
from wasnap.host import Arena, HostState
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
