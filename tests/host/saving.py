"""Saving a host and restoring it into another, as a journal does: state as plain data, pages as
they are in a file."""

from __future__ import annotations

import tempfile
from typing import NamedTuple

import msgspec

from wasnap.host import Arena, HostState, SavedRun

from .fakes import Guest

PAGE = 4096


class Saved(NamedTuple):
    """One snapshot, complete. ``pages``: those of the arena that were ever written."""

    state: HostState
    total: int
    pages: dict[int, bytes]

    def arena(self) -> Arena:
        """What a journal would load."""
        with tempfile.TemporaryFile() as file:
            file.write(b"".join(self.pages.values()))
            file.flush()
            runs = [SavedRun(page, 1, file.fileno(), i * PAGE) for i, page in enumerate(self.pages)]
            return Arena.load(self.total, runs)


def saved(guest: Guest) -> Saved:
    """The state as a journal has it, with the pages saved before (``Guest.saved``) and those that
    changed since."""
    state = msgspec.msgpack.encode(guest.host.capture().to_plain())
    arena = guest.host.arena
    pages = dict(guest.saved.pages) if isinstance(guest.saved, Saved) else {}
    for first, content in arena.changes():
        data = bytes(content * PAGE) if isinstance(content, int) else bytes(content)
        for i in range(len(data) // PAGE):
            pages[first + i] = data[i * PAGE : (i + 1) * PAGE]
    arena.accept()
    guest.saved = Saved(
        HostState.from_plain(msgspec.msgpack.decode(state)),
        arena.total,
        dict(sorted(pages.items())),
    )
    return guest.saved


def restore(guest: Guest, state: Saved) -> None:
    """Make a fresh guest's host what was saved."""
    guest.host.restore(state.state, state.arena(), history=guest.history, sync=False)
    guest.saved = state
