"""``wasnap journal label``: give a snapshot a name."""

from __future__ import annotations

from pathlib import Path

import click

from wasnap.journal import Journal


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.argument("snapshot", metavar="N")
@click.argument("name", metavar="NAME", default="")
def label(path: Path, snapshot: str, name: str) -> None:
    """Call snapshot N (an id or a label) of JOURNAL by NAME; without NAME, by no name.

    \b
      wasnap journal label job.journal 3 before-the-storm
      wasnap resume job.journal --at before-the-storm

    Where several snapshots have the same name, it means the newest of them.
    """
    with Journal.open_for_writing(path) as opened:
        opened.label(opened.find(snapshot), name)
