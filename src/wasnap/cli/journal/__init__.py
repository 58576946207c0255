"""``wasnap journal ...``: one file a subcommand. No logic here, and no engine: see
``wasnap/journal``.
"""

from __future__ import annotations

import click

from wasnap.cli.lazy import Lazy

_COMMANDS = {
    "inspect": "Show what a journal holds, or one of its snapshots.",
    "verify": "Check all of a journal.",
    "diff": "Show what is different between two snapshots.",
    "export": "Write a journal as text.",
    "import": "Make a journal from such a text.",
    "label": "Give a snapshot a name.",
    "compact": "Make a journal smaller.",
    "export-files": "Write out what a --tmp or --overlay holds.",
}


@click.command(cls=Lazy, room="wasnap.cli.journal", commands=_COMMANDS)
def journal() -> None:
    """Look at journals, and work on them.

    \b
      wasnap journal inspect job.journal                    its snapshots, any damage
      wasnap journal inspect job.journal --at 3             one of them: call stack, memory, files
      wasnap journal verify job.journal                     is all of it as it was written?
      wasnap journal diff job.journal 3 4                   what has changed in between?
      wasnap journal export job.journal -o job.jsonl        as text, and back
      wasnap journal import job.jsonl copy.journal
      wasnap journal label job.journal 3 before-the-storm   a name for it, for --at
      wasnap journal compact job.journal --last 3           keep the last three snapshots
      wasnap journal export-files job.journal -o out        the files of a --tmp or an --overlay
    """
