"""A snapshot, taken and restored: the one place that knows the order, and what is which record.

Taking (``capture``), while all processes are stopped (their threads are unwound already)::

    world          which processes there are, and whose pages
    engine state   of each: a value that cannot be saved is found before anything is written
    host state     puts what lies in directories in memory into the host's arena

and later, when it may run again (``records``)::

    PROCESS        of each process, where there are several, or other programs
    STACK          of each of its threads, with its frames described for people
    TABLES         of each
    HOST           of all

The pages of its memories (``World.sources``) are most of a snapshot, and go their own way into the
journal, partly before the guest is stopped and partly after it goes on: saver.py.

Restoring, into a new guest and a host with the rights of whoever resumes::

    engine records   decoded first, so that a damaged one is found before the world is touched
    host             has a Host for each of the other processes, whose functions they import
    engine           guests; their memories, tables, call stacks
    sources          what is written to from now on is owed to the next snapshot
    host             may refuse (files, directories); until then nothing in the world has changed

What a record is called in the journal and what its owner calls it differ only here: the engine
knows nothing of records, the journal nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wasnap import engine, journal
from wasnap.engine import (
    FIRST,
    BufferExtent,
    EngineState,
    Executable,
    FileExtent,
    PackedExtent,
    Program,
    Scattered,
    ThreadState,
)
from wasnap.errors import CannotResume, JournalError
from wasnap.host import Files, HostState, directory_of
from wasnap.instrument import TRANSFORM_VERSION
from wasnap.journal import (
    HOST_MEMORY,
    PAGE_SIZE,
    HostRecord,
    Journal,
    ProcessRecord,
    Record,
    Snapshot,
    StackRecord,
    TablesRecord,
)
from wasnap.snapshot.sources import ProgramSource
from wasnap.snapshot.world import World


class Member(NamedTuple):
    """A process, but for what the host has of it. ``program``: None: it is the first one."""

    process: int
    executable: Executable
    program: ProgramSource | None
    memories: list[int]
    engine: EngineState


class Captured(NamedTuple):
    """Stopped processes, but for their pages. ``alone``: there is one, and it has been no other
    program."""

    alone: bool
    members: list[Member]
    host: dict[str, Any]


def capture(world: World) -> Captured:
    """What there is besides pages. Raises Unsaveable."""
    world.meet()
    family = world.family
    members = [
        Member(
            process,
            family.executables[guest],
            world.program(guest),
            world.memories(guest),
            guest.capture(),
        )
        for process, guest in family.members.items()
    ]
    return Captured(family.alone, members, world.host.capture().to_plain())


def records(world: World, captured: Captured) -> Iterator[Record]:
    """The records of it, in the journal's words."""
    for member in captured.members:
        if not captured.alone:
            yield ProcessRecord(
                process=member.process,
                memories=member.memories,
                program=None if member.program is None else member.program.index,
                size=0 if member.program is None else member.program.size,
                sha256=b"" if member.program is None else member.executable.sha256,
            )
        for thread in member.engine.threads:
            yield _stack_record(world, member, thread)
        for thread in member.engine.threads:
            if thread.tables:
                yield TablesRecord(
                    tables=thread.tables, thread=thread.thread, process=member.process
                )
    yield HostRecord(state=captured.host)


def _load(module: Callable[[], bytes], sha256: bytes) -> Program:
    return Program.load(module(), sha256=sha256)


