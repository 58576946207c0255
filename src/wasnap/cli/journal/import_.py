"""``wasnap journal import``: the journal that a text is of."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from wasnap.cli.progress import progress, reading
from wasnap.errors import MissingFile
from wasnap.journal.tools import portable_import


@click.command("import")
@click.argument("text", metavar="TEXT")
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
def import_(text: str, path: Path) -> None:
    """Make JOURNAL, a new file, from what `wasnap journal export` wrote to TEXT (- for stdin).

    \b
      wasnap journal import job.jsonl job.journal
      zcat job.jsonl.gz | wasnap journal import - job.journal
    """
    with ExitStack() as opened:
        tell = opened.enter_context(progress("reading"))
        if text == "-":
            portable_import.make(path, reading(sys.stdin.buffer, tell), "the text")
            return
        try:
            file = opened.enter_context(open(text, "rb"))
        except OSError as error:
            raise MissingFile(f"{text} cannot be read: {error.strerror}") from None
        portable_import.make(path, reading(file, tell), text)
