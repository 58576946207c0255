"""``wasnap journal verify``: check all of a journal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from wasnap.cli.progress import progress
from wasnap.errors import JournalError
from wasnap.journal import Journal
from wasnap.journal.tools.verify import lines
from wasnap.journal.tools.verify import verify as check


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(path: Path, as_json: bool) -> None:
    """Check everything in JOURNAL that has a checksum, and in JOURNAL.files, which has what it takes
    to undo changes to files. Never changes them.

    \b
      wasnap journal verify job.journal && cp job.journal /backup

    The exit code is 0 if nothing is damaged, else 76. What a crash or a running process left at the
    end is no damage.
    """
    with progress("reading") as tell, Journal.open(path, progress=tell) as opened:
        data = check(opened, tell)
        from wasnap.layers import check_files

        data["files"] = check_files(opened)
    data["intact"] = data["intact"] and not (data["files"] and data["files"]["problems"])
    click.echo(json.dumps(data, indent=2) if as_json else "\n".join(lines(data)))
    if not data["intact"]:
        sys.exit(JournalError.exit_code)
