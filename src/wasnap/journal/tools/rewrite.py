"""Another journal with snapshots of one: see "Making smaller" in docs/journal-format.md.

The new file has a creation id of its own; what it holds is read back and checked before anybody can
see it. The old one is only read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from wasnap.errors import JournalError
from wasnap.journal import place
from wasnap.journal.carry import base_for
from wasnap.journal.image import Block
from wasnap.journal.index import Index
from wasnap.journal.layout import PAGE_SIZE, Kind, RecordHeader, pack_file_header
from wasnap.journal.pagecheck import check_pages
from wasnap.journal.records import BeginRecord, StartRecord, decode
from wasnap.journal.scan import Identity, identify, read_checked
from wasnap.journal.snapshot import Snapshot
from wasnap.journal.storage import Storage, write_all
from wasnap.journal.survey import Progress, survey
from wasnap.journal.tools.moved import Moved, pages
from wasnap.journal.trust import Trust
from wasnap.journal.writer import Log, SnapshotWriter

Edit = Callable[[int, bytes], bytes]
"""(kind, payload) -> the payload that is written in its place."""


class Source:
    """The journal that is read. MissingFile, JournalError; OSError when it cannot be read."""

    def __init__(
        self,
        path: Path,
        make_storage: Callable[[int], Storage] = Storage,
        progress: Progress | None = None,
    ) -> None:
        self.path = path
        self.storage = make_storage(place.open_file(path, writable=False))
        try:
            self.index: Index = survey(self.storage, identify(self.storage, str(path)), progress)
        except BaseException:
            self.storage.close()
            raise

    @property
    def size(self) -> int:
        """In bytes."""
        return self.index.identity.size

    def snapshot(self, snapshot: int) -> Snapshot:
        """NoSuchSnapshot; JournalError if it is damaged."""
        return Snapshot(self.storage, list(self.index.chain(snapshot)))

    def once(self, kind: Kind) -> bytes:
        """The START or MODULE record's payload."""
        header = self.index.start if kind == Kind.START else self.index.module
        if header is None:
            raise JournalError(
                f"{self.path} has no intact {kind.name} record: nothing in it can be resumed",
                "see what is left: wasnap journal inspect",
            )
        return read_checked(self.storage, header)

    def close(self) -> None:
        """Close the file."""
        self.storage.close()


