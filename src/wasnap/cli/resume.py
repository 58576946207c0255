"""``wasnap resume``: go on with a process from its journal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from wasnap.cli import options, output

if TYPE_CHECKING:
    from wasnap.host import Files, Mapping
    from wasnap.journal import Durability


@click.command()
@click.option("--at", metavar="N", help="Resume snapshot N, an id or a label; else the newest.")
@options.snapshots
@options.directories
@options.files
@options.addresses
@click.option(
    "--listen-rebind",
    multiple=True,
    metavar="OLD=NEW",
    help="Listen on NEW where it listened on OLD, both HOST:PORT.",
)
@click.option(
    "--take-over",
    type=int,
    metavar="PID",
    help="Go on here with the running process PID, which ends there; no connection breaks.",
)
@options.messages
@click.argument("journal")
def resume(
    at: str | None,
    snapshot_on: tuple[str, ...],
    snapshot_timer: float | None,
    stop_after_snapshot: bool,
    durability: Durability,
    label: str,
    after_snapshot: str | None,
    grace: float | None,
    dirs: dict[str, Mapping],
    files: Files | None,
    listen: tuple[str, ...],
    listen_rebind: tuple[str, ...],
    take_over: int | None,
    journal: str,
) -> None:
    """Go on with the process in JOURNAL, which holds all that is needed: module, arguments, memory.

    \b
      wasnap resume job.journal
      wasnap resume job.journal --at 3              see: wasnap journal inspect job.journal
      wasnap resume job.journal --at 3 --label other        a branch; later: --at other
      wasnap resume --dir elsewhere::/data job.journal
      wasnap resume --listen-rebind 127.0.0.1:80=127.0.0.1:8080 server.journal
      wasnap resume --take-over 4711 server.journal         move a running server to this process

    New snapshots go to the same journal. Its directories and addresses are used again if the journal
    is your own file and nobody else may write to it; --dir and --overlay replace them one by one, and
    the n-th --listen the n-th address.
    """
    from wasnap.process import resume as resumed

    process = resumed(
        journal,
        at,
        dirs=dirs,
        snapshot_on=snapshot_on or None,
        snapshot_timer=snapshot_timer,
        stop_after_snapshot=stop_after_snapshot,
        durability=durability,
        listen=listen,
        label=label,
        files=files,
        after_snapshot=after_snapshot,
        grace=grace,
        control=True,
        listen_rebind=options.read_rebinds(listen_rebind),
        take_over=take_over,
    )
    code = process.run()
    output.results(process.results)
    sys.exit(code)
