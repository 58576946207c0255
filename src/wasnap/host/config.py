"""What the user grants a guest: arguments, environment, directories, addresses, the standard streams.

Rights come from here and from nowhere else: a snapshot names guest paths only, and a resumed
process gets at the directories that the resuming user mapped (see ``world.Host.restore``).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

UnknownImports: TypeAlias = Literal["refuse", "trap", "zero"]
"""What becomes of an imported function that nobody has: see ``unknown.py``."""

Files: TypeAlias = Literal["rewind", "keep", "fail"]
"""What a resume does about files that are not as they were at the snapshot. Without any of these
the guest's own changes are undone, and what others changed is a reason to refuse. ``rewind``: that
is left alone and told of; ``keep``: all files stay as they are now; ``fail``: any change, also the
guest's own, is a reason to refuse."""

Kind: TypeAlias = Literal["dir", "tmp", "overlay"]
"""What is behind a mapping: see ``mapped.py``."""

Connections: TypeAlias = Literal["reset", "reconnect", "repair"]
"""What becomes of a guest's connections when it is resumed: it sees them reset, or those that it
made itself are made again, to the same peer, or all are restored (``net/repair.py``)."""

TREE_SIZE: Final = 1 << 30
"""Bytes that a tmp or an overlay may hold in memory, unless its mapping says otherwise."""


class Mapping(msgspec.Struct, frozen=True):
    """One directory the guest sees.

    ``guest`` is the name the guest finds it under (``/``, ``/data``, ``.``): preopens are looked up
    by it when a snapshot is resumed, so it is unique in a ``HostConfig``. ``kind``:

    - dir: the host directory ``host``, as it is: ``--dir HOST[::GUEST][:ro]``
    - tmp: an empty directory in memory (``host`` is ""): ``--tmp GUEST``
    - overlay: ``host`` is read, and what the guest writes is in memory: ``--overlay HOST::GUEST``

    ``size``: bytes that a tmp or an overlay may hold in memory; None: ``TREE_SIZE``, or what it was
    at the snapshot. ``may_be_missing``: an overlay's ``host`` need not be there (when a process is
    resumed, which has seen some of it).
    """

    host: str = ""
    guest: str = ""
    readonly: bool = False
    kind: Kind = "dir"
    size: int | None = None
    may_be_missing: bool = False

    @classmethod
    def tmp(cls, guest: str = "", size: int | None = None) -> Mapping:
        """An empty directory in memory, whose whole content is part of every snapshot."""
        return cls("", guest, kind="tmp", size=size)

    @classmethod
    def overlay(
        cls, host: str, guest: str = "", size: int | None = None, *, readonly: bool = False
    ) -> Mapping:
        """A host directory that is read, with a layer in memory for all that is written."""
        return cls(host, guest, readonly, "overlay", size)


class HostConfig(msgspec.Struct, frozen=True):
    """Everything a guest is given at its start.

    ``args``: with the program's name first. ``env``: name to value. Both are encoded as the file
    system's names are (surrogate escapes carry bytes that are not UTF-8).
    ``stdin``, ``stdout``, ``stderr``: descriptors of this process; they are used as they are and
    never closed; None: the guest starts without it.
    ``listen``: addresses, ``HOST:PORT`` each, that the guest finds sockets listening on.
    ``sockets``: of a process that is taken over, guest descriptor -> descriptor of this process,
    which is not closed; then nothing is listened on anew, and ``listen`` is empty.
    ``own_sockets``: the guest opens sockets itself (WASIX): it is not given any, and ``listen`` is where
    it may listen, ``net_allow`` what it may reach (rules, see ``net/rules.py``), ``net``: everything.
    ``connections``: what becomes of them on a resume. ``rebind``: address that a socket was bound to
    -> the one to bind it to instead.
    """

    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    dirs: tuple[Mapping, ...] = ()
    stdin: int | None = 0
    stdout: int | None = 1
    stderr: int | None = 2
    listen: tuple[str, ...] = ()
    sockets: dict[int, int] | None = None
    own_sockets: bool = False
    net: bool = False
    net_allow: tuple[str, ...] = ()
    connections: Connections = "reset"
    rebind: dict[str, str] = {}
    unknown_imports: UnknownImports = "refuse"
