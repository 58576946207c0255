"""A journal as others see it: create or open it, begin snapshots, load them.

A ``Journal`` is used by one thread at a time. What it knows of the file is read once, when it is
opened, and kept up with what it writes itself; memory pages stay in the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

from wasnap.errors import JournalError, JournalWriteFailed, NoSuchSnapshot
from wasnap.journal import labels, place
from wasnap.journal.carry import base_for
from wasnap.journal.image import Block
from wasnap.journal.index import Damaged, Index
from wasnap.journal.layout import MINOR, Kind, RecordHeader, pack_file_header
from wasnap.journal.pagecheck import check_pages
from wasnap.journal.places import Known
from wasnap.journal.proof import Entry, SnapshotInfo
from wasnap.journal.records import CONTENTS, BeginRecord, StartRecord, decode, encode
from wasnap.journal.scan import Gap, checked_or_none, identify, read_checked, walk
from wasnap.journal.snapshot import Snapshot
from wasnap.journal.storage import Storage, Window, write_all
from wasnap.journal.survey import Progress, survey, tail
from wasnap.journal.trust import Trust
from wasnap.journal.writer import Log, SnapshotWriter

Durability = Literal["system", "process"]
"""What a committed snapshot survives: loss of power, or only any death of the process."""


class Journal:
    """An open journal. Made by ``create``, ``open`` or ``open_for_writing``; close it, or use it
    in a ``with``.
    """

    def __init__(
        self,
        storage: Storage,
        path: Path,
        index: Index,
        log: Log | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path
        self._storage = storage
        self._index = index
        self._log = log
        self._clock = clock
        self._known = Known()
        self._trust = Trust(storage)
        self._verified: set[Block] = set()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        module: bytes,
        start: StartRecord,
        *,
        overwrite: bool = False,
        durability: Durability = "system",
        storage: Callable[[int], Storage] = Storage,
        random: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], int] = time.time_ns,
    ) -> Journal:
        """A new journal, locked for writing, that holds ``module`` and no snapshot.

        JournalError if there is a file that is not empty (unless ``overwrite``), JournalLocked,
        JournalWriteFailed. The file is readable by its owner only: it holds all of a process's
        memory.
        """
        journal = random(8)
        payload = encode(start)

        def write(new: Storage) -> None:
            end = write_all(new, 0, [pack_file_header(journal)])
            log = Log(new, journal, end, 0, sync=False)
            log.append(Kind.START, [payload])
            log.append(Kind.MODULE, [module])

        opened = place.create(Path(path), write, storage, overwrite=overwrite)
        return cls._writable(opened, Path(path), durability, clock)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        verify: bool = False,
        storage: Callable[[int], Storage] = Storage,
        progress: Progress | None = None,
    ) -> Journal:
        """Opens for reading, whatever state the file is in. MissingFile, JournalError.

        ``verify``: check all page data now; what is damaged is then in ``damaged``.
        """
        opened = storage(place.open_file(Path(path), writable=False))
        try:
            identity = identify(opened, str(path))
            journal = cls(opened, Path(path), survey(opened, identity, progress))
            if verify:
                journal.verify()
        except BaseException:
            opened.close()
            raise
        return journal

    @classmethod
    def open_for_writing(
        cls,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "system",
        storage: Callable[[int], Storage] = Storage,
        clock: Callable[[], int] = time.time_ns,
        locked: int | None = None,
    ) -> Journal:
        """Opens, locks, and cuts the torn tail. MissingFile, JournalError, JournalLocked,
        JournalWriteFailed.

        ``locked``: a descriptor to be used and owned, of an open file that has the lock already.
        """
        opened = storage(place.open_file(Path(path), writable=True) if locked is None else locked)
        try:
            place.lock(opened.fd, Path(path))
            return cls._writable(opened, Path(path), durability, clock)
        except BaseException:
            opened.close()
            raise

    @classmethod
    def _writable(
        cls, storage: Storage, path: Path, durability: Durability, clock: Callable[[], int]
    ) -> Journal:
        identity = identify(storage, str(path))
        index = tail(storage, identity) or survey(storage, identity)
        if index.version[1] > MINOR:
            major, minor = index.version
            raise JournalError(
                f"{path} was written by a newer wasnap (format {major}.{minor})",
                "use that one, or a newer one, to go on with it",
            )
        if index.start is None or index.module is None:
            missing = "START" if index.start is None else "MODULE"
            raise JournalError(
                f"{path} cannot be continued: its {missing} record is damaged",
                "see what is left: wasnap journal inspect",
            )
        if CONTENTS in decode(read_checked(storage, index.start), StartRecord).dropped:
            raise JournalError(
                f"{path} can only be looked at: what the guest held was left out of it",
                "resume the journal it was made from (wasnap journal filter)",
            )
        sync = durability == "system"
        log = Log(storage, identity.journal, index.kept, index.sequence, sync=sync)
        if identity.size > index.kept:
            try:
                log.take_back()
            except OSError as error:
                raise JournalWriteFailed(
                    f"the torn tail of {path} cannot be cut: {error.strerror}",
                    "work on a copy of the file",
                ) from error
        index.gaps = [gap for gap in index.gaps if gap.position < index.kept]
        return cls(storage, path, index, log, clock)

    def _complete(self) -> Index:
        """The index, which lists all snapshots from now on."""
        if not self._index.complete:
            self._index = self._survey()
        return self._index

    def _survey(self) -> Index:
        identity = identify(self._storage, str(self.path))
        if self._log is not None:  # what could not be taken back does not count
            identity = identity._replace(size=self._log.end)
        return survey(self._storage, identity)

    @property
    def version(self) -> tuple[int, int]:
        """Of the format: major, minor."""
        return self._index.version

    @property
    def start(self) -> StartRecord:
        """How the process was started. JournalError if that record is damaged."""
        header = self._need("START", self._index.start)
        return decode(read_checked(self._storage, header), StartRecord)

    def module(self) -> bytes:
        """The module, as the user gave it. JournalError if it is damaged."""
        return read_checked(self._storage, self._need("MODULE", self._index.module))

    def module_for(self, snapshot: int) -> Callable[[], bytes]:
        """What gives the module when it is needed, for one of the snapshots that were loaded.

        JournalError if it is damaged: now, unless the snapshot was known to be right (``trust``).
        """
        if snapshot not in self._trust:
            self.module()
        return self.module

    @property
    def module_size(self) -> int:
        """In bytes. JournalError if the MODULE record's header is damaged."""
        return self._need("MODULE", self._index.module).length

    @property
    def snapshots(self) -> list[SnapshotInfo]:
        """Those that exist, in the order of commit."""
        return self._complete().snapshots()

    @property
    def empty(self) -> bool:
        """Whether no snapshot was ever committed, not even one that is damaged now."""
        return not self._index.last_commit and not self._complete().damaged

    @property
    def damaged(self) -> list[Damaged]:
        """Snapshots that were begun and do not count, except in the torn tail."""
        return list(self._complete().damaged)

    @property
    def gaps(self) -> list[Gap]:
        """What belongs to no intact record; the torn tail, too, in a journal opened for reading."""
        return self._complete().gaps

    @property
    def kept(self) -> int:
        """Position where the part ends that counts; what follows is a torn tail."""
        return self._index.kept

    @property
    def size(self) -> int:
        """Of the file, in bytes, when it was opened or last written to."""
        return self._index.identity.size if self._log is None else self._log.end

    def find(self, name: str | int) -> int:
        """The id that an id or a label means. NoSuchSnapshot if no snapshot has that label."""
        return labels.find(name, () if isinstance(name, int) else self.snapshots)

    def remains(self, snapshot: int) -> list[tuple[RecordHeader, bytes | None]]:
        """What is left of a snapshot, damaged or not, that was there when the journal was opened:
        its intact record headers from BEGIN on, each with its checked payload (None: damaged)."""
        left: list[tuple[RecordHeader, bytes | None]] = []
        for header in walk(Window(self._storage), self._index.identity):
            if isinstance(header, Gap):
                continue
            if left and header.kind in (Kind.BEGIN, Kind.COMMIT):
                break
            if left or header.kind == Kind.BEGIN:
                payload = checked_or_none(self._storage, header)
                if left or (payload is not None and decode(payload, BeginRecord).id == snapshot):
                    left.append((header, payload))
        return left

    def load(self, snapshot: int, *, verify: bool = True) -> Snapshot:
        """A snapshot's records and memory images. NoSuchSnapshot; JournalError if it is damaged.

        ``verify``: check the crc of all page data it rests on, which reads it once; unless it is
        known to be right (see ``trust``).
        """
        verify = verify and snapshot not in self._trust
        try:
            return self._load(snapshot, verify=verify)
        except JournalError:
            if self._index.complete:
                raise
            self._complete()  # knows what is damaged, and which others there are
            return self._load(snapshot, verify=verify)

    def _load(self, snapshot: int, *, verify: bool) -> Snapshot:
        index = self._index
        index.entry(snapshot)
        try:
            loaded = Snapshot(self._storage, list(index.chain(snapshot)))
            if verify:
                loaded.verify(self._verified)
                module = self._index.module
                if self._log and module and checked_or_none(self._storage, module) is not None:
                    self._trust.checked(snapshot)
        except JournalError as error:
            if index.complete:
                index.mark_damaged(snapshot, error.message)
                index.entry(snapshot)  # raises, and says which others there are
            raise
        return loaded

    def newest(self, *, verify: bool = True) -> Snapshot:
        """The newest snapshot that is intact. NoSuchSnapshot if there is none."""
        if not self._index.complete:
            try:
                newest = self._index.newest
                return self._load(newest, verify=verify and newest not in self._trust)
            except JournalError:
                self._complete()
        for info in reversed(self.snapshots):
            try:
                return self.load(info.id, verify=verify)
            except JournalError:
                continue  # it is in `damaged` now
        found = f"{len(self.damaged)} damaged ones" if self.damaged else "none"
        raise NoSuchSnapshot(
            f"{self.path} holds no snapshot to resume ({found})",
            "start the program: wasnap run (--fresh to replace what is there)",
        )

    def verify(self, progress: Progress | None = None) -> int:
        """Checks all page data; what needs a damaged part is in ``damaged`` then. Bytes read."""
        return check_pages(self._storage, self._complete(), progress)

    def begin(
        self, parent: int | None, trigger: str, *, label: str = "", full: bool = False
    ) -> SnapshotWriter:
        """Starts the next snapshot; use it in a ``with``. ``parent``: the one the process was in
        before.

        ``full``: it takes no pages from the parent (always so without one). NoSuchSnapshot or
        JournalError if the parent cannot be used, JournalWriteFailed.
        """
        assert self._log is not None, "opened for reading"
        if label:
            labels.check_label(label)
        if self._log.end != self._index.kept:  # an exception came between a commit and its entry
            self._index = self._survey()
        base = None
        depth = 0
        if parent is not None:
            try:
                depth = self._index.entry(parent).info.depth + 1
            except JournalError:
                depth = self._complete().entry(parent).info.depth + 1  # or says which there are
            base = None if full else base_for(self._index, self._index.entry(parent))
        index = self._index
        self._trust.check()
        record = BeginRecord(
            id=index.next_id,
            parent=parent,
            base=None if base is None else base.entry.info.id,
            base_commit=0 if base is None else base.entry.commit,
            time_ns=self._clock(),
            trigger=trigger,
            label=label,
            depth=depth,
        )
        return SnapshotWriter(
            self._log,
            record,
            index.last_commit,
            str(self.path),
            self._committed,
            lambda: self._known_of(parent),
            () if base is None else base.between,
        )

    def _committed(self, entry: Entry) -> None:
        self._index.add(entry)
        self._trust.add(entry.info.id, entry.info.base and entry.info.parent)

    def label(self, snapshot: int, label: str) -> None:
        """Gives a snapshot a name, or takes it away (empty). UsageError, NoSuchSnapshot,
        JournalWriteFailed.
        """
        assert self._log is not None, "opened for reading"
        if label:
            labels.check_label(label)
        index = self._complete()
        index.entry(snapshot)
        self._trust.check()
        try:
            index.label(
                snapshot, label, labels.append(self._log, snapshot, index.last_commit, label)
            )
            self._trust.note()
        except OSError as error:
            raise JournalWriteFailed(
                f"the label could not be written to {self.path}: {error.strerror}",
                "the snapshots are safe; make room or repair the disk",
            ) from error

    def _known_of(self, parent: int | None) -> Known:
        """Where the pages of the snapshot stand that a new one goes on from."""
        if self._known.snapshot != (parent or 0):
            self._known = Known(None)
            if parent is not None:
                Snapshot(self._storage, list(self._index.chain(parent))).locate(self._known)
            self._known.snapshot = parent or 0
        return self._known

    def _need(self, name: str, header: RecordHeader | None) -> RecordHeader:
        if header is None:
            raise JournalError(
                f"{self.path} has no intact {name} record",
                "its snapshots can be looked at but not resumed: wasnap journal inspect",
            )
        return header

    def fileno(self) -> int:
        """The descriptor of the file, to map extents from."""
        return self._storage.fd

    def close(self) -> None:
        """Closes the file and gives up the lock."""
        self._storage.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
