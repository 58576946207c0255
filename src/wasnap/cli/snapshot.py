"""``wasnap snapshot``: have a running process take a snapshot."""

from __future__ import annotations

import click

from wasnap.control import client, messages


@click.command()
@click.option("--label", default="", metavar="TEXT", help="A name for it, shown by inspect.")
@click.argument("pid", type=int)
def snapshot(label: str, pid: int) -> None:
    """Have the process PID take a snapshot; print its number when it is committed.

    \b
      wasnap snapshot 4711
      wasnap snapshot --label "before the upgrade" 4711
    """
    taken = client.ask(pid, messages.Snapshot(label=label))
    assert isinstance(taken, messages.Taken)
    click.echo(taken.id)
