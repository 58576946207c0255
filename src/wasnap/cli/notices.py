"""Our own messages on stderr: one line each, ``wasnap: ...``.

The rooms speak through ``logging``. Warnings are shown, notices (INFO) on a terminal only, details
(DEBUG) with ``--verbose``; ``--quiet`` silences all but the error that ends the command.
"""

from __future__ import annotations

import contextlib
import logging
import sys


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def set_up(*, quiet: bool, verbose: bool) -> None:
    """Choose what is shown."""
    log = logging.getLogger("wasnap")
    log.handlers = [_Lines()]
    log.propagate = False
    if quiet:
        log.setLevel(logging.CRITICAL)
    elif verbose:
        log.setLevel(logging.DEBUG)
    else:
        log.setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)


def say(message: str) -> None:
    """One message, in one write: other processes may share the stream."""
    with contextlib.suppress(OSError):  # stderr is gone: there is nobody to tell
        sys.stderr.write(f"wasnap: {message}\n")
        sys.stderr.flush()
