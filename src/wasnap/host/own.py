"""What is the journal's own in a directory that the guest may write to.

A journal says which directories a resume maps again, and ``JOURNAL.files`` what it puts where. A
guest that could write to them would choose its own rights. So where they lie in a mapping (``--dir .``
in the directory that holds the journal) the guest may read them, and every change is refused
(EACCES): of them, of a name in ``JOURNAL.files``, of the names that wasnap makes for a moment beside
them, and of the name of a directory above them, by which another journal could be put in their
place.

They are told by their place, not by their inode: a journal that is compacted is another file.

A mapping without a journal in it (the usual one) has no ``Own``, and costs nothing.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .beneath import os_error
from .history.places import join, journal_of, kernels_path


class Own:
    """The places of one journal beneath the mapped directory ``base``."""

    __slots__ = ("_base", "_paths")

    def __init__(self, base: int, paths: list[bytes]) -> None:
        self._base = base
        self._paths = paths

    @classmethod
    def beneath(cls, base: int, host: str, history: Path) -> Own | None:
        """Of the journal whose history of files is at ``history``; None: it lies elsewhere.

        ``base``: the open directory ``host``.
        """
        root = os.path.realpath(host)
        journal = journal_of(history)
        found: dict[bytes, None] = {}
        for place in (os.path.realpath(journal), os.path.abspath(journal)):  # and where a link is
            directory, name = os.path.split(place)
            for own in _names(name):
                path = os.path.relpath(os.path.join(directory, own), root)
                if path.split(os.sep)[0] not in (os.curdir, os.pardir):
                    found[os.fsencode(path)] = None
        return cls(base, list(found)) if found else None

    def check(self, fileno: int, name: bytes = b"", *, goes: bool = False) -> None:
        """Before a change of ``name`` (perhaps with slashes behind it) in an open directory, or of
        what is open. ``goes``: the name is taken away, from all that is beneath it, too. Raises
        OSError: EACCES."""
        path = kernels_path(self._base, fileno)
        if path is None:  # it lies outside by now, where others have moved it
            return
        name = name.rstrip(b"/")
        path = join(path, name) if name else path
        for own in self._paths:
            above = goes and own.startswith(path + b"/")
            if above or path == own or path.startswith(own + b"/"):
                raise os_error(errno.EACCES)


def _names(journal: str) -> list[str]:
    """The journal, its history of files, and what either is made as."""
    files = f"{journal}.files"
    return [journal, files, f".{journal}.new", f".{files}.new", f".{files}.old"]
