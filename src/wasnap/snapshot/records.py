"""A snapshot, taken and restored: the one place that knows the order, and what is which record.

Taking (``capture``), while the guest is stopped (its threads are unwound already)::

    engine state   first: a value that cannot be saved is found before anything is written
    host state     puts what lies in directories in memory into the host's arena

and later, when it may run again (``records``)::

    STACK          of each guest thread, with its frames described for people
    TABLES         of each
    HOST

The pages of its memories (``World.sources``) are most of a snapshot, and go their own way into the
journal, partly before the guest is stopped and partly after it goes on: saver.py.

Restoring, into a new guest and a host with the rights of whoever resumes::

    engine records   decoded first, so that a damaged one is found before the world is touched
    engine           memories, tables, call stack
    sources          what is written to from now on is owed to the next snapshot
    host             may refuse (files, directories); until then nothing in the world has changed

What a record is called in the journal and what its owner calls it differ only here: the engine
knows nothing of records, the journal nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from wasnap import engine, journal
from wasnap.engine import (
    BufferExtent,
    EngineState,
    FileExtent,
    Guest,
    PackedExtent,
    Program,
    Scattered,
    ThreadState,
)
from wasnap.errors import CannotResume, JournalError
from wasnap.host import Files, Host, HostState, directory_of
from wasnap.instrument import TRANSFORM_VERSION
from wasnap.journal import (
    HOST_MEMORY,
    PAGE_SIZE,
    HostRecord,
    Journal,
    Record,
    Snapshot,
    StackRecord,
    TablesRecord,
)
from wasnap.snapshot.sources import ArenaSource, MemorySource, PageSource


class _Names(NamedTuple):
    """Of functions and globals by index; and where each function's code begins in the module."""

    functions: dict[int, str]
    globals: dict[int, str]
    code_offsets: list[int]


class World(msgspec.Struct):
    """All that a running process is made of, as far as a snapshot is concerned."""

    program: Program
    guest: Guest
    host: Host
    module: Callable[[], bytes]
    memories: list[MemorySource] = []
    sources: list[PageSource] = []
    _names: _Names | None = None

    def __post_init__(self) -> None:
        declared = zip(self.guest.memories, self.program.info.memories, strict=True)
        self.memories = [
            MemorySource(index, memory, is64=what.is64, shared=what.shared)
            for index, (memory, what) in enumerate(declared)
        ]
        self.sources = [*self.memories]
        if self.host.uses_arena:
            self.sources.append(ArenaSource(self.host))

    def describe(self, frames: list[engine.Frame]) -> tuple[list[journal.Frame], dict[int, str]]:
        """The frames for people: function, byte in the module file; and the functions' names."""
        names = self._find_names()
        imported = len(self.program.info.imports)
        described = []
        for frame in frames:
            site = self.program.site(frame.site)
            offset = names.code_offsets[site.function - imported] + site.position
            described.append(journal.Frame(frame.site, site.function, offset))
        functions = {frame.function for frame in described}
        return described, {
            f: names.functions[f] for f in sorted(functions & names.functions.keys())
        }

    def describe_globals(self, state: ThreadState) -> list[journal.Global]:
        """The mutable globals for people."""
        names = self._find_names().globals
        return [
            journal.Global(index, names.get(index, ""), type, value)
            for index, type, value in engine.globals_of(self.program.info, state)
        ]

    def _find_names(self) -> _Names:
        if self._names is None:
            from wasnap.wasm.decode import decode  # not needed before the first snapshot

            module = decode(self.module())
            offsets = [body.offset for body in module.code]
            self._names = _Names(module.function_names(), module.global_names(), offsets)
        return self._names

    def close(self) -> None:
        """Forget the pages; guest and host have owners of their own."""
        for source in self.sources:
            source.close()


class Captured(msgspec.Struct, frozen=True):
    """A stopped process, but for its pages."""

    engine: EngineState
    host: dict[str, Any]


def capture(world: World) -> Captured:
    """What there is besides pages. Raises Unsaveable."""
    return Captured(world.guest.capture(), world.host.capture().to_plain())


def records(world: World, captured: Captured) -> Iterator[Record]:
    """The records of it, in the journal's words."""
    threads = captured.engine.threads
    for thread in threads:
        yield _stack_record(world, thread)
    for thread in threads:
        yield TablesRecord(tables=thread.tables, thread=thread.thread)
    yield HostRecord(state=captured.host)


