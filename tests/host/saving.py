"""Saving a host and restoring it into another, as a journal does: state as plain data, pages as
they are in a file."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from wasnap.host import Arena, HostState

from .fakes import Guest

PAGE = 4096


class Saved(NamedTuple):
    """One snapshot, complete. ``pages``: those of the arena that were ever written."""

    state: HostState
    total: int
    pages: dict[int, bytes]

    def arena(self) -> Arena:
        """What a journal would load."""
        return Arena.load(self.total, self.pages.items())


def saved(guest: Guest) -> Saved:
    """The state as a journal has it, with the pages saved before (``Guest.saved``) and those that
    changed since."""
    state = msgspec.msgpack.encode(guest.host.capture().to_plain())
    arena = guest.host.arena
    pages = dict(guest.saved.pages) if isinstance(guest.saved, Saved) else {}
    for first, end in arena.written():
        data = bytes(arena[first * PAGE : end * PAGE])
        for page in range(first, end):
            pages[page] = data[(page - first) * PAGE : (page - first + 1) * PAGE]
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
