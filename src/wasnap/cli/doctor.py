"""``wasnap doctor``: what this machine has of what wasnap can use. The looking is ``engine/doctor.py``'s."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Show versions, the kernel's features, the cache, and what follows from what is missing."""
    from wasnap.engine.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
        return
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        click.echo(f"{finding.what:{width}}  {finding.found}")
        if finding.so:
            click.echo(f"{'':{width}}  -> {finding.so}")
