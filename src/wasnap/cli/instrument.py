"""``wasnap instrument``: write the module that is really run."""

from __future__ import annotations

from pathlib import Path

import click

from wasnap.errors import MissingFile


@click.command()
@click.option("-o", "--output", required=True, metavar="OUT", help="The file to write.")
@click.option("--counted", is_flag=True, help="Count safepoints, as the harness does.")
@click.argument("module")
def instrument(output: str, counted: bool, module: str) -> None:
    """Write the instrumented form of MODULE, for the curious: `run` does this by itself.

    \b
      wasnap instrument job.wasm -o job.instrumented.wasm
    """
    from wasnap.engine import validate
    from wasnap.instrument import instrument as transform
    from wasnap.wasm.decode import decode

    data = _read(module)
    validate(data)
    instrumented = transform(decode(data), counted=counted).wasm
    try:
        Path(output).write_bytes(instrumented)
    except OSError as error:
        raise MissingFile(f"{output} cannot be written: {error.strerror}") from None


def _read(module: str) -> bytes:
    try:
        return Path(module).read_bytes()
    except OSError as error:
        raise MissingFile(f"the module {module} cannot be read: {error.strerror}") from None
