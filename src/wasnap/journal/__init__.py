"""The journal: an append-only file of snapshots. Reads and writes without the engine.

::

    layout    byte layouts, kinds, versions (what docs/journal-format.md says)
    checksum  CRC-32
    records   schemas of the msgpack records
    storage   the file: the only door to it; faults are injected here
    place     paths: open, lock, make a new one
    scan      file -> records, past any damage
    proof     one snapshot's records: are they what was committed?
    index     where snapshots are, which are damaged, where the next one goes
    survey    records -> index: of all of the file, or of its end
    image     extents of a snapshot and those it rests on -> one memory
    carry     keeps the way from a snapshot to its image short
    snapshot  one snapshot, read
    batches   pages -> extents, as they are or compressed
    pack      blocks of pages, compressed and back
    places    where each page of a memory stands in the file
    sift      which pages a snapshot has to store
    growing   extents -> MEMORY records, which grow while they are written
    pages     pages that have changed -> extents; again and again, until the commit
    trust     which snapshots need not be read through before they are used
    writer    one snapshot, written; the one commit point
    labels    names for snapshots
    journal   Journal: the door for everybody else
    tools/    what people do with journals

A snapshot exists if and only if its COMMIT record is intact and proves all that came before it.
Nothing that is committed is ever changed; a write that fails, or a crash, costs the snapshot it
hit and no other.
"""

from wasnap.journal.batches import Pages
from wasnap.journal.image import Extent, MemoryImage
from wasnap.journal.index import Damaged
from wasnap.journal.journal import Durability, Journal
from wasnap.journal.labels import check_label
from wasnap.journal.layout import HOST_MEMORY, PAGE_SIZE, PROGRAMS
from wasnap.journal.place import looks_like_journal
from wasnap.journal.proof import SnapshotInfo
from wasnap.journal.records import (
    BeginRecord,
    Directory,
    Entry,
    Frame,
    Global,
    HostRecord,
    Interrupted,
    PendingCall,
    ProcessRecord,
    Record,
    StackRecord,
    StartRecord,
    TablesRecord,
)
from wasnap.journal.snapshot import Snapshot
from wasnap.journal.storage import Storage
from wasnap.journal.writer import SnapshotWriter

__all__ = [
    "HOST_MEMORY",
    "PAGE_SIZE",
    "PROGRAMS",
    "BeginRecord",
    "Damaged",
    "Directory",
    "Durability",
    "Entry",
    "Extent",
    "Frame",
    "Global",
    "HostRecord",
    "Interrupted",
    "Journal",
    "MemoryImage",
    "Pages",
    "PendingCall",
    "ProcessRecord",
    "Record",
    "Snapshot",
    "SnapshotInfo",
    "SnapshotWriter",
    "StackRecord",
    "StartRecord",
    "Storage",
    "TablesRecord",
    "check_label",
    "looks_like_journal",
]
