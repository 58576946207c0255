"""The history of files: what it takes to undo what a guest did to them.

*The problem.* A snapshot holds a guest's memory, but its files are in the world and go on changing.
A database that is killed in the midst of a transaction, and resumed from a snapshot before it,
finds a file that its memory knows nothing of. So resuming rewinds the files too.

*The idea* is a database's: before a change is made, the way back is written to a log. A snapshot is
a position in the log, and going there means undoing entries from its end back to that position.
Undoing is done by changes that are noted in the same log. So nothing is ever lost, a death in the
midst of it needs no thought, and one can go to any snapshot and back again::

    log:    a b | c d | e f        | snapshots, after b and d; killed after f
    resume at the first:  undo f, e, d, c                     log: a b | c d | e f  f' e' d' c'
    resume at the second: undo c', d', e', f', f, e           (a redone, so to speak, c and d)

*Nobody else's changes are overwritten.* For each file we changed, a table in mapped memory has its
size and modification time after our own last change. Undoing is first done in the mind (``plan``);
whatever is not as we left it is a difference, and nothing is touched until it is known what they are.

*What was rejected.* Copies of whole files at each snapshot: the cost grows with what is there, not
with what changes. Redoing instead of undoing: files on disk would lag behind what the guest, and
others, should see. Holding changes back until a snapshot is committed (an overlay): the same; it is
a mapping of its own kind. A second name for each file that is touched, so that it can always be
found: guests see their link counts.

Map of the room::

    entries.py log.py table.py kept.py    the four things on disk: docs/files-format.md
    recorder.py     what is common to noting changes; points, failures
    contents.py names.py                  the system calls that are noted
    spans.py places.py                    helpers
    tree.py plan.py                       undoing in the mind
    undo.py         undoing
    history.py      all of it as one thing
    check.py        is a log whole?
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .places import directory_of

if TYPE_CHECKING:
    from .entries import Identity
    from .history import History, NoHistory
    from .plan import Plan
    from .recorder import HistoryState, Touched

__all__ = [
    "History",
    "HistoryState",
    "Identity",
    "NoHistory",
    "Plan",
    "Touched",
    "directory_of",
]

_FILES = {
    "History": "history",
    "HistoryState": "recorder",
    "Identity": "entries",
    "NoHistory": "history",
    "Plan": "plan",
    "Touched": "recorder",
}


def __getattr__(name: str) -> Any:
    """All but a path is imported when it is used: most programs have no directory to write to."""
    if name not in _FILES:
        raise AttributeError(name)
    return getattr(import_module(f"{__package__}.{_FILES[name]}"), name)
