"""What a run is given, what came of it, and how two of them differ."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from wasnap import host
from wasnap.host import FakeClock, HostState, SeededRandom, UnknownImports
from wasnap.journal import HostRecord, Journal
from wasnap.process import Process


@dataclass(frozen=True)
class Job:
    """One program made ready to run in a world of its own.

    ``dirs``: guest path -> host directory. ``mappings``: those of other kinds (``--tmp``,
    ``--overlay``), by guest path, too. ``outputs``: files, or directories with all that is in them,
    that must come out the same.
    ``stdin``: a file, or None for an empty one. ``unknown_imports``, ``invoke``: as for ``Process``.
    """

    module: Path
    args: tuple[str, ...] = ()
    dirs: Mapping[str, Path] = field(default_factory=dict)
    outputs: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: Path | None = None
    unknown_imports: UnknownImports = "refuse"
    mappings: Mapping[str, host.Mapping] = field(default_factory=dict)
    invoke: str | None = None

    def moved(self, source: Path, target: Path) -> Job:
        """The same job in ``target``, a copy of ``source``; what lies outside stays shared."""

        def move(path: Path) -> Path:
            return target / path.relative_to(source) if path.is_relative_to(source) else path

        return replace(
            self,
            dirs={guest: move(path) for guest, path in self.dirs.items()},
            mappings={
                guest: msgspec.structs.replace(mapping, host=str(move(Path(mapping.host))))
                if mapping.kind == "overlay"
                else mapping
                for guest, mapping in self.mappings.items()
            },
            outputs=tuple(move(path) for path in self.outputs),
            stdin=None if self.stdin is None else move(self.stdin),
        )

    @property
    def granted(self) -> dict[str, Path | host.Mapping]:
        """All that is mapped, as ``Process`` wants it."""
        return {**self.dirs, **self.mappings}

    def options(self) -> list[str]:
        """The same for the command line."""
        found = []
        for guest, directory in self.dirs.items():
            found += ["--dir", f"{directory}::{guest}"]
        for guest, mapping in self.mappings.items():
            below = f"{mapping.host}::" if mapping.kind == "overlay" else ""
            found += [f"--{mapping.kind}", f"{below}{guest}"]
        return found


Make: TypeAlias = Callable[[Path], Job]
"""Sets a job up in a new, empty directory: its inputs there are fresh, and its own."""


class Outcome(NamedTuple):
    """``code``: exit code. ``files``: name -> SHA-256, "" where there is none."""

    code: int
    stdout: bytes
    files: dict[str, str]


@dataclass(frozen=True)
class Reference:
    """An undisturbed run. ``safepoints``: how many it passed; ``seconds``: how long it took."""

    outcome: Outcome
    safepoints: int
    seconds: float


@dataclass
class Report:
    """What was done: ``snapshots`` taken, ``resumed`` in processes of their own, ``kills``; and how
    many of these left a snapshot that was not committed (``torn``).
    """

    seed: int
    snapshots: int = 0
    resumed: int = 0
    kills: int = 0
    torn: int = 0


class Difference(AssertionError):
    """A disturbed run did not come out like the undisturbed one."""


def opened(files: ExitStack, path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file, closed with ``files``."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    files.callback(os.close, fd)
    return fd


def outcome(code: int, stdout: bytes, job: Job) -> Outcome:
    """What came of a run, with the files as they are now."""
    return Outcome(code, stdout, {path.name: _digest(path) for path in job.outputs})


def process_of(
    job: Job, directory: Path, files: ExitStack, *, fresh: bool = True, **options: Any
) -> Process:
    """The process of a job, with a fake clock unless told otherwise. ``fresh``: it has a program of
    its own, and does not come from a journal. Its output goes to files in ``directory``, which are
    open until ``files`` is closed. ``options``: as for Process."""
    options.setdefault("clock", FakeClock())
    return Process(
        job.module if fresh else None,
        job.args if fresh else (),
        job.env if fresh else None,
        job.granted,
        stdin=opened(files, job.stdin or Path(os.devnull)),
        stdout=opened(files, directory / "stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        stderr=opened(files, directory / "stderr", os.O_WRONLY | os.O_CREAT),
        random=SeededRandom(b"harness"),
        unknown_imports=job.unknown_imports,
        invoke=job.invoke if fresh else None,
        **options,
    )


def printed(process: Process, stdout: Path) -> bytes:
    """What a command prints: the guest's output, and what an invoked function returned."""
    return stdout.read_bytes() + "".join(f"{result}\n" for result in process.results).encode()


def written(journal: Path, snapshot: int) -> int:
    """How many bytes had been written to stdout at a snapshot."""
    with Journal.open(journal) as there:
        record = there.load(snapshot, verify=False).record(HostRecord)
    return HostState.from_plain(record.state).written.get("stdout", 0)


def compare(what: str, found: Outcome, wanted: Outcome, stderr: bytes = b"") -> None:
    """Raises Difference, which says ``what`` differs, and where first. ``stderr``: for people."""
    if found.code != wanted.code:
        why = stderr.decode(errors="replace").strip()
        raise Difference(f"{what}: exit code {found.code}, not {wanted.code}; {why}")
    if found.stdout != wanted.stdout:
        at = _first_difference(found.stdout, wanted.stdout)
        raise Difference(
            f"{what}: output differs from byte {at} on:"
            f" {found.stdout[at : at + 60]!r}, not {wanted.stdout[at : at + 60]!r}"
        )
    for name, digest in wanted.files.items():
        if found.files.get(name) != digest:
            raise Difference(f"{what}: the file {name} differs")


def _first_difference(one: bytes, other: bytes) -> int:
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))


def _digest(path: Path) -> str:
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
    lines = [f"{entry.relative_to(path)} {_digest(entry)}" for entry in sorted(path.iterdir())]
    return hashlib.sha256(repr(lines).encode()).hexdigest()
