"""``wasnap journal export-files``: what lies in a directory in memory."""

from __future__ import annotations

import os
from pathlib import Path

import click

from wasnap.journal import Journal
from wasnap.journal.tools.words import printable


@click.command("export-files")
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("--at", metavar="N", help="From snapshot N, an id or a label; else the newest.")
@click.option("--mapping", metavar="GUEST", help="Which --tmp or --overlay, if there are several.")
@click.option(
    "-o", "into", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where to."
)
def export_files(path: Path, at: str | None, mapping: str | None, into: Path) -> None:
    """Write what a --tmp holds, or what the guest changed in an --overlay, to DIR: a new directory,
    or an empty one.

    \b
      wasnap journal export-files job.journal -o out
      wasnap journal export-files job.journal --at 3 --mapping /data -o out

    Each file that is written is named on a line of its own, and so is what a directory cannot show:
    names of an overlay's lower directory that the guest removed, and directories it renamed (what
    it did not change in them is in the lower directory, under the old name).
    """
    from wasnap.layers import export_files as exported

    with Journal.open(path) as opened:
        for what, one, other in exported(opened, at, mapping, into):
            names = " -> ".join(printable(os.fsdecode(name)) for name in (one, other) if name)
            click.echo(f"{what:8} {names}")
