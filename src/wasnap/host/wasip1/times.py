"""fstflags: which time stamps to set, and to what."""

from __future__ import annotations

from ..clock import Clock
from . import spec
from .errno import invalid


def times(clock: Clock, atim: int, mtim: int, fst_flags: int) -> tuple[int | None, int | None]:
    """Access and modification time in ns since the epoch; None: leave. INVAL: value and "now"."""
    atim_both = spec.FSTFLAGS_ATIM | spec.FSTFLAGS_ATIM_NOW
    mtim_both = spec.FSTFLAGS_MTIM | spec.FSTFLAGS_MTIM_NOW
    if fst_flags & ~(atim_both | mtim_both):
        raise invalid("fstflags")
    if fst_flags & atim_both == atim_both or fst_flags & mtim_both == mtim_both:
        raise invalid("fstflags")
    now = clock.realtime() if fst_flags & (spec.FSTFLAGS_ATIM_NOW | spec.FSTFLAGS_MTIM_NOW) else 0
    access: int | None = None
    modification: int | None = None
    if fst_flags & spec.FSTFLAGS_ATIM:
        access = atim
    elif fst_flags & spec.FSTFLAGS_ATIM_NOW:
        access = now
    if fst_flags & spec.FSTFLAGS_MTIM:
        modification = mtim
    elif fst_flags & spec.FSTFLAGS_MTIM_NOW:
        modification = now
    return access, modification
