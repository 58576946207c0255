"""``wasnap journal filter``: a journal that can be shown to others."""

from __future__ import annotations

from pathlib import Path

import click

from wasnap.cli.progress import progress
from wasnap.journal.tools.filter import WORDS, filter_journal
from wasnap.journal.tools.words import printable, size_text


@click.command("filter")
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option(
    "--drop", multiple=True, required=True, type=click.Choice(WORDS), help="What to leave out."
)
@click.option("--keep", multiple=True, metavar="N", help="Keep only snapshot N, an id or a label.")
@click.option(
    *("-o", "--output"), required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="The new journal.",
)  # fmt: skip
def filter(path: Path, drop: tuple[str, ...], keep: tuple[str, ...], output: Path) -> None:
    """Make FILE, a new journal, of JOURNAL without some of it. Never changes JOURNAL.

    \b
      wasnap journal filter job.journal --drop contents -o report.journal
      wasnap journal filter job.journal --drop labels --drop terminal -o copy.journal

    \b
      labels    names of snapshots
      terminal  text that was shown on the terminal
      contents  all that the guest held: memory, locals, globals, arguments, environment, what is
                known of files, where directories are

    Without labels or terminal text it resumes as before. Without contents it can be looked at
    (inspect), and resuming it is refused: what remains is the module, when snapshots were taken,
    and which functions were running. Arguments or environment cannot be left out alone: the guest
    has them in its memory, too.
    """
    with progress("filtering") as tell:
        done = filter_journal(path, output, drop, keep=keep, progress=tell)
    click.echo(
        f"{printable(str(output))}: {len(done.kept)} of {done.total} snapshots,"
        f" without {', '.join(drop)}; {size_text(done.size)}"
    )
