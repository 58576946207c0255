"""How a snapshot is taken and restored. Knows the engine, the host and the journal; they meet here.

records.py   the one place that knows the order, and what is which record
world.py     all that is running, and where its pages are
sources.py   where pages come from, and which of them are owed to the journal
staging.py   where they wait for the disk
saver.py     the way of a snapshot into the journal, most of it while the guest runs
"""

from wasnap.snapshot.records import Captured, capture, check_transform, records, restore
from wasnap.snapshot.saver import Outcome, Phase, Saver
from wasnap.snapshot.sources import PageSource
from wasnap.snapshot.staging import Staging
from wasnap.snapshot.world import World

__all__ = [
    "Captured",
    "Outcome",
    "PageSource",
    "Phase",
    "Saver",
    "Staging",
    "World",
    "capture",
    "check_transform",
    "records",
    "restore",
]