def restore(
    world: World,
    saved: Journal,
    snapshot: Snapshot,
    files: Files | None = None,
    *,
    sync: bool = True,
    claim: Callable[[], None] | None = None,
    load: Callable[[Callable[[], bytes], bytes], Program] = _load,
) -> None:
    """Make the world's new family and host what was saved; all processes are then stopped.

    ``files``: what is done about files that are not as they were, see ``wasnap.host.Files``.
    ``sync``: later snapshots wait until what was noted of files is on the device. ``claim``: called
    when all has been checked and restored but what touches the world; what it raises ends it there.
    ``load``: makes the code of programs that were executed, of a module and its SHA-256.

    Raises CannotResume, or JournalError for a record that cannot be used.
    """
    saved_by = {
        process: _saved(world, saved, snapshot, record, load)
        for process, record in _processes(world, snapshot).items()
    }
    host = HostState.from_plain(snapshot.record(HostRecord).state)
    arena = None
    if HOST_MEMORY in snapshot.memories:
        from wasnap.layers import load_arena  # most programs have no directory in memory

        arena = load_arena(snapshot)
    history = directory_of(saved.path)
    world.host.expect(host)
    hosts = world.host.processes.hosts()
    if hosts.keys() - world.host.processes.acting().values() != saved_by.keys():
        raise CannotResume("the snapshot does not hold all processes that it tells of")
    for process, (record, executable, state, images) in saved_by.items():
        hosts[process].executed = executable is not None
        world.family.restore(process, executable, hosts[process].provider, state, images)
        world.restored(process, images, record.memories, record.program, record.size)
    world.known(snapshot.memories)
    world.host.restore(host, arena, history=history, files=files, sync=sync, claim=claim)


def check_transform(version: int, where: str) -> None:
    """JournalError unless snapshots of this transform version can be restored here."""
    if version != TRANSFORM_VERSION:
        raise JournalError(
            f"{where} is of version {version} of the transform, and this is {TRANSFORM_VERSION}",
            "resume it with the wasnap that made it",
        )


# -- engine <-> PROCESS, STACK, TABLES, MEMORY ------------------------------------------------


class _Saved(NamedTuple):
    record: ProcessRecord
    executable: Executable | None
    state: EngineState
    images: list[engine.MemoryImage]


def _processes(world: World, snapshot: Snapshot) -> dict[int, ProcessRecord]:
    """By number. Where nothing is said of them there is the first one, with all memories."""
    found = {record.process: record for record in snapshot.records(ProcessRecord)}
    if not found:
        memories = list(range(len(world.family.first.memories)))
        found[FIRST] = ProcessRecord(process=FIRST, memories=memories)
    if FIRST not in found:
        raise CannotResume("the snapshot does not hold the first process")
    return found


def _saved(
    world: World,
    source: Journal,
    snapshot: Snapshot,
    record: ProcessRecord,
    load: Callable[[Callable[[], bytes], bytes], Program],
) -> _Saved:
    """One process, decoded."""
    first = world.family.first
    executable = None if record.process == FIRST else world.family.executables[first]
    if record.program is not None:
        image = snapshot.memory(record.program)

        def module() -> bytes:
            return image.read(0, image.pages_total)[: record.size]

        executable = Executable(load(module, record.sha256), module, record.sha256)
    program = first.program if executable is None else executable.program
    stacks = [s for s in snapshot.records(StackRecord) if s.process == record.process]
    tables = [t for t in snapshot.records(TablesRecord) if t.process == record.process]
    for stack in stacks:
        check_transform(stack.transform, str(source.path))
    images = [_image(source, snapshot.memory(i)) for i in record.memories]
    return _Saved(record, executable, _engine_state(program, stacks, tables, images), images)


def _stack_record(world: World, member: Member, state: ThreadState) -> StackRecord:
    executable = member.executable
    base = executable.program.info.frames_base
    frames, names = world.describe(executable, engine.frames_of(state, base))
    return StackRecord(
        transform=TRANSFORM_VERSION,
        data=state.stack,
        frames_base=base,
        fp=state.fp,
        frames=frames,
        names=names,
        globals=world.describe_globals(executable, state),
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
                again=was.again,
            )
            for was in state.interrupted
        ],
        process=member.process,
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
    if not stacks or tables_of.keys() - {stack.thread for stack in stacks}:
        raise CannotResume("the snapshot does not hold the stack of each thread")
    return EngineState(
        memories=tuple(image.size for image in images),
        threads=tuple(
            _thread_state(program, stack, tables_of.get(stack.thread, {}))
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
                was.again,
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
