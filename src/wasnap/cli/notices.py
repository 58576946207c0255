"""Our own messages on stderr: one line each, ``wasnap: ...``, or an object of JSON.

The rooms speak through ``logging``. Warnings are shown, notices (INFO) on a terminal or as JSON
only, details (DEBUG) with ``--verbose``; ``--quiet`` silences all but the error that ends the
command. What a record carries as ``fields`` is part of its JSON, beside ``time``, ``level`` and
``message``.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

FORMATS = ("text", "json")
_as_json = False


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = getattr(record, "fields", {})
        say(record.getMessage(), level=record.levelname.lower(), **fields)


def set_up(*, quiet: bool, verbose: bool, format: str = "text") -> None:
    """Choose what is shown, and how: ``text`` or ``json``."""
    global _as_json
    assert format in FORMATS
    _as_json = format == "json"
    log = logging.getLogger("wasnap")
    log.handlers = [_Lines()]
    log.propagate = False
    if quiet:
        log.setLevel(logging.CRITICAL)
    elif verbose:
        log.setLevel(logging.DEBUG)
    else:
        log.setLevel(logging.INFO if _as_json or sys.stderr.isatty() else logging.WARNING)


def say(message: str, *, level: str = "info", **fields: Any) -> None:
    """One message, in one write: other processes may share the stream."""
    line = f"wasnap: {message}"
    if _as_json:
        import json
        from datetime import UTC, datetime

        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "level": level, "message": message, **fields})
    _write(line)


def complain(message: str, hint: str = "", *, code: int, frames: tuple[str, ...] = ()) -> None:
    """The error that ends the command, with exit code ``code``; ``frames``: where a guest trapped."""
    if _as_json:
        fields = {"hint": hint, "exit_code": code, "frames": list(frames)}
        say(message, level="error", **{name: value for name, value in fields.items() if value})
        return
    _write(f"wasnap: error: {message}")
    for name in frames:
        _write(f"wasnap:   in {name}")
    if hint:
        _write(f"wasnap: hint: {hint}")


def _write(line: str) -> None:
    with contextlib.suppress(OSError):  # stderr is gone: there is nobody to tell
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
