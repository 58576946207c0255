"""Plain data (see ``view``) as words and lines.

Text from the guest or the file may hold anything; it is escaped before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from wasnap.journal.tools.view import bytes_of, is_bytes

BYTES_SHOWN = 32


def value_lines(value: Any, indent: str) -> Iterator[str]:
    """Any plain data, one line for each leaf."""
    items: Iterator[tuple[str, Any]]
    if isinstance(value, dict):
        items = ((f"{printable(str(key))}: ", each) for key, each in value.items())
    else:
        items = (("- ", each) for each in value)
    for head, each in items:
        if is_leaf(each):
            yield f"{indent}{head}{leaf(each)}"
        elif isinstance(each, list) and all(map(is_leaf, each)):
            yield f"{indent}{head}{' '.join(map(leaf, each))}"
        else:
            yield f"{indent}{head}".rstrip()
            yield from value_lines(each, indent + "  ")


def printable(text: str) -> str:
    """``text`` with everything a terminal could take for a command escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def size_text(size: int) -> str:
    """``12 bytes``, ``1.5 KiB``, ``20.0 MiB``."""
    if size < 1024:
        return f"{size} bytes"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def time_text(time_ns: int) -> str:
    """Local time, to the second."""
    try:
        moment = datetime.fromtimestamp(time_ns // 10**9).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns after 1970"
    return moment.isoformat(sep=" ", timespec="seconds")


def is_leaf(value: Any) -> bool:
    """Whether ``value`` is shown in one word: no container, an empty one, or bytes."""
    if isinstance(value, dict):
        return not value or is_bytes(value)
    return not isinstance(value, list) or not value


def leaf(value: Any) -> str:
    """One word, as ``is_leaf`` means it. Bytes that are text are shown as that."""
    if isinstance(value, dict) and value:
        data = bytes_of(value)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        if text.isprintable() and text:
            return quoted(text)
        more = "..." if len(data) > BYTES_SHOWN else ""
        return f"<{len(data)} bytes {data[:BYTES_SHOWN].hex()}{more}>"
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "-"
    return str(value)


def quoted(text: str) -> str:
    """Text as one word: in quotes if it would not be seen as one."""
    text = printable(text)
    return f'"{text}"' if not text or " " in text else text
