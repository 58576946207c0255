"""What is to be run, from where, and with which rights: decided before anything runs.

Three ways to begin, told apart by what the user gave and what the journal holds:

- no journal, an empty one, one without snapshots, or ``fresh``: the module starts anew;
- a journal with snapshots of this module: the newest is resumed (``run`` is then the one command
  line that a supervisor needs);
- no module: the one in the journal, resumed.

Rights come from whoever resumes. The directories and addresses recorded in a journal are used again only if
the journal belongs to that user and nobody else may write to it; others must be given again. A journal
that is replaced stays as it was until its successor is complete.
"""

from __future__ import annotations

import logging
import os
import queue
import stat
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from pathlib import Path
from typing import TypeAlias, cast, get_args

import msgspec

from wasnap.engine import Program
from wasnap.errors import CannotResume, JournalError, MissingFile, UsageError, WrongModule
from wasnap.host import Address, HostConfig, Kind, Mapping
from wasnap.instrument import TRANSFORM_VERSION
from wasnap.journal import (
    Directory,
    Durability,
    Journal,
    Snapshot,
    StartRecord,
    looks_like_journal,
)
from wasnap.snapshot import check_transform
from wasnap.version import VERSION

log = logging.getLogger(__name__)

_SLOW_SECONDS = 2.0
"""Compiling longer than this is worth a word."""

INVOKE = "invoke"
"""In ``StartRecord.options``: the export that the process runs in the place of ``_start``."""

Source: TypeAlias = str | os.PathLike[str] | bytes
"""A module: its path, or its bytes."""

Directories: TypeAlias = MappingOf[str, str | os.PathLike[str] | Mapping]
"""Guest path -> host path, or a ``Mapping`` (read-only, ``Mapping.tmp()``, ``Mapping.overlay()``);
its own guest path is not looked at."""


class Launch(msgspec.Struct):
    """``journal``: open, with ``snapshot`` to be resumed; else one is made at ``create``, if that
    is not None. ``module()``: a warm resume never needs it, and reading 25 MB would be a large part
    of what that takes.
    """

    module: Callable[[], bytes]
    name: str
    config: HostConfig
    start: StartRecord
    journal: Journal | None = None
    snapshot: Snapshot | None = None
    create: Path | None = None
    durability: Durability = "system"

    def load(self) -> Program:
        """The code to be run. Raises InvalidModule or UnsupportedModule."""
        return self._load(self.module, self.start.module_sha256, self.name)

    def load_other(self, module: Callable[[], bytes], sha256: bytes) -> Program:
        """The code of a program that the process, or another one of it, had executed."""
        return self._load(module, sha256, "a program that was executed")

    def _load(self, module: Callable[[], bytes], sha256: bytes, name: str) -> Program:
        """If it is not in the cache, it is compiled on a thread of its own: a signal is heard
        meanwhile, a long wait explained.
        """
        counted = self.start.counted
        found = Program.cached(module, sha256, counted=counted)
        if found is not None:
            return found
        loaded: queue.SimpleQueue[Program | BaseException] = queue.SimpleQueue()

        def load() -> None:
            try:
                loaded.put(Program.load(module(), counted=counted, sha256=sha256))
            except BaseException as error:  # for whoever waits
                loaded.put(error)

        threading.Thread(target=load, name="compiler", daemon=True).start()
        try:
            program = loaded.get(timeout=_SLOW_SECONDS)
        except queue.Empty:
            log.info("compiling %s (first time; cached afterwards)", name)
            program = loaded.get()
        if isinstance(program, BaseException):
            raise program
        return program

    def open_journal(self, listening: tuple[str, ...] = ()) -> Journal | None:
        """The journal to write to. Makes the new one: call it when the process is sure to begin.

        ``listening``: the addresses the guest has, or may have, to be used again when it is resumed.
        """
        if self.create is not None and self.journal is None:
            self.start.listen = list(listening)
            self.journal = Journal.create(
                self.create, self.module(), self.start, overwrite=True, durability=self.durability
            )
        return self.journal

    def close(self) -> None:
        """Close the journal, if one is open."""
        if self.journal is not None:
            self.journal.close()