class _Tell:
    """Adds up what three passes over the pages have done: checking, writing, reading back."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def __call__(self, size: int) -> None:
        self._done = min(self._done + size, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)


def rewrite(
    source: Source,
    chosen: Sequence[int],
    new: Storage,
    *,
    level: int | None = None,
    edit: Edit = lambda kind, payload: payload,
    with_pages: bool = True,
    progress: Progress | None = None,
) -> None:
    """Writes the snapshots ``chosen``, sorted, to the empty file ``new``, and checks it.

    ``level``: of compression; None: none. JournalError if a chosen one is damaged, JournalWriteFailed
    or OSError if something cannot be written.
    """
    start, module = source.once(Kind.START), source.once(Kind.MODULE)
    blocks = _blocks(source, chosen) if with_pages else set()
    tell = _Tell(3 * sum(block.stored for block in blocks) or 1, progress)
    if with_pages:
        _check(source, chosen, tell)
    journal = os.urandom(8)
    end = write_all(new, 0, [pack_file_header(journal)])
    log = Log(new, journal, end, 0, sync=False)
    last = source.index.next_id - 1
    log.append(Kind.START, [edit(Kind.START, _start(start, last))])
    log.append(Kind.MODULE, [module])
    log.settle()
    index = Index(new, Identity(journal, *source.index.version, log.end))
    index.complete = True
    moved: dict[int, Moved] = {}
    before: Snapshot | None = None
    for number in chosen:
        snapshot = source.snapshot(number)
        begin = _begin(source, index, snapshot, edit)
        parent = begin.parent
        if parent is None:
            before = None
        elif before is None or before.info.id != parent:
            before = source.snapshot(parent)
        base = None if parent is None else base_for(index, index.entry(parent))
        if base is not None:
            begin.base, begin.base_commit = base.entry.info.id, base.entry.commit
        between = () if base is None else base.between
        writer = SnapshotWriter(
            log, begin, index.last_commit, "the new file", index.add, between=between
        )
        with writer:
            for image in snapshot.memories.values() if with_pages else ():
                known = moved.setdefault(image.index, Moved())
                old = None if before is None else before.memories.get(image.index)
                position = writer.position
                written = writer.memory(
                    image.index,
                    image.pages_total,
                    PAGE_SIZE,
                    pages(image, old, known),
                    is64=image.is64,
                    shared=image.shared,
                    level=level,
                )
                fresh = [extent for extent in written if extent.position >= position]
                known.add(image, fresh)
                tell(sum(extent.pages for extent in fresh) * PAGE_SIZE)
            for header in source.index.entry(number).records:
                if _is_copied(header):
                    payload = read_checked(source.storage, header)
                    writer.copy(header.kind, edit(header.kind, payload))
            writer.commit()
        before = snapshot
    _read_back(new, chosen, tell)


def _blocks(source: Source, chosen: Sequence[int]) -> set[Block]:
    """All that the chosen ones need. JournalError if one is damaged."""
    blocks: set[Block] = set()
    for number in chosen:
        for image in source.snapshot(number).memories.values():
            blocks.update(image.blocks)
    return blocks


def _check(source: Source, chosen: Sequence[int], tell: _Tell) -> None:
    verified: set[Block] = set()
    for number in chosen:
        for image in source.snapshot(number).memories.values():
            try:
                image.verify(verified, tell)
            except JournalError as error:
                raise damaged(number, error.message) from None


def damaged(snapshot: int, reason: str) -> JournalError:
    """Says that a snapshot which is wanted cannot be had."""
    return JournalError(
        f"snapshot {snapshot} is to be kept, but damaged: {reason}",
        "nothing was changed; keep others: --keep ID",
    )


def _start(payload: bytes, last: int) -> bytes:
    """START, with what a later version has put there; no id up to ``last`` is given again."""
    decode(payload, StartRecord)
    fields = msgspec.msgpack.decode(payload)
    fields["ids_used"] = max(last, fields.get("ids_used", 0))
    return msgspec.msgpack.encode(fields)


def _begin(source: Source, index: Index, snapshot: Snapshot, edit: Edit) -> BeginRecord:
    info = source.index.infos[snapshot.info.id]  # it has the newest label
    parent = info.parent
    while parent is not None and parent not in index.infos:
        found = source.index.infos.get(parent)
        parent = None if found is None else found.parent
    record = BeginRecord(
        id=info.id,
        parent=parent,
        base=None,
        base_commit=0,
        time_ns=info.time_ns,
        trigger=info.trigger,
        label=info.label,
        depth=0 if parent is None else index.infos[parent].depth + 1,
        after=info.after if parent == info.parent else info.after or info.parent,
    )
    return decode(edit(Kind.BEGIN, msgspec.msgpack.encode(record)), BeginRecord)


def _is_copied(header: RecordHeader) -> bool:
    """What a version unknown to us has added may hold positions in the file: it is left out."""
    return header.kind in (Kind.STACK, Kind.TABLES, Kind.HOST, Kind.PROCESS)


def _read_back(new: Storage, chosen: Sequence[int], tell: _Tell) -> None:
    """Read all of it as others will. JournalError if it is not as it should be."""
    index = survey(new, identify(new, "the new file"))
    done = 0

    def progress(read: int, _: int) -> None:
        nonlocal done
        tell(read - done)
        done = read

    check_pages(new, index, progress)
    there = [info.id for info in index.snapshots()]
    whole = index.start is not None and index.module is not None
    if not whole or index.damaged or index.gaps or there != list(chosen):
        reason = index.damaged[0].reason if index.damaged else "something is missing"
        raise JournalError(
            f"what was written is not what can be read: {reason}",
            "nothing was changed; is the disk all right?",
        )
    assert index.module is not None
    read_checked(new, index.module)
    Trust(new).all_checked(max(chosen))
