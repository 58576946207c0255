"""``wasnap signal``: send a running process a signal."""

from __future__ import annotations

from signal import Signals

import click

from wasnap.control import client, messages
from wasnap.errors import UsageError


@click.command()
@click.argument("pid", type=int)
@click.argument("name")
def signal(pid: int, name: str) -> None:
    """Send the process PID the signal NAME: TERM, SIGTERM or 15.

    As kill does it, but SIGSTOP can be heard, too: with --snapshot-on sigstop the process takes a
    snapshot before it stops.

    \b
      wasnap signal 4711 SIGSTOP
      wasnap signal 4711 ALRM
    """
    client.ask(pid, messages.Signal(number=_number(name)))


def _number(name: str) -> int:
    """Raises UsageError."""
    text = name.upper()
    try:
        return int(text) if text.isdecimal() else Signals[f"SIG{text.removeprefix('SIG')}"].value
    except KeyError:
        raise UsageError(f"there is no signal {name}", "kill -l lists them") from None
