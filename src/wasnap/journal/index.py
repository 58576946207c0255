"""What is known of a journal: where its snapshots are, which are damaged, where the next one goes.

An index is made by ``survey`` (all of the file) or ``tail`` (its end), and kept up with what is
written. It is *complete* in the first case: it then lists all snapshots. In the other, older ones
are found from newer ones, by the positions their records hold; so a process that writes a snapshot
every few seconds for months starts at once, and needs no more memory in the end than at first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wasnap.errors import JournalError, NoSuchSnapshot
from wasnap.journal.layout import ALIGNMENT, COMMIT, RECORD_HEADER, RecordHeader
from wasnap.journal.proof import Entry, SnapshotInfo, read_commit, read_entry
from wasnap.journal.scan import FIRST_RECORD, Gap, Identity, record_header
from wasnap.journal.storage import Storage, Window

ENTRIES_MAX = 1024


class Damaged(NamedTuple):
    """A snapshot that was begun or committed, and why it does not count."""

    id: int
    position: int
    reason: str


class Index:
    """``kept``: where the part ends that counts, and the next record goes; ``sequence``: of the last
    record in it. ``newest``: id of the last snapshot that was committed, and ``last_commit`` the
    position of its COMMIT; or 0.

    Of a complete index: ``infos`` of all proved snapshots, in the order of commit, their
    ``commits``' positions, and why they cannot be loaded (``problems``), or why their memory cannot
    be used, by themselves or those that rest on them (``image_problems``).
    """

    def __init__(self, storage: Storage, identity: Identity) -> None:
        self.identity = identity
        self.version = (identity.major, identity.minor)
        self.start: RecordHeader | None = None
        self.module: RecordHeader | None = None
        self.kept = FIRST_RECORD
        self.sequence = 0
        self.newest = 0
        self.last_commit = 0
        self.next_id = 1
        self.complete = False
        self.infos: dict[int, SnapshotInfo] = {}
        self.commits: dict[int, int] = {}
        self.problems: dict[int, str] = {}
        self.image_problems: dict[int, str] = {}
        self.damaged: list[Damaged] = []
        self.gaps: list[Gap] = []
        self._storage = storage
        self._entries: dict[int, Entry] = {}

    def snapshots(self) -> list[SnapshotInfo]:
        """Those that exist, in the order of commit. Of a complete index."""
        assert self.complete
        return [info for info in self.infos.values() if info.id not in self.problems]

    def entry(self, snapshot: int) -> Entry:
        """NoSuchSnapshot says which there are; JournalError why a damaged one cannot be used."""
        if snapshot not in self._entries:
            if problem := self._problem(snapshot):
                raise JournalError(f"snapshot {snapshot} is damaged: {problem}", self._offer())
            self._keep(self.proved(snapshot))
        return self._entries[snapshot]

    def proved(self, snapshot: int) -> Entry:
        """As ``entry``, but also of one that cannot be loaded for what stands in its records."""
        found = self._entries.get(snapshot)
        return found or self._read(snapshot, self._commit_of(snapshot))

    def chain(self, snapshot: int) -> Iterator[Entry]:
        """The snapshot and those its memory rests on, newest first. JournalError if one is damaged."""
        entry = self.entry(snapshot)
        yield entry
        while entry.info.base is not None:
            base = self._entries.get(entry.info.base)
            if base is None:
                base = self._read(entry.info.base, entry.base_commit)
                self._keep(base)
            entry = base
            yield entry

    def add(self, entry: Entry) -> None:
        """Takes in a snapshot that has just been committed."""
        self.newest = entry.info.id
        self.last_commit = entry.commit
        self.kept = entry.commit + RECORD_HEADER.size + COMMIT.size
        self.next_id = entry.info.id + 1
        self._keep(entry)
        if self.complete:
            self.infos[entry.info.id] = entry.info
            self.commits[entry.info.id] = entry.commit

    def label(self, snapshot: int, label: str, record: RecordHeader) -> None:
        """Takes in a LABEL record that has just been written."""
        self.kept = record.next
        if snapshot in self.infos:
            self.infos[snapshot] = self.infos[snapshot]._replace(label=label)

    def mark_damaged(self, snapshot: int, reason: str) -> None:
        """Takes out a snapshot whose page data turned out to be damaged. Those that rest on it may
        not need that data.
        """
        position = self.proved(snapshot).records[0].position
        self._entries.pop(snapshot, None)
        self.problems[snapshot] = reason
        self.damaged.append(Damaged(snapshot, position, reason))

    def _problem(self, snapshot: int) -> str:
        if snapshot in self.problems:
            return self.problems[snapshot]
        return next((each.reason for each in self.damaged if each.id == snapshot), "")

    def _commit_of(self, snapshot: int) -> int:
        """Position of the snapshot's COMMIT record."""
        if self.complete:
            if snapshot not in self.commits:
                offer = self._offer()
                raise NoSuchSnapshot(f"there is no snapshot {snapshot} in the journal", offer)
            return self.commits[snapshot]
        position = self.last_commit
        window = Window(self._storage)
        while position:
            data = window.read(position, ALIGNMENT)
            header = record_header(data, self.identity.journal, position, 0)
            if header is None:
                raise JournalError(f"there is no intact record at byte {position}")
            commit = read_commit(window, header)
            if commit.id <= snapshot:
                break
            if commit.previous >= position:
                raise JournalError(f"the COMMIT record at byte {position} points forward")
            position = commit.previous
        if not position or commit.id != snapshot:
            raise NoSuchSnapshot(f"there is no snapshot {snapshot} in the journal")
        return position

    def _read(self, snapshot: int, position: int) -> Entry:
        entry = read_entry(Window(self._storage), self.identity.journal, position)
        if entry.info.id != snapshot:
            raise JournalError(f"the COMMIT record at byte {position} is not of {snapshot}")
        return entry

    def _keep(self, entry: Entry) -> None:
        self._entries[entry.info.id] = entry
        if len(self._entries) > ENTRIES_MAX:  # what the newest rests on is wanted again
            newest = max(self._entries)
            kept: dict[int, Entry] = {}
            while newest in self._entries:
                kept[newest] = self._entries[newest]
                newest = kept[newest].info.base or 0
            self._entries = kept

    def _offer(self) -> str:
        there = [info.id for info in self.snapshots()] if self.complete else []
        if not there:
            return "no snapshot in it can be used"
        if len(there) == there[-1] - there[0] + 1:
            return (
                f"there are {there[0]} to {there[-1]}" if len(there) > 1 else f"there is {there[0]}"
            )
        return "there are " + ", ".join(map(str, there))
