"""Where a program is likely to be whenever it is stopped: in an interpreter's main loop.

The rest of such a function, from its loop's header on, is most of the function, and this is among the largest there
are: some 0.3 s to compile, which the guest would spend standing still.  It is known before: a function of many
safepoints, nearly all of them in one loop (often two or three around each other: all of them are needed), is a loop
that interprets something.  So these continuations can be made while the guest runs.  Which functions they are is a
guess; a wrong one costs some seconds of one processor, once, as the code is cached.
"""

from __future__ import annotations

from collections import Counter

from wasnap.instrument.layout import FunctionPlan, PlannedSite
from wasnap.instrument.sites import LOOP, Frame

CODE_MIN = 16 << 10
"""Bytes of a function; what is smaller takes but a few milliseconds."""
SITES_MIN = 64
WITHIN = 0.9
"""Of a function's safepoints, at least, are in the loop."""
FUNCTIONS_MAX = 2
TOTAL_MAX = 512 << 10
"""Bytes of code in all, each loop's function counted anew: a second or two to compile."""


class Likely:
    """``add`` a program's functions; then ask for the ``sites``."""

    def __init__(self) -> None:
        self._found: list[tuple[int, list[int]]] = []

    def add(self, plan: FunctionPlan, size: int, first_site: int) -> None:
        """``size``: of the function's code, in bytes; ``first_site``: the number of its first site."""
        if size >= CODE_MIN and len(plan.sites) >= SITES_MIN:
            headers = _main_loops(plan.sites)
            if headers:
                self._found.append((size, [first_site + header.ordinal for header in headers]))

    def sites(self) -> list[int]:
        """Their numbers, those of the largest functions first."""
        left = TOTAL_MAX
        chosen: list[list[int]] = []
        for size, numbers in sorted(self._found, reverse=True):
            if size * len(numbers) <= left and len(chosen) < FUNCTIONS_MAX:
                left -= size * len(numbers)
                chosen.append(numbers)
        return [number for numbers in chosen for number in numbers]


def _main_loops(sites: list[PlannedSite]) -> list[PlannedSite]:
    """The headers of loops that hold nearly all sites."""
    held: Counter[int] = Counter()
    for site in sites:
        frame: Frame | None = site.scan.frame
        while frame is not None:
            held[frame.start] += 1
            frame = frame.parent
    return [
        site
        for site in sites
        if site.scan.kind == LOOP and held[site.scan.frame.start] >= WITHIN * len(sites)
    ]
