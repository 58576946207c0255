"""What has pointers in it, for a memory of 64-bit addresses: see ``host/widths.py``."""

from __future__ import annotations

from ..wasip1 import wide
from . import layout


class Wide(wide.Wide):
    """What the classes of this room take instead."""

    _fd_ops = staticmethod(layout.read_wide_fd_ops)
