"""``wasnap stop``: have a running process take a snapshot and end."""

from __future__ import annotations

import click

from wasnap.control import client, messages


@click.command()
@click.option("--label", default="", metavar="TEXT", help="A name for the snapshot.")
@click.argument("pid", type=int)
def stop(label: str, pid: int) -> None:
    """Have the process PID take a snapshot and end, with exit code 0; print the snapshot's number.

    If there can be no snapshot, the process goes on.

    \b
      wasnap stop 4711
    """
    taken = client.ask(pid, messages.Stop(label=label))
    assert isinstance(taken, messages.Taken)
    click.echo(taken.id)