def begin(
    module: Source | None,
    config: HostConfig,
    *,
    journal: Path | None,
    at: int | str | None = None,
    fresh: bool = False,
    counted: bool = False,
    name: str = "",
    durability: Durability = "system",
    rebind: MappingOf[str, str] | None = None,
    locked: int | None = None,
    invoke: str | None = None,
) -> Launch:
    """Decide. ``rebind``: recorded addresses, each with the one to listen on instead. ``locked``: a
    descriptor of the journal, and its lock, that somebody else has handed over. ``invoke``: the export
    that a module started anew runs; None: ``_start``.

    Raises MissingFile, UsageError, JournalError, WrongModule, CannotResume.
    """
    if module is None:
        if journal is None:
            raise UsageError("there is neither a module nor a journal")
        return _from_journal(journal, at, config, durability, rebind or {}, locked)
    import hashlib  # 3 ms, for its library of ciphers; what is in a journal has its sum there

    data, name = _read(module, name)
    config = _with_name(config, name)
    start = StartRecord(
        wasnap=VERSION,
        transform=TRANSFORM_VERSION,
        module_sha256=hashlib.sha256(data).digest(),
        module_name=name,
        created_ns=time.time_ns(),
        args=[_text(argument) for argument in config.args],
        env={_text(key): _text(value) for key, value in config.env.items()},
        dirs=[
            Directory(
                guest=m.guest,
                host=os.path.abspath(m.host) if m.host else "",
                readonly=m.readonly,
                mapping=m.kind,
                size=m.size,
            )
            for m in config.dirs
        ],
        counted=counted,
        options={
            "unknown_imports": config.unknown_imports,
            "net": config.net,
            "net_allow": list(config.net_allow),
        }
        | ({} if invoke is None else {INVOKE: invoke}),
    )
    launch = Launch(lambda: data, name, config, start, create=journal, durability=durability)
    if journal is None or not journal.exists() or journal.stat().st_size == 0:
        return launch
    if fresh:
        _must_be_journal(journal)
        return launch
    opened = Journal.open_for_writing(journal, durability=durability)
    try:
        if opened.start.module_sha256 != start.module_sha256:
            raise WrongModule(
                f"{journal} belongs to another module, {opened.start.module_name}",
                "give another --journal, or --fresh to replace this one",
            )
        if opened.empty:
            opened.close()
            return launch
        config = _at_recorded_ports(opened, config)
        return _resumed(opened, at, config, launch.module)
    except BaseException:
        opened.close()
        raise


def mappings(dirs: Directories | None) -> tuple[Mapping, ...]:
    """As ``HostConfig`` wants them."""
    return tuple(
        msgspec.structs.replace(host, guest=guest)
        if isinstance(host, Mapping)
        else Mapping(os.fspath(host), guest)
        for guest, host in (dirs or {}).items()
    )


def compile_ahead(path: Path) -> None:
    """Have the code of the process in this journal in the cache; another one may be writing to it.
    Raises MissingFile, JournalError, InvalidModule, UnsupportedModule."""
    with Journal.open(path) as journal:
        start = journal.start
        Launch(journal.module, start.module_name, HostConfig(), start).load()


def _from_journal(
    path: Path,
    at: int | str | None,
    config: HostConfig,
    durability: Durability,
    rebind: MappingOf[str, str],
    locked: int | None,
) -> Launch:
    mine = None if locked is None else os.dup(locked)
    opened = Journal.open_for_writing(path, durability=durability, locked=mine)
    try:
        config = _with_recorded(opened, config, rebind)
        return _resumed(opened, at, config)
    except BaseException:
        opened.close()
        raise


def _resumed(
    journal: Journal,
    at: int | str | None,
    config: HostConfig,
    module: Callable[[], bytes] | None = None,
) -> Launch:
    """Go on from snapshot ``at``, or from the newest that is intact. ``module``: if not the journal's."""
    start = journal.start
    check_transform(start.transform, str(journal.path))
    snapshot = journal.newest() if at is None else journal.load(journal.find(at))
    config = msgspec.structs.replace(
        config,
        unknown_imports=start.options.get("unknown_imports", "refuse"),
        dirs=tuple(
            msgspec.structs.replace(m, may_be_missing=m.kind == "overlay") for m in config.dirs
        ),
    )
    module = module or journal.module_for(snapshot.info.id)
    return Launch(module, start.module_name, config, start, journal, snapshot)


