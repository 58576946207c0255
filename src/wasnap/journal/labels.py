"""Names for snapshots: what a label may be, and what it means.

A label is given with a snapshot, or later by a LABEL record. Several snapshots may carry the same:
it means the newest of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress

from wasnap.errors import NoSuchSnapshot, UsageError
from wasnap.journal.layout import LABEL, Kind, RecordHeader
from wasnap.journal.proof import SnapshotInfo
from wasnap.journal.writer import Log

SIZE_MAX = 160


def check_label(label: str) -> None:
    """UsageError unless ``label`` can be told from an id and an option, and be shown."""
    try:
        size = len(label.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= SIZE_MAX or not label.isprintable() or label != label.strip():
        wrong = f"has more than {SIZE_MAX} bytes" if size > SIZE_MAX else "is not printable text"
        raise UsageError(f"the label {label[:40]!r} {wrong}", "give a short name")
    if label.startswith("-") or label.isdecimal():
        raise UsageError(f"the label {label!r} looks like a number or an option", "use letters")


def append(log: Log, snapshot: int, last_commit: int, label: str) -> RecordHeader:
    """Writes a LABEL record; OSError, and then it is not there."""
    try:
        if log.torn:
            log.take_back()
        log.torn = True
        payload = LABEL.pack(snapshot, last_commit, label.encode(), bytes(16))
        record = log.append(Kind.LABEL, [payload])
        log.sync()
    except OSError:
        with suppress(OSError):  # kept in log.torn: the next snapshot tries it again
            log.take_back()
        raise
    log.settle()
    return record


def apply(labels: Mapping[int, str], infos: MutableMapping[int, SnapshotInfo]) -> None:
    """Gives the snapshots the labels that LABEL records have for them."""
    for snapshot, label in labels.items():
        if snapshot in infos:
            infos[snapshot] = infos[snapshot]._replace(label=label)


def find(name: str | int, snapshots: Iterable[SnapshotInfo]) -> int:
    """The id that ``name``, an id or a label, means. NoSuchSnapshot if no snapshot carries it."""
    if isinstance(name, int) or name.removeprefix("-").isdecimal():
        return int(name)
    carriers = [info.id for info in snapshots if info.label == name]
    if not carriers:
        raise NoSuchSnapshot(
            f"no snapshot in the journal is called {name!r}", "see: wasnap journal inspect"
        )
    return carriers[-1]
