"""``wasnap journal inspect``: what a journal holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wasnap.journal import Journal, text, view


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("--at", type=int, metavar="N", help="Show snapshot N: call stack, memory, files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: Path, at: int | None, as_json: bool) -> None:
    """Show what JOURNAL holds: the program, its snapshots, any damage. Never changes it."""
    with Journal.open(path) as opened:
        if at is None:
            data = view.describe(opened)
            lines = text.lines(data)
        else:
            data = view.describe_snapshot(opened, at)
            lines = text.snapshot_lines(data)
        click.echo(json.dumps(data, indent=2) if as_json else "\n".join(lines))
