"""``wasnap journal inspect``: what a journal holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wasnap.cli.progress import progress
from wasnap.journal import Journal
from wasnap.journal.tools import text, text_snapshot, view


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option(
    "--at", metavar="N", help="Show snapshot N (an id or a label): call stack, memory, files."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: Path, at: str | None, as_json: bool) -> None:
    """Show what JOURNAL holds: the program, its snapshots, any damage. Never changes it.

    \b
      wasnap journal inspect job.journal
      wasnap journal inspect job.journal --at 3
    """
    with progress("reading") as tell, Journal.open(path, progress=tell) as opened:
        if at is None:
            data = view.describe(opened)
            lines = text.lines(data)
        else:
            data = view.describe_snapshot(opened, opened.find(at))
            lines = text_snapshot.snapshot_lines(data)
        click.echo(json.dumps(data, indent=2) if as_json else "\n".join(lines))
