"""``wasnap ps``: show the processes that are running."""

from __future__ import annotations

import json
import time

import click
import msgspec

from wasnap.control import client
from wasnap.journal.tools.words import printable

_COLUMNS = ("PID", "STATE", "AGE", "SNAPSHOT", "TAKEN", "JOURNAL", "PROGRAM")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(as_json: bool) -> None:
    """Show your running wasnap processes. SNAPSHOT is the newest one, TAKEN how long ago.

    \b
      wasnap ps
      wasnap ps --json
    """
    found = client.running()
    if as_json:
        rows = [
            {
                **msgspec.to_builtins(process.status or {}),
                "pid": process.pid,
                "state": process.state,
                "command": process.command,
            }
            for process in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    lines = [_COLUMNS, *(_row(process) for process in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS) - 1)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        click.echo("  ".join([*cells, line[-1]]))


def _row(process: client.Running) -> tuple[str, ...]:
    status = process.status
    program = printable(" ".join(process.command))
    if status is None:
        return (str(process.pid), process.state, "-", "-", "-", "-", program)
    return (
        str(process.pid),
        process.state,
        _age(status.started_ns),
        "-" if status.snapshot is None else str(status.snapshot),
        "-" if status.snapshot_ns is None else _age(status.snapshot_ns),
        printable(status.journal or "-"),
        program,
    )


def _age(since_ns: int) -> str:
    """``2d03h``, ``3h07m``, ``4m09s`` or ``5s``."""
    seconds = max(0, (time.time_ns() - since_ns) // 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"
