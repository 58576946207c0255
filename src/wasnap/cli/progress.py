"""Progress on a terminal, for what takes longer than a second."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 1.0


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """What tells how much is done, and of how much, in bytes; None where nobody would see it.

    The bar is made when a second has passed: importing it takes longer than most of what we do.
    """
    if not sys.stderr.isatty():
        yield None
        return
    begun = time.monotonic()
    bar: tqdm[Any] | None = None

    def tell(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            if time.monotonic() - begun < SECONDS:
                return
            from tqdm import tqdm

            bar = tqdm(desc=what, total=total, unit="B", unit_scale=True, leave=False)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


def reading(file: BinaryIO, tell: Callable[[int, int], None] | None) -> Iterator[bytes]:
    """The lines of a file, or of a pipe, of which nobody knows how much there is."""
    total = os.fstat(file.fileno()).st_size
    done = 0
    for line in file:
        done += len(line)
        if tell is not None:
            tell(done, total)
        yield line