def _with_recorded(journal: Journal, config: HostConfig, rebind: MappingOf[str, str]) -> HostConfig:
    """The configuration with the recorded directories and addresses that were not given again."""
    given = {mapping.guest for mapping in config.dirs}
    recorded = [d for d in journal.start.dirs if d.guest not in given]
    granted = [d for d in recorded if d.mapping != "tmp"]  # what is in memory is nobody's
    addresses = journal.start.listen[len(config.listen) :]
    if config.sockets is not None and not _is_ours(journal):
        addresses = []  # what is taken over has its sockets, and no right to further ones
    rules = _recorded_rules(journal, config)
    if (granted or addresses or rules) and not _is_ours(journal):
        wanted = [f"--{d.mapping} HOST::{d.guest}" for d in granted]
        wanted += [f"--listen {each}" for each in journal.start.listen] if addresses else []
        wanted += ["--net" if rule == "" else f"--net-allow {rule}" for rule in rules]
        raise CannotResume(
            f"the rights recorded in {journal.path} (directories, addresses, rules) are not used: "
            "others own it or may write to it",
            f"give them again ({' '.join(wanted)}), or chmod go-w your own copy of the journal",
        )
    config = _at_recorded_ports(journal, config)
    dirs = {d.guest: _recorded(d) for d in journal.start.dirs}
    dirs.update({mapping.guest: mapping for mapping in config.dirs})
    return msgspec.structs.replace(
        config,
        dirs=tuple(dirs.values()),
        listen=(*config.listen, *addresses),
        rebind=dict(rebind),
        net=config.net or "" in rules,
        net_allow=(*config.net_allow, *filter(None, rules)),
    )


def _recorded_rules(journal: Journal, config: HostConfig) -> list[str]:
    """Of the network, "" for all of it; none if any were given again."""
    options = journal.start.options
    if config.net or config.net_allow:
        return []
    return [""] * bool(options.get("net")) + [str(rule) for rule in options.get("net_allow", [])]


def _at_recorded_ports(journal: Journal, config: HostConfig) -> HostConfig:
    """Port 0 was any port the first time; now it is the one that it had then."""
    listen = [Address.parse(text) for text in config.listen]
    for i, recorded in enumerate(journal.start.listen[: len(listen)]):
        if listen[i].port == 0:
            listen[i] = msgspec.structs.replace(listen[i], port=Address.parse(recorded).port)
    return msgspec.structs.replace(config, listen=tuple(map(str, listen)))


def _recorded(directory: Directory) -> Mapping:
    if directory.mapping not in get_args(Kind):
        raise JournalError(
            f"{directory.guest} is mapped in a way that this wasnap does not know:"
            f" {directory.mapping}",
            "resume it with the wasnap that made it",
        )
    kind = cast(Kind, directory.mapping)
    return Mapping(directory.host, directory.guest, directory.readonly, kind, directory.size)


def _is_ours(journal: Journal) -> bool:
    status = os.fstat(journal.fileno())
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _must_be_journal(path: Path) -> None:
    """Nothing but a journal is ever replaced."""
    if not looks_like_journal(path):
        raise JournalError(f"{path} is not a journal: it is not replaced", "give another --journal")


def _read(module: Source, name: str) -> tuple[bytes, str]:
    """The module's bytes, and what to call it."""
    if isinstance(module, bytes):
        return module, name or "module.wasm"
    try:
        return Path(module).read_bytes(), name or os.path.basename(module)
    except OSError as error:
        raise MissingFile(
            f"the module {os.fspath(module)} cannot be read: {error.strerror}",
            "check the name of the .wasm file",
        ) from None


def _with_name(config: HostConfig, name: str) -> HostConfig:
    """The configuration with the program's name as the first argument."""
    return msgspec.structs.replace(config, args=(name, *config.args))


def _text(value: str) -> str:
    """Text for people; the bytes themselves are part of the host's state."""
    return os.fsencode(value).decode("utf-8", "replace")
