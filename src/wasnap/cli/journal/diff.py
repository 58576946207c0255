"""``wasnap journal diff``: what is different between two snapshots."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wasnap.cli.progress import progress
from wasnap.journal import Journal


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(path: Path, before: str, after: str, as_json: bool) -> None:
    """Show what is different in snapshot B of JOURNAL from snapshot A (ids or labels): pages of
    memory, globals, call stacks, files. Never changes it.

    \b
      wasnap journal diff job.journal 3 4
    """
    from wasnap.journal.tools.diff import diff as compare
    from wasnap.journal.tools.text_diff import diff_lines

    with progress("reading") as tell, Journal.open(path, progress=tell) as opened:
        data = compare(opened, opened.find(before), opened.find(after), tell)
    click.echo(json.dumps(data, indent=2) if as_json else "\n".join(diff_lines(data)))
