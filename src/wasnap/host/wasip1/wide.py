"""What has pointers in it, for a memory of 64-bit addresses (``host/widths.py``).

Only these layouts differ: all other structures of preview1 hold numbers of the same width in either.
"""

from __future__ import annotations

import struct

from ..widths import NARROW, Widths
from . import layout

iovecs = layout.windows(struct.Struct("<QQ"))
"""``iovec`` array.

::

    0     8     16
    | buf | len | ... count times
"""


class Wide:
    """What the classes of this room take instead."""

    _pointer_size = 8
    _iovecs = staticmethod(iovecs)


def provided(provider: type, widths: Widths, wide: type = Wide) -> type:
    """A class of functions as it is for these widths."""
    return provider if widths is NARROW else type(f"Wide{provider.__name__}", (wide, provider), {})
