"""``wasnap journal compact``: fewer snapshots, fewer bytes."""

from __future__ import annotations

from pathlib import Path

import click

from wasnap.cli.progress import progress
from wasnap.journal.tools.compact import compact as make_smaller
from wasnap.journal.tools.words import printable, size_text


@click.command()
@click.argument("path", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("--keep", multiple=True, metavar="N", help="Keep snapshot N, an id or a label.")
@click.option("--last", type=click.IntRange(min=1), metavar="COUNT", help="Keep the last COUNT.")
@click.option("--compress", is_flag=True, help="Compress pages (zstd).")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Make a new file."
)
def compact(
    path: Path, keep: tuple[str, ...], last: int | None, compress: bool, output: Path | None
) -> None:
    """Keep some snapshots of JOURNAL, the newest if nothing else is said, and leave out the rest.

    \b
      wasnap journal compact job.journal
      wasnap journal compact job.journal --last 10 --keep before-the-storm
      wasnap journal compact job.journal --compress -o small.journal

    Snapshots that are kept have their ids, labels and branches; resuming one does what it did
    before. JOURNAL is replaced at once, when the new file is complete, checked and on the disk; for
    so long there must be room for both. It cannot be replaced while a process writes to it; a new
    FILE can be made even then.

    Pages are stored so that a resume can map them; with --compress they are smaller, and a resume
    unpacks them. Without it, what was compressed is not any more.

    JOURNAL.files, which has what is needed to undo changes to files in --dir, is left as it is, and
    serves what is kept. A new FILE has none: resuming it undoes no changes to files.
    """
    with progress("compacting") as tell:
        done = make_smaller(
            path, keep=keep, last=last, compress=compress, output=output, progress=tell
        )
    ids = ", ".join(map(str, done.kept[:10])) + (", ..." if len(done.kept) > 10 else "")
    click.echo(
        f"{printable(str(output or path))}: {len(done.kept)} of {done.total} snapshots kept ({ids});"
        f" {size_text(done.size_before)} before, {size_text(done.size)} now"
    )
