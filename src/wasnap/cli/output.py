"""Where a subcommand's own output goes: stdout, or a file that is there whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wasnap.errors import UsageError, WasnapError


class OutputFailed(WasnapError):
    """What we print cannot be written."""

    exit_code = 74


def results(values: Iterable[str]) -> None:
    """Print what an invoked function returned, one a line."""
    try:
        for value in values:
            print(value)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"stdout cannot be written: {error.strerror}") from error


@contextmanager
def text_output(name: str | None, source: Path) -> Iterator[Callable[[str], object]]:
    """Writes text to the file ``name``, or to stdout. ``source``: what must not be overwritten."""
    if name is None:
        try:
            yield sys.stdout.write
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(f"stdout cannot be written: {error.strerror}") from error
        return
    target = Path(name)
    if target.exists() and source.exists() and os.path.samefile(target, source):
        raise UsageError(f"{target} is the journal itself", "give another file")
    new = target.with_name(f".{target.name}.new")
    try:
        with open(new, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)  # it holds what the journal holds
            yield file.write
        new.replace(target)
    except OSError as error:
        raise OutputFailed(f"{target} cannot be written: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)
