"""What the user grants a guest: arguments, environment, directories, addresses, the standard streams.

Rights come from here and from nowhere else: a snapshot names guest paths only, and a resumed
process gets at the directories that the resuming user mapped (see ``world.Host.restore``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

UnknownImports: TypeAlias = Literal["refuse", "trap", "zero"]
"""What becomes of an imported function that nobody has: see ``unknown.py``."""


@dataclass(frozen=True)
class Mapping:
    """One host directory the guest sees: ``--dir HOST[::GUEST][:ro]``.

    ``guest`` is the name the guest finds it under (``/``, ``/data``, ``.``): preopens are looked up
    by it when a snapshot is resumed, so it is unique in a ``HostConfig``.
    """

    host: str
    guest: str
    readonly: bool = False


@dataclass(frozen=True)
class HostConfig:
    """Everything a guest is given at its start.

    ``args``: with the program's name first. ``env``: name to value. Both are encoded as the file
    system's names are (surrogate escapes carry bytes that are not UTF-8).
    ``stdin``, ``stdout``, ``stderr``: descriptors of this process; they are used as they are and
    never closed; None: the guest starts without it.
    ``listen``: addresses, ``HOST:PORT`` each, that the guest finds sockets listening on.
    """

    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    dirs: tuple[Mapping, ...] = ()
    stdin: int | None = 0
    stdout: int | None = 1
    stderr: int | None = 2
    listen: tuple[str, ...] = ()
    unknown_imports: UnknownImports = "refuse"