def restore(
    world: World,
    saved: Journal,
    snapshot: Snapshot,
    files: Files | None = None,
    *,
    sync: bool = True,
    claim: Callable[[], None] | None = None,
) -> None:
    """Make the world's new guest and host what was saved; the guest is then stopped.

    ``files``: what is done about files that are not as they were, see ``wasnap.host.Files``.
    ``sync``: later snapshots wait until what was noted of files is on the device. ``claim``: called
    when all has been checked and restored but what touches the world; what it raises ends it there.

    Raises CannotResume, or JournalError for a record that cannot be used.
    """
    stacks = snapshot.records(StackRecord)
    for stack in stacks:
        check_transform(stack.transform, str(saved.path))
    images = [_image(saved, snapshot.memory(i)) for i in range(len(world.guest.memories))]
    state = _engine_state(world.program, stacks, snapshot.records(TablesRecord), images)
    host = HostState.from_plain(snapshot.record(HostRecord).state)
    arena = None
    if HOST_MEMORY in snapshot.memories:
        from wasnap.layers import load_arena  # most programs have no directory in memory

        arena = load_arena(snapshot)
    history = directory_of(saved.path)
    world.guest.restore(state, images)
    for source, image in zip(world.memories, images, strict=True):
        source.restored(image)
    world.host.restore(host, arena, history=history, files=files, sync=sync, claim=claim)


def check_transform(version: int, where: str) -> None:
    """JournalError unless snapshots of this transform version can be restored here."""
    if version != TRANSFORM_VERSION:
        raise JournalError(
            f"{where} is of version {version} of the transform, and this is {TRANSFORM_VERSION}",
            "resume it with the wasnap that made it",
        )


# -- engine <-> STACK, TABLES, MEMORY ---------------------------------------------------------


def _stack_record(world: World, state: ThreadState) -> StackRecord:
    base = world.program.info.frames_base
    frames, names = world.describe(engine.frames_of(state, base))
    return StackRecord(
        transform=TRANSFORM_VERSION,
        data=state.stack,
        frames_base=base,
        fp=state.fp,
        frames=frames,
        names=names,
        globals=world.describe_globals(state),
        pending=_pending_saved(state.pending),
        entries=_entries_saved(state.entries),
        entry=state.entry,
        thread=state.thread,
        begun=state.begun,
        interrupted=[
            journal.Interrupted(
                frames=was.frames,
                refs=was.refs,
                pending=_pending_saved(was.pending),
                entries=_entries_saved(was.entries),
                entry=was.entry,
                stack_pointer=was.stack_pointer,
            )
            for was in state.interrupted
        ],
    )


def _pending_saved(pending: engine.PendingCall | None) -> journal.PendingCall | None:
    if pending is None:
        return None
    return journal.PendingCall(
        module=pending.module,
        name=pending.name,
        args=list(pending.args),
        progress=pending.progress,
    )


def _pending(saved: journal.PendingCall | None) -> engine.PendingCall | None:
    if saved is None:
        return None
    return engine.PendingCall(saved.module, saved.name, tuple(saved.args), saved.progress or {})


def _entries_saved(entries: tuple[engine.Entry, ...]) -> list[journal.Entry]:
    return [journal.Entry(export=e.export, args=list(e.args)) for e in entries]


def _entries(saved: list[journal.Entry]) -> tuple[engine.Entry, ...]:
    return tuple(engine.Entry(e.export, tuple(e.args)) for e in saved)


def _engine_state(
    program: Program,
    stacks: list[StackRecord],
    tables: list[TablesRecord],
    images: list[engine.MemoryImage],
) -> EngineState:
    tables_of = {record.thread: record.tables for record in tables}
    if not stacks or tables_of.keys() != {stack.thread for stack in stacks}:
        raise CannotResume("the snapshot does not hold the stack and the tables of each thread")
    return EngineState(
        memories=tuple(image.size for image in images),
        threads=tuple(
            _thread_state(program, stack, tables_of[stack.thread])
            for stack in sorted(stacks, key=lambda stack: stack.thread)
        ),
    )


def _thread_state(
    program: Program, stack: StackRecord, tables: dict[str, list[int]]
) -> ThreadState:
    interrupted = stack.interrupted
    running = [(stack.entry, stack.entries), *((was.entry, was.entries) for was in interrupted)]
    whole = all(entry < len(entries) for entry, entries in running)
    if stack.frames_base != program.info.frames_base or not whole:
        raise CannotResume("the snapshot's call stack is not one of this program's")
    return ThreadState(
        stack=stack.data,
        fp=stack.fp,
        tables=tables,
        pending=_pending(stack.pending),
        entries=_entries(stack.entries),
        entry=stack.entry,
        thread=stack.thread,
        begun=stack.begun,
        interrupted=tuple(
            engine.Interrupted(
                was.frames,
                was.refs,
                _pending(was.pending),
                _entries(was.entries),
                was.entry,
                was.stack_pointer,
            )
            for was in interrupted
        ),
    )


def _image(source: Journal, saved: journal.MemoryImage) -> engine.MemoryImage:
    fd = source.fileno()
    layers = saved.layers()
    extents: list[FileExtent | PackedExtent] = [
        PackedExtent(first * PAGE_SIZE, count * PAGE_SIZE)
        if offset is None
        else FileExtent(first * PAGE_SIZE, count * PAGE_SIZE, fd, offset)
        for first, count, offset, _ in layers.extents
    ]

    def unpack() -> Iterator[BufferExtent]:
        return (BufferExtent(first * PAGE_SIZE, data) for first, data in saved.unpack())

    scattered = Scattered(fd, layers.pages)
    return engine.MemoryImage(saved.pages_total * PAGE_SIZE, extents, unpack, scattered)
