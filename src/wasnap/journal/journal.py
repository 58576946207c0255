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
from wasnap.journal import place
from wasnap.journal.image import Block
from wasnap.journal.index import Damaged, Index, SnapshotInfo, build
from wasnap.journal.layout import MINOR, Kind, RecordHeader, pack_file_header
from wasnap.journal.places import Known
from wasnap.journal.records import BeginRecord, StartRecord, decode, encode
from wasnap.journal.scan import Gap, Scan, checked_or_none, read_checked, scan
from wasnap.journal.snapshot import Snapshot
from wasnap.journal.storage import Storage, write_all
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
        found: Scan,
        index: Index,
        log: Log | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path
        self.version = (found.major, found.minor)
        self.gaps: list[Gap] = found.gaps
        self._found = found
        self._storage = storage
        self._index = index
        self._log = log
        self._clock = clock
        self._known = Known()
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
    ) -> Journal:
        """Opens for reading, whatever state the file is in. MissingFile, JournalError.

        ``verify``: check the module and all page data now; what is damaged is then in ``damaged``.
        """
        opened = storage(place.open_file(Path(path), writable=False))
        try:
            found = scan(opened, str(path))
            journal = cls(opened, Path(path), found, build(opened, found))
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
    ) -> Journal:
        """Opens, locks, and cuts the torn tail. MissingFile, JournalError, JournalLocked,
        JournalWriteFailed.
        """
        opened = storage(place.open_file(Path(path), writable=True))
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
        found = scan(storage, str(path))
        index = build(storage, found)
        if found.minor > MINOR:
            raise JournalError(
                f"{path} was written by a newer wasnap (format {found.major}.{found.minor})",
                "use that one, or a newer one, to go on with it",
            )
        if index.start is None or index.module is None:
            missing = "START" if index.start is None else "MODULE"
            raise JournalError(
                f"{path} cannot be continued: its {missing} record is damaged",
                "see what is left: wasnap journal inspect",
            )
        kept = [record.sequence for record in found.records if record.position < index.kept]
        log = Log(storage, found.journal, index.kept, kept[-1], sync=durability == "system")
        if found.size > index.kept:
            try:
                log.take_back()
            except OSError as error:
                raise JournalWriteFailed(
                    f"the torn tail of {path} cannot be cut: {error.strerror}",
                    "work on a copy of the file",
                ) from error
        remaining = [gap for gap in found.gaps if gap.position < index.kept]
        return cls(storage, path, found._replace(gaps=remaining), index, log, clock)

    @property
    def start(self) -> StartRecord:
        """How the process was started. JournalError if that record is damaged."""
        header = self._need("START", self._index.start)
        return decode(read_checked(self._storage, header), StartRecord)

    def module(self) -> bytes:
        """The module, as the user gave it. JournalError if it is damaged."""
        return read_checked(self._storage, self._need("MODULE", self._index.module))

    @property
    def module_size(self) -> int:
        """In bytes. JournalError if the MODULE record's header is damaged."""
        return self._need("MODULE", self._index.module).length

    @property
    def snapshots(self) -> list[SnapshotInfo]:
        """Those that exist, in the order of commit."""
        return self._index.snapshots()

    @property
    def damaged(self) -> list[Damaged]:
        """Snapshots that were begun and do not count, except in the torn tail."""
        return list(self._index.damaged)

    @property
    def kept(self) -> int:
        """Position where the part ends that counts; what follows is a torn tail."""
        return self._index.kept

    @property
    def size(self) -> int:
        """Of the file, in bytes, when it was opened or last written to."""
        return self._found.size if self._log is None else self._log.end

    def remains(self, snapshot: int) -> list[tuple[RecordHeader, bytes | None]]:
        """What is left of a snapshot, damaged or not, that was there when the journal was opened:
        its intact record headers from BEGIN on, each with its checked payload (None: damaged)."""
        left: list[tuple[RecordHeader, bytes | None]] = []
        for header in self._found.records:
            if left and header.kind in (Kind.BEGIN, Kind.COMMIT):
                break
            if left or header.kind == Kind.BEGIN:
                payload = checked_or_none(self._storage, header)
                if left or (payload is not None and decode(payload, BeginRecord).id == snapshot):
                    left.append((header, payload))
        return left

    def load(self, snapshot: int, *, verify: bool = True) -> Snapshot:
        """A snapshot's records and memory images. NoSuchSnapshot; JournalError if it is damaged.

        ``verify``: check the crc of all page data it rests on, which reads it once.
        """
        chain = list(self._index.chain(snapshot))
        try:
            loaded = Snapshot(self._storage, chain)
            if verify:
                loaded.verify(self._verified)
        except JournalError as error:
            self._index.mark_damaged(snapshot, error.message)
            self._index.entry(snapshot)  # raises, and says which others there are
            raise
        return loaded

    def newest(self, *, verify: bool = True) -> Snapshot:
        """The newest snapshot that is intact. NoSuchSnapshot if there is none."""
        for info in reversed(self.snapshots):
            try:
                return self.load(info.id, verify=verify)
            except JournalError:
                continue  # it is in `damaged` now
        found = f"{len(self.damaged)} damaged ones" if self.damaged else "none"
        raise NoSuchSnapshot(
            f"{self.path} holds no snapshot to resume ({found})", "start the program: wasnap run"
        )

    def verify(self) -> None:
        """Checks everything that is checked only when it is used; see ``damaged`` and ``start``
        then.
        """
        for info in self.snapshots:
            try:
                self.load(info.id)
            except JournalError:
                continue  # it is in `damaged` now

    def begin(
        self, parent: int | None, trigger: str, *, label: str = "", full: bool = False
    ) -> SnapshotWriter:
        """Starts the next snapshot; use it in a ``with``. ``parent``: the one the process was in
        before.

        ``full``: it takes no pages from the parent (always so without one). NoSuchSnapshot or
        JournalError if the parent cannot be used, JournalWriteFailed.
        """
        assert self._log is not None, "opened for reading"
        if self._log.end != self._index.kept:  # an exception came between a commit and its entry
            self._found = scan(self._storage, str(self.path))
            self._index = build(self._storage, self._found)
        index = self._index
        if parent is not None:
            index.entry(parent)
        record = BeginRecord(
            id=index.next_id,
            parent=parent,
            time_ns=self._clock(),
            trigger=trigger,
            label=label,
            full=full or parent is None,
        )
        return SnapshotWriter(
            self._log,
            record,
            index.last_commit,
            str(self.path),
            index.add,
            lambda: self._known_of(parent),
        )

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
