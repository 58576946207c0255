"""Two ways to an index: all of the file, past any damage; or its end, if that is whole.

The rules are those of "When a snapshot exists" in docs/journal-format.md, in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from wasnap.errors import JournalError
from wasnap.journal.index import Damaged, Index
from wasnap.journal.labels import apply
from wasnap.journal.layout import (
    ALIGNMENT,
    COMMIT,
    LABEL,
    RECORD_HEADER,
    Commit,
    Kind,
    Label,
    RecordHeader,
)
from wasnap.journal.proof import Entry, check, data_pages, prove, read_commit, read_entry
from wasnap.journal.records import BeginRecord, StartRecord, decode
from wasnap.journal.scan import (
    FIRST_RECORD,
    Gap,
    Identity,
    checked_or_none,
    read_checked,
    record_header,
    walk,
)
from wasnap.journal.storage import Storage, Window

Progress = Callable[[int, int], None]
"""Called now and then with how much is done, and of how much."""


def survey(storage: Storage, identity: Identity, progress: Progress | None = None) -> Index:
    """The complete index. Reads all small payloads, and of MEMORY records the extent tables."""
    index = Index(storage, identity)
    index.complete = True
    if identity.gap is not None:
        index.gaps.append(identity.gap)
    found = _Survey(index, Window(storage))
    for count, each in enumerate(walk(Window(storage), identity)):
        if progress is not None and not count % 256:
            progress(each.position, identity.size)
        if isinstance(each, Gap):
            index.gaps.append(each)
        else:
            found.record(each)
    found.finish()
    if progress is not None:
        progress(identity.size, identity.size)
    return index


def tail(storage: Storage, identity: Identity) -> Index | None:
    """The index of a journal that begins and ends whole; None if this one does not, or holds no
    snapshot.
    """
    window = Window(storage)
    index = Index(storage, identity)
    index.start = record_header(window.read(FIRST_RECORD, ALIGNMENT), identity.journal, 64, 0)
    if index.start is None or index.start.kind != Kind.START:
        return None
    at = index.start.next
    sequence = index.start.sequence
    index.module = record_header(window.read(at, ALIGNMENT), identity.journal, at, sequence)
    if index.module is None or index.module.kind != Kind.MODULE:
        return None
    last = _last(window, identity)
    if last is None:
        return None
    record, commit = last
    try:
        begun = decode(read_checked(window, index.start), StartRecord)
        entry = read_entry(window, identity.journal, commit)
    except JournalError:
        return None
    index.add(entry)
    index.next_id = max(index.next_id, begun.ids_used + 1)
    index.kept = record.next
    index.sequence = record.sequence
    return index


def _last(window: Window, identity: Identity) -> tuple[RecordHeader, int] | None:
    """The COMMIT or LABEL record that ends the file, and the position of the last COMMIT."""
    for kind, size in ((Kind.COMMIT, COMMIT.size), (Kind.LABEL, LABEL.size)):
        position = identity.size - RECORD_HEADER.size - size
        data = window.read(max(position, 0), ALIGNMENT)
        header = record_header(data, identity.journal, position, 0)
        if header is None or header.kind != kind or header.length != size:
            continue
        payload = checked_or_none(window, header)
        if payload is not None and len(payload) == size:
            if kind == Kind.COMMIT:
                return header, position
            return header, Label._make(LABEL.unpack(payload)).commit
    return None


class _Survey:
    """Takes in the records of a file, one after the other."""

    def __init__(self, index: Index, window: Window) -> None:
        self._index = index
        self._window = window
        self._recent: list[RecordHeader] = []
        self._unclaimed: list[RecordHeader] = []
        self._labels: dict[int, str] = {}

    def record(self, header: RecordHeader) -> None:
        index = self._index
        major, minor = index.version
        index.version = (major, max(minor, header.minor))
        if header.kind == Kind.COMMIT:
            self._commit(header)
            self._recent = []
            return
        if header.kind == Kind.START and index.start is None:
            index.start = header
        elif header.kind == Kind.MODULE and index.module is None:
            index.module = header
            self._keep(header)
        elif header.kind == Kind.LABEL:
            self._label(header)
        elif header.kind == Kind.BEGIN:
            self._unclaimed.append(header)
        self._recent.append(header)

    def finish(self) -> None:
        """Reports each BEGIN before the tail that no COMMIT claims. (A later COMMIT, with a higher
        number, stands before the tail too, so that theirs is not given again.)"""
        index = self._index
        reported = {damaged.id for damaged in index.damaged} | set(index.infos)
        for record in self._unclaimed:
            if record.position >= index.kept:
                continue
            try:
                begin = decode(read_checked(self._window, record), BeginRecord)
            except JournalError:
                continue  # nothing of it is left but the gap; a COMMIT that names it reported it
            if begin.id not in reported:
                reason = "its COMMIT record is damaged"
                index.damaged.append(Damaged(begin.id, record.position, reason))
        index.damaged.sort(key=lambda damaged: damaged.position)
        apply(self._labels, index.infos)
        if index.start is not None:
            with suppress(JournalError):  # told when it is used
                begun = decode(read_checked(self._window, index.start), StartRecord)
                index.next_id = max(index.next_id, begun.ids_used + 1)

    def _keep(self, header: RecordHeader) -> None:
        self._index.kept = header.next
        self._index.sequence = header.sequence

    def _label(self, header: RecordHeader) -> None:
        payload = checked_or_none(self._window, header)
        if payload is not None and len(payload) == LABEL.size:
            label = Label._make(LABEL.unpack(payload))
            self._labels[label.id] = label.label.rstrip(b"\0").decode(errors="replace")
            self._keep(header)

    def _commit(self, header: RecordHeader) -> None:
        index = self._index
        try:
            commit = read_commit(self._window, header)
        except JournalError:
            return  # its BEGIN stays unclaimed
        group = self._recent[-commit.records :] if commit.records else []
        claimed = {record.position for record in group}
        self._unclaimed = [each for each in self._unclaimed if each.position not in claimed]
        self._add(header, commit, group)
        self._keep(header)
        index.newest = commit.id
        index.last_commit = header.position
        index.next_id = max(index.next_id, commit.id + 1)

    def _add(self, header: RecordHeader, commit: Commit, group: list[RecordHeader]) -> None:
        """All rules for one COMMIT."""
        index = self._index
        try:
            if commit.id in index.infos or any(commit.id == other.id for other in index.damaged):
                raise JournalError("its number is used twice")
            pages = sum(data_pages(self._window, record) for record in group)
            entry = prove(self._window, header, commit, group, pages)
        except JournalError as error:
            index.damaged.append(Damaged(commit.id, header.position, error.message))
            return
        problem, image_problem = check(self._window, group[1:])
        image_problem = image_problem or self._base_problem(entry)
        index.infos[commit.id] = entry.info
        index.commits[commit.id] = header.position
        if image_problem:
            index.image_problems[commit.id] = image_problem
        if problem or image_problem:
            index.problems[commit.id] = problem or image_problem
            index.damaged.append(Damaged(commit.id, header.position, problem or image_problem))

    def _base_problem(self, entry: Entry) -> str:
        """Rule 5."""
        index, base = self._index, entry.info.base
        if base is None:
            return ""
        if index.commits.get(base) != entry.base_commit:
            return f"the snapshot it rests on, {base}, is damaged"
        return f"the memory of snapshot {base} is damaged" if base in index.image_problems else ""
