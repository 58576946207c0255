"""One snapshot, read: its records, and its memories merged over the snapshots it rests on."""

from __future__ import annotations

from typing import TypeVar

from wasnap.errors import JournalError
from wasnap.journal.carry import tables as tables_of
from wasnap.journal.image import Block, MemoryImage, MemoryTable, merge
from wasnap.journal.layout import Kind
from wasnap.journal.places import ELSEWHERE, Known
from wasnap.journal.proof import Entry, SnapshotInfo
from wasnap.journal.records import Record, decode
from wasnap.journal.scan import read_checked
from wasnap.journal.storage import Storage

R = TypeVar("R", bound=Record)


class Snapshot:
    """A committed snapshot. Its records are in memory, the pages of its memories stay in the
    file.
    """

    def __init__(self, storage: Storage, chain: list[Entry]) -> None:
        """``chain``: the snapshot, its base, ... up to one without. JournalError if it cannot be
        read.
        """
        self.info: SnapshotInfo = chain[0].info
        self._payloads = [
            (header.kind, read_checked(storage, header))
            for header in chain[0].records
            if header.kind != Kind.MEMORY
        ]
        tables: dict[int, list[MemoryTable]] = {}
        for entry in chain:
            for memory, own in tables_of(storage, entry).items():
                tables.setdefault(memory, []).extend(own)
        self.memories: dict[int, MemoryImage] = {
            index: merge(index, tables[index], storage) for index in sorted(tables)
        }

    def record(self, record_type: type[R]) -> R:
        """The snapshot's one record of that type. JournalError if there is none, or it breaks its
        schema.
        """
        found = self.records(record_type)
        if not found:
            name = record_type.kind.name
            raise JournalError(f"snapshot {self.info.id} holds no {name} record")
        return found[0]

    def records(self, record_type: type[R]) -> list[R]:
        """All records of that type, in file order: one STACK for each guest thread."""
        return [
            decode(payload, record_type)
            for kind, payload in self._payloads
            if kind == record_type.kind
        ]

    def memory(self, index: int) -> MemoryImage:
        """The image of memory ``index``. JournalError if the snapshot holds no such memory."""
        if index not in self.memories:
            raise JournalError(f"snapshot {self.info.id} holds no memory {index}")
        return self.memories[index]

    def verify(self, verified: set[Block]) -> None:
        """Checks all page data (see ``MemoryImage.verify``). JournalError names what is damaged."""
        for image in self.memories.values():
            image.verify(verified)

    def locate(self, known: Known) -> None:
        """Tells where all pages stand that are not zero."""
        for image in self.memories.values():
            places = known.places(image.index)
            for first_page, n_pages, offset, packed in image.extents:
                if offset is not None or packed:
                    places.put(first_page, n_pages, ELSEWHERE if offset is None else offset)
