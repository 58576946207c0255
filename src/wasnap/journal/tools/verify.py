"""Everything in a journal that has a checksum, checked; also what nobody has asked for yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wasnap.errors import JournalError
from wasnap.journal.journal import Journal
from wasnap.journal.survey import Progress
from wasnap.journal.tools import view
from wasnap.journal.tools.text import damage_lines
from wasnap.journal.tools.words import printable, size_text


def verify(journal: Journal, progress: Progress | None = None) -> dict[str, Any]:
    """What ``view.describe`` says after all page data was read; with ``checked``, how many bytes of
    it, and ``intact``: whether nothing is damaged. A torn tail is no damage. Whoever knows of the
    history of files adds ``files``.
    """
    checked = journal.verify(progress)
    data = view.describe(journal)
    try:
        journal.module()
    except JournalError as error:
        if error.message not in data["problems"]:
            data["problems"].append(error.message)
    data["checked"] = checked
    data["intact"] = not (data["damaged"] or data["gaps"] or data["problems"])
    return data


def lines(data: Mapping[str, Any]) -> Iterator[str]:
    """``verify``'s data as text."""
    count = len(data["snapshots"])
    yield (
        f"{printable(data['journal'])}: {size_text(data['checked'])} of pages checked;"
        f" {count} {'snapshot' if count == 1 else 'snapshots'} can be used"
    )
    yield from damage_lines(data)
    if files := data.get("files"):
        name = printable(files["path"])
        if "note" in files:
            yield f"  {name} {files['note']}"
        elif not files["problems"]:
            yield f"  {name}: {size_text(files['size'])} of changes to files checked"
        for problem in files["problems"]:
            yield f"  damaged: {name}: {printable(problem)}"
