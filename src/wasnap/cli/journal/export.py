"""``wasnap journal export``: a journal as text."""

from __future__ import annotations

from pathlib import Path

import click

from wasnap.cli.output import text_output
from wasnap.cli.progress import progress
from wasnap.journal.tools import portable


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="TEXT", help="Write to this file, not to stdout.")
def export(path: Path, output: str | None) -> None:
    """Write JOURNAL as text: JSON, a record a line, pages as base64. Never changes it.

    \b
      wasnap journal export job.journal -o job.jsonl
      wasnap journal export job.journal | gzip > job.jsonl.gz
      wasnap journal import job.jsonl copy.journal

    Whatever state the journal is in, importing the text gives the same file, byte for byte. The
    text holds all that the journal does: the guest's memory, with all that is secret in it.
    """
    with progress("writing") as tell:
        lines = portable.export(path, tell)
        with text_output(output, path) as write:
            for line in lines:
                write(f"{line}\n")
