"""``python -m wasnap.harness``: is this program the same after it was saved and resumed?"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from wasnap.errors import WasnapError
from wasnap.harness import MODES, Difference, Job, Reference, differential
from wasnap.host import UnknownImports


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--seed", type=int, default=0, help="The first seed (0).")
@click.option("--seeds", type=int, default=1, help="How many, from there on (1).")
@click.option("--snapshots", type=int, default=3, help="In each run (3).")
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="All by default.")
@click.option("--dir", "dirs", multiple=True, metavar="HOST[::GUEST]", help="Copied for each run.")
@click.option("--env", multiple=True, metavar="NAME=VALUE")
@click.option("--unknown-imports", type=click.Choice(["refuse", "trap", "zero"]), default="refuse")
@click.option("--invoke", metavar="EXPORT", help="Run this function, not _start.")
@click.option("--stdin", type=click.Path(path_type=Path, exists=True), help="A file (empty).")
@click.option("--system-clock", is_flag=True, help="The results do not depend on the time.")
@click.argument("module", type=click.Path(path_type=Path, exists=True))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def main(
    seed: int,
    seeds: int,
    snapshots: int,
    modes: tuple[str, ...],
    dirs: tuple[str, ...],
    env: tuple[str, ...],
    unknown_imports: UnknownImports,
    invoke: str | None,
    stdin: Path | None,
    system_clock: bool,
    module: Path,
    args: tuple[str, ...],
) -> None:
    """Run MODULE undisturbed, then disturbed at random moments and resumed; compare.

    \b
      python -m wasnap.harness --seed 7 --snapshots 5 sort.wasm 1000
      python -m wasnap.harness --seeds 20 --dir data::/data job.wasm /data/input

    Compared are the output, the exit code, and every file in the directories. The exit code is 0 if
    nothing differs, else 1.
    """
    mappings = [_mapping(value) for value in dirs]
    variables = dict(value.partition("=")[::2] for value in env)

    def make(world: Path) -> Job:
        copies = {}
        for i, (guest, host) in enumerate(mappings):
            copies[guest] = (
                world / f"{i}{guest.replace('/', '_')}"
            )  # what a difference is called by
            shutil.copytree(host, copies[guest], symlinks=True)
        return Job(
            module,
            args,
            copies,
            tuple(copies.values()),
            variables,
            stdin,
            unknown_imports=unknown_imports,
            invoke=invoke,
        )

    references: dict[bool, Reference] = {}
    with tempfile.TemporaryDirectory(prefix="wasnap-harness-") as directory:
        for number in range(seed, seed + seeds):
            try:
                report = differential(
                    make,
                    Path(directory) / str(number),
                    seed=number,
                    snapshots=snapshots,
                    modes=modes or MODES,
                    references=references,
                    system_clock=system_clock,
                )
            except (Difference, WasnapError) as error:
                click.echo(f"seed {number}: {error}", err=True)
                sys.exit(1)
            click.echo(
                f"seed {number}: {report.snapshots} snapshots, {report.resumed} resumed,"
                f" {report.kills} kills: the same"
            )


def _mapping(value: str) -> tuple[str, Path]:
    host, separator, guest = value.partition("::")
    return (guest if separator else host), Path(host)


if __name__ == "__main__":
    main()
