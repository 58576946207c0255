"""The control memory's header: how the host and the instrumented code talk.

Layout (little-endian; docs/architecture.md, "Control memory"):

| offset | size | what |
|---|---|---|
| 0 | 4 | stop word: 0 run, 1 stop |
| 4 | 4 | no-stop depth: above 0 nothing may suspend |
| 8 | 8 | countdown: the n-th safepoint from now stops; 0: never |
| 16 | | static area and frames: ``stack.py`` |

Loop headers look at the stop word in memory (an atomic load, which the compiler keeps in the loop),
call sites at the global ``wasnap.stop``: asking for a stop writes both.
"""

from __future__ import annotations

import ctypes

from wasnap.engine.memory import GuestMemory
from wasnap.instrument import abi


class Control:
    """The header's words, read and written in place; any thread may ask for a stop.

    ``cell``: where ``wasnap.stop`` lies (``cell.find_i32``), None for a module without it.
    """

    def __init__(self, memory: GuestMemory, cell: ctypes.c_uint32 | None = None) -> None:
        self.memory = memory
        self._cell = ctypes.c_uint32() if cell is None else cell
        self._stop = ctypes.c_uint32.from_address(memory.address + abi.STOP_WORD)
        self._depth = ctypes.c_uint32.from_address(memory.address + abi.NO_STOP_DEPTH)
        self._countdown = ctypes.c_uint64.from_address(memory.address + abi.COUNTDOWN)

    @property
    def stop(self) -> bool:
        """The stop word, in both its places."""
        return self._stop.value != 0

    @stop.setter
    def stop(self, value: bool) -> None:
        self._stop.value = 1 if value else 0
        self._cell.value = 1 if value else 0

    @property
    def depth(self) -> int:
        """The no-stop depth."""
        return self._depth.value

    @property
    def countdown(self) -> int:
        """Safepoints left until the code stops itself; 0: never."""
        return self._countdown.value

    @countdown.setter
    def countdown(self, value: int) -> None:
        self._countdown.value = value

    def reset(self) -> None:
        """As before the first run: nothing is asked for, nothing stands in the way of a stop."""
        self._stop.value = 0
        self._depth.value = 0
        self._countdown.value = 0

    def stopping(self) -> bool:
        """Whether a stop is asked for and may be followed here."""
        return self._stop.value != 0 and self._depth.value == 0
