"""``wasnap run``: run a program; resume it where its journal says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from wasnap.cli import options, output

if TYPE_CHECKING:
    from wasnap.host import Files, Mapping, UnknownImports
    from wasnap.journal import Durability


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--journal", metavar="FILE", help="Where snapshots go, and are resumed from.")
@click.option("--fresh", is_flag=True, help="Start anew even if the journal holds a snapshot.")
@options.snapshots
@options.directories
@options.files
@options.addresses
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set an environment variable.")
@click.option(
    "--unknown-imports",
    type=click.Choice(["refuse", "trap", "zero"]),
    default="refuse",
    help="What becomes of functions it imports and nobody provides (refuse to run it).",
)
@click.option(
    "--invoke",
    metavar="EXPORT",
    help="Run this function in the place of _start, after _initialize: the first ARGs are its "
    "arguments, and what it returns is printed.",
)
@options.messages
@click.argument("module")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    journal: str | None,
    fresh: bool,
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
    env: tuple[str, ...],
    unknown_imports: UnknownImports,
    invoke: str | None,
    module: str,
    args: tuple[str, ...],
) -> None:
    """Run MODULE with ARGs. Options of ours stand before MODULE; all behind it is the guest's.

    \b
      wasnap run hello.wasm
      wasnap run --dir . python.wasm script.py --its-own-option
      wasnap run --dir data::/data:ro --env MODE=fast job.wasm
      wasnap run --tmp /tmp --overlay data::/data job.wasm    what it writes is in the snapshots
      wasnap run --invoke fib library.wasm 30                 a function of a library
      wasnap run --listen 127.0.0.1:8080 server.wasm          it accepts on descriptor 3
      wasnap run --journal job.journal job.wasm               a snapshot every 10 s
      wasnap run --journal job.journal --snapshot-timer 60 job.wasm

    With a journal that holds a snapshot of this module, the newest one is resumed: the same command
    line starts a job and goes on with it after a crash. Ctrl-C takes a snapshot and ends with 130;
    a second Ctrl-C ends at once.

    The guest sees nothing but what it is given: no directory without --dir, --tmp or --overlay, no
    variable without --env, no network without --listen. What it writes to --tmp and --overlay is
    not on any disk but in the snapshots: see wasnap journal export-files.
    """
    from wasnap.process import Process

    process = Process(
        module,
        args,
        options.read_env(env),
        dirs,
        journal=journal,
        fresh=fresh,
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
        unknown_imports=unknown_imports,
        invoke=invoke,
    )
    code = process.run()
    output.results(process.results)
    sys.exit(code)
