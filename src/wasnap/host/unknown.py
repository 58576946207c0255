"""Functions that a guest imports and nobody has, where the user wants to run it all the same.

Many programs import more than they call: what an embedder of theirs would provide. ``trap`` ends
the guest when it calls one; ``zero`` lets it do nothing and return zeros.
"""

from __future__ import annotations

import logging
from typing import Any

from wasnap.errors import GuestTrap

from .config import UnknownImports
from .protocol import Call, HostFunction

log = logging.getLogger(__name__)

_F32, _F64, _V128 = 0x7D, 0x7C, 0x7B
_ZERO: dict[int, float | bytes] = {_F32: 0.0, _F64: 0.0, _V128: bytes(16)}


def unknown(
    module: str, name: str, type: tuple[bytes, bytes], how: UnknownImports
) -> HostFunction | None:
    """The function to be imported instead; None: there is none, the module is to be refused."""
    if how == "refuse":
        return None
    params, results = type
    zeros = tuple(_ZERO.get(t, 0) for t in results)
    told = False

    def trap(call: Call, *args: Any) -> Any:
        raise GuestTrap(f"it called {module}.{name}, which nobody provides")

    def zero(call: Call, *args: Any) -> Any:
        nonlocal told
        if not told:
            told = True
            log.warning("%s.%s is not provided: it does nothing", module, name)
        return zeros if len(zeros) != 1 else zeros[0]

    return HostFunction(module, name, params, results, trap if how == "trap" else zero)
