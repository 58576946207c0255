"""errno of this machine to errno of WASI. The names are the same; the numbers are not."""

from __future__ import annotations

import errno
import os

from .spec import ERRNO_IO, ERRNO_NAMES

_ALIASES = {"EOPNOTSUPP": "NOTSUP", "EWOULDBLOCK": "AGAIN", "EDEADLOCK": "DEADLK"}


def _table() -> dict[int, int]:
    table = {}
    for number, name in enumerate(ERRNO_NAMES):
        ours = getattr(errno, "E" + name, None)
        if ours is not None:
            table[ours] = number
    for ours_name, name in _ALIASES.items():
        table.setdefault(getattr(errno, ours_name), ERRNO_NAMES.index(name))
    return table


WASI_ERRNO = _table()
"""errno of this machine -> errno of WASI, for all that have the same meaning."""


def of(error: OSError) -> int:
    """The WASI errno for an error of the operating system; IO for what WASI has no name for."""
    return WASI_ERRNO.get(error.errno or 0, ERRNO_IO)


def invalid(what: str) -> OSError:
    """An argument that makes no sense: INVAL."""
    return OSError(errno.EINVAL, f"{os.strerror(errno.EINVAL)}: {what}")
