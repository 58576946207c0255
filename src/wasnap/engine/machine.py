"""A guest thread's store and instance, and how its entries run, stop and go on: without the thread.

What comes of running is always an ``Event``. Running an entry ends in one of four ways:

- it trapped: by the guest, or because a host function raised (``Edge.take`` tells which);
- frames were left (``fp`` above the base), or a host call is pending: it stopped;
- else it finished, and the next entry's turn comes.

Not safe for threads: ``guest.py`` lets the guest's own thread and a supervisor take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from wasnap.engine import cell, config, ffi, native, tables, values
from wasnap.engine.call import Company, GuestCall, Wake
from wasnap.engine.code import Program
from wasnap.engine.control import Control
from wasnap.engine.edge import Edge
from wasnap.engine.imports import Imports, Provide
from wasnap.engine.interruptions import Interruptions, StackPointer
from wasnap.engine.linear import handle, linear
from wasnap.engine.memory import GuestMemory
from wasnap.engine.objects import EngineError, Store, Trap
from wasnap.engine.shortcuts import Shortcuts
from wasnap.engine.stack import Frame, Stack
from wasnap.engine.state import (
    Entry,
    Event,
    Exited,
    Failed,
    Finished,
    PendingCall,
    Replaced,
    Stopped,
    ThreadState,
    Trapped,
)
from wasnap.engine.tables import Tables
from wasnap.engine.traps import guest_trap
from wasnap.errors import (
    CannotResume,
    GuestTrap,
    UnknownImport,
    UnsupportedModule,
    UsageError,
)
from wasnap.host.protocol import (
    FORKED,
    INTERRUPTER,
    Exec,
    Exit,
    HostFunction,
    Inside,
    StackCopy,
    Stop,
    Suspended,
    ThreadExit,
)
from wasnap.instrument import abi
from wasnap.wasm.types import FuncType

_MANY = 1 << 30
_LATER_SECONDS = 0.001
"""Until a signal that came too early is looked at again. Not at once: a thread that stands still in the
midst of its libc's locks is in the way of others."""
_OURS = "wasnap."
_NAMES_SHOWN = 8
_MEMORY = "wasnap.m"
"""Prefix of the exported memories, which are exported once."""
_STACK_POINTER = "__stack_pointer"


class Callee(NamedTuple):
    """An exported function with its type."""

    function: native.Function
    params: bytes
    results: bytes


class Machine:
    """A guest without its thread.

    ``memories``: the guest's, in order; ``control``: the header of its control memory; ``call``:
    what its host functions get; ``spawns``: the export in which further threads begin, if it can
    have any. ``shared``: imported memories, by index, that belong to all its threads; ``thread``
    and ``company``: which of them it is, and the others; ``locked``: its host functions take turns
    with those of others.
    Raises UnknownImport, or GuestTrap where a segment does not fit.
    """

    def __init__(
        self,
        program: Program,
        provide: Provide,
        wake: Wake,
        shared: Mapping[int, GuestMemory] | None = None,
        thread: int = 0,
        company: Company | None = None,
        *,
        locked: bool = False,
    ) -> None:
        self._program = program
        self.thread = thread
        self._store = Store(config.engine())
        self._store.limit(instances=_MANY, tables=_MANY, memories=_MANY)
        self._context = self._store.context
        self.call = GuestCall(wake, thread, company)
        self._edge = Edge(
            self._context, self.call, company.host_lock if locked and company else None
        )
        info = program.info
        # Answers write into the memory that the host's pointers are for, and have 32-bit addresses.
        target = info.memories[info.host_memory] if info.memories else None
        direct = target is not None and not target.is64 and not target.shared
        self._shortcuts = Shortcuts(self._store, program.cache)
        imports = Imports(
            self._context,
            self._edge,
            program.imports,
            info,
            provide,
            self._shortcuts if direct else None,
            shared or {},
        )
        self._hosts = imports.hosts
        self.spawns = next((h.spawns for h in self._hosts.values() if h.spawns), None)
        given = (*self._hosts.values(), provide(*INTERRUPTER))
        interrupters = (each.interrupter for each in given if isinstance(each, HostFunction))
        self.interrupter = next((i for i in interrupters if i is not None), None)
        try:
            self._instance = native.instantiate(self._context, program.module, imports.externs)
        except Trap as trap:
            raise self._trap(trap) from None
        except EngineError as error:
            raise UnsupportedModule(f"the module cannot be instantiated: {error}") from None
        self._shared = shared or {}
        self.memories = tuple(
            self._shared.get(i) or self._memory(f"wasnap.m{i}") for i in range(len(info.memories))
        )
        self._memory_links = [self._memory_link(i) for i in range(len(self.memories))]
        self._link_helpers(provide)
        if direct:
            self._shortcuts.connect(self._hot(f"{_MEMORY}{info.host_memory}"))
        self.control = self._find_control()
        self.call.attach(self.memories, self.control, info.host_memory)
        self._stack = Stack(
            self._context, program, self.control, self._hot, lambda *name: imports.functions[name]
        )
        names = [f"wasnap.t{i}" for i in info.mutable_tables]
        if info.has_refs:
            names.append(abi.REFS)
        self._tables = Tables(self._context, self._instance, names, info.referable)
        self._entries: tuple[Entry, ...] = ()
        self._entry = 0
        self._interruptions = Interruptions(self._stack, self._tables, self._edge, self._pointer())
        self.call.stacks = self
        self._results: tuple[values.Value, ...] | None = None
        self._abandoned = False
        self._too_early = False
        self._for_all = False
        self._to_load = False
        self.begun = False

    def _memory(self, name: str) -> GuestMemory:
        extern = native.export(self._context, self._instance, name)
        return GuestMemory(linear(self._context, extern))

    def _memory_link(self, i: int) -> native.Extern:
        """What continuations import as memory ``i``."""
        memories = self._program.info.memories
        if not memories[i].shared:
            return self.memories[i].extern
        if memories[i].imported:
            place = -sum(m.shared and m.imported for m in memories[i:])
        else:
            place = i - sum(m.imported for m in memories)
        return handle(self._context, self._instance, place, self.memories[i].address)

    def _link_helpers(self, provide: Provide) -> None:
        """Fill the table of what the transform's own functions call."""
        table = native.export(self._context, self._instance, abi.HOST)
        if table is None:
            return
        for slot, (name, params, results) in enumerate(abi.FUTEX_CALLS):
            given = provide(abi.HOST, name)
            if not isinstance(given, HostFunction) or (given.params, given.results) != (
                params,
                results,
            ):
                raise UnknownImport(f"the module waits in shared memory: {name} is not provided")
            extern = self._edge.helper(given)
            self._hosts[abi.HOST, name] = given
            reference = tables.reference(extern.of.func)
            tables.set_element(self._context, table.of.table, slot, reference)

    def _trap(self, ended: native.Ended) -> GuestTrap:
        return guest_trap(ended, len(self._program.info.suspends), self.thread)

    def _find_control(self) -> Control:
        memory = self._memory(abi.CONTROL)
        stop = native.export(self._context, self._instance, abi.STOP)
        if stop is None:
            return Control(memory)
        save = self._callee(abi.SAVE).function
        return Control(memory, cell.find_i32(self._context, stop, save))

    def _hot(self, name: str) -> native.Extern:
        if name.startswith(_MEMORY) and name[len(_MEMORY) :].isdigit():
            return self._memory_links[int(name[len(_MEMORY) :])]
        extern = native.export(self._context, self._instance, name)
        assert extern is not None, f"the instrumented module exports {name}"
        return extern

    def _callee(self, name: str) -> Callee:
        extern = native.export(self._context, self._instance, name)
        if extern is None or extern.kind != native.KIND_FUNC:
            raise UnsupportedModule(
                f"the module exports no function {name!r}", self._other_than(name)
            )
        function = ffi.wasmtime_func_t.from_buffer_copy(extern.of.func)
        return Callee(function, *native.function_type(self._context, function))

    def _other_than(self, name: str) -> str:
        """A hint for whoever asked for an export that is not there: those that are."""
        names = native.exported_functions(self._program.module)
        there = [n for n in names if not n.startswith(_OURS) and n != "_initialize"]
        if not there:
            return "it exports no function at all: a WASI command exports _start"
        listed = ", ".join(sorted(there)[:_NAMES_SHOWN]) + ", ..." * (len(there) > _NAMES_SHOWN)
        if name == "_start":
            return f"it is a library: run one of its functions by --invoke NAME: {listed}"
        return f"there are: {listed}"

    # -- running -----------------------------------------------------------------------------

    def begin(self, entry: str, args: Sequence[int]) -> None:
        """Choose what ``run`` runs: an export, after the start function and ``_initialize``.

        ``args``: raw values. Raises UnsupportedModule without such an export, UsageError for
        arguments that do not fit it.
        """
        self._check(entry, args)
        names = []
        if native.export(self._context, self._instance, abi.START) is not None:
            names.append(abi.START)
        if entry not in ("_start", "_initialize"):
            initialize = native.export(self._context, self._instance, "_initialize")
            if initialize is not None and initialize.kind == native.KIND_FUNC:
                names.append("_initialize")
        self._entries = (*(Entry(n) for n in names), Entry(entry, tuple(args)))
        self._entry = 0

    def begin_thread(self, args: Sequence[int], stack_pointer: int | None = None) -> None:
        """Choose for ``run`` what a spawned thread runs; the start function first."""
        assert self.spawns is not None
        before = [Entry(abi.START)] if self._program.info.has_start else []
        if stack_pointer is not None and self._pointer() is not None:
            before.append(Entry(_STACK_POINTER, (stack_pointer,)))
        self._entries = (*before, Entry(self.spawns, tuple(args)))
        self._entry = 0

    def begin_call(self, entry: str, args: Sequence[int]) -> None:
        """Choose an export for ``run``, and nothing before it; also after an earlier one ended.

        Raises like ``begin``. What an entry that trapped left half done is forgotten, its frames
        and its pending call; memories, tables and globals stay as they are.
        """
        self._check(entry, args)
        self._entries = (Entry(entry, tuple(args)),)
        self._entry = 0
        self._stack.fp = self._program.info.frames_base
        self._edge.pending = None
        self._interruptions.clear()
        self.control.reset()

    def signature(self, entry: str) -> FuncType:
        """The type of an exported function. Raises UnsupportedModule if there is none."""
        callee = self._callee(entry)
        return FuncType(callee.params, callee.results)

    def global_value(self, name: str) -> tuple[int, int]:
        """Type and raw value of an exported global. Raises UnsupportedModule if there is none."""
        extern = native.export(self._context, self._instance, name)
        if extern is None or extern.kind != native.KIND_GLOBAL:
            raise UnsupportedModule(f"the module exports no global {name!r}")
        return native.global_value(self._context, extern.of.global_)

    def _check(self, entry: str, args: Sequence[int]) -> None:
        params = self._callee(entry).params
        widths = [8 * values.WIDTH[t] for t in params]
        if len(widths) != len(args) or any(
            not 0 <= a < 1 << w for a, w in zip(args, widths, strict=True)
        ):
            type = self.signature(entry)
            raise UsageError(f"{entry} is {type}: it does not take the arguments {list(args)}")

    def run(self) -> Event:
        """Run the entries from the present one on."""
        self.begun = True
        self._forget_why()
        return self._outwards(self._run())

    def _run(self) -> Event:
        while True:
            entry = self._entries[self._entry]
            pointer = self._pointer() if entry.export == _STACK_POINTER else None
            if pointer is not None:  # it is set, not called
                pointer.set(entry.args[0])
                self._entry += 1
                continue
            callee = self._callee(entry.export)
            slots = values.raw_slots(entry.args, max(len(callee.params), len(callee.results)))
            event = self._invoke(callee.function, slots) or self._finished(slots, callee.results)
            if event is not None:
                return event

    def go_on(self) -> Event:
        """Go on from where the guest stopped, or where a restored one had stopped."""
        if not self.begun:
            return self.run()
        if self._to_load:
            self._call_helper(abi.LOAD)
            self._to_load = False
        self._forget_why()
        return self._outwards(self._enter() or self._go_on())

    def _go_on(self) -> Event:
        frames = self._stack.frames()
        continuations = self._stack.prepare(frames)
        pending = self._edge.pending
        results: tuple[values.Value, ...] | None = None
        if pending is not None:
            host = self._hosts[pending.module, pending.name]
            try:
                results = self._edge.complete(host)
            except (Stop, Suspended):
                return Stopped()
            except Exit as error:
                return Exited(error.code, error.signal)
            except Exec as error:
                return Replaced(error.made)
            except ThreadExit:
                return self._end_thread()
            if self._abandoned:
                self._abandoned = False
                self._entries, self._entry = self._interruptions.pop(interrupts=False)
                return self._enter() or self._go_on()
            if self._results is not None:  # the call replaced the stack
                results, self._results = self._results, None
                frames = self._stack.frames()
                continuations = self._stack.prepare(frames)
        callee = self._callee(self._entries[self._entry].export)
        slots = values.raw_slots((), len(callee.results))
        if frames:
            if results is not None:
                self._stack.put_results(frames[0], continuations[frames[0].site], results)
            event = self._invoke(self._stack.link(frames), slots)
            if event is not None:
                return event
        elif results is not None:  # the entry itself is an import, or ended in a tail call to one
            values.slot_struct(callee.results).pack_into(slots, 0, *results)
        else:
            raise CannotResume("the snapshot has neither frames nor a pending call")
        return self._finished(slots, callee.results) or self._run()

    # -- interruptions -----------------------------------------------------------------------

    def stopped_as_asked(self) -> bool:
        """Whether a thread that stopped did so because it was asked to, or to unwind: not so that
        all stop."""
        if self._for_all:
            return False
        return self._edge.pending is None or self._edge.unwinds or self.call.asked

    def stopped_for_itself(self) -> bool:
        """Whether a thread that stopped did so only to be interrupted, or to unwind."""
        return self.stopped_as_asked() and (self._edge.unwinds or self.interrupter is not None)

    def _forget_why(self) -> None:
        """Before it runs: why it stopped the last time."""
        self._for_all = self._edge.unwinds = self.call.asked = False

    def _enter(self) -> Event | None:
        """Run what is to be run before the guest goes on. None: nothing is.

        Not where it is in the midst of an export that was called for this and calls handlers through a
        table, but has not yet, or is behind that: its libc may hold a lock. It is asked again then.
        """
        self.call.owed = self._too_early = False
        if self.interrupter is None:
            return None
        calls = self._interruptions.has_pointer and self.interrupter.in_loops
        self.call.owed = self.at_loop() and not calls
        inside = self._interruptions.inside(self._entries[self._entry])
        try:
            wanted = self.interrupter.next(self.call, inside, self._may_call)
        except Stop:
            self._for_all = True
            return Stopped()
        except Exit as error:
            return Exited(error.code, error.signal)
        if wanted is None:
            if self._too_early:
                self._ask_later()
            return None
        entry = Entry(*wanted)
        self._check(entry.export, entry.args)
        self._interruptions.push(self._entries, self._entry, aside=self.at_loop())
        self._entries, self._entry = (entry,), 0
        if self.call.spare():
            self._ask_later()
        return self._run()

    def _ask_later(self) -> None:
        later = threading.Timer(_LATER_SECONDS, self.call.interrupt, (self.thread,))
        later.daemon = True
        later.start()

    def _may_call(self, name: str) -> bool:
        """Whether there is such an export, and it may be called where the guest stands."""
        if self.call.owed or not self.exports(name):
            return False
        if not self._too_early and self._interruptions and (frames := self._stack.frames()):
            self._too_early = self._program.before_table(frames[-1].site)
        return not self._too_early

    def _outwards(self, event: Event) -> Event:
        """When what interrupted the guest is over, go on with what was interrupted."""
        while isinstance(event, Finished) and self._interruptions:
            over = self._entries[self._entry]
            again = self.interrupter is not None and self.interrupter.restarts((*over.args,))
            self._entries, self._entry = self._interruptions.pop(interrupts=not again)
            event = self._enter() or self._go_on()
        return event

    def copy_stack(self) -> StackCopy:
        """See ``host.protocol.Call.copy_stack``."""
        return self._interruptions.copy()

    def replace_stack(self, copy: StackCopy, results: tuple[int, ...]) -> None:
        """See ``host.protocol.Call.replace_stack``."""
        entries = self._interruptions.replace(copy)
        if entries is not None:
            self._entries, self._entry = entries
        self._results = results

    def interruption(self) -> Inside | None:
        """See ``host.protocol.Call.interruption``."""
        inside = self._interruptions.inside(self._entries[self._entry])
        frames = self._stack.frames()
        if not inside or not frames:  # without frames: it is an import itself
            return None
        return Inside(inside[-1], self._program.calls_by_table(frames[-1].site))

    def abandon(self) -> None:
        """See ``host.protocol.Call.abandon``."""
        self._abandoned = True

    def exports(self, name: str) -> bool:
        """See ``host.protocol.Call.exports``."""
        extern = native.export(self._context, self._instance, name)
        return extern is not None and extern.kind == native.KIND_FUNC

    def _pointer(self) -> StackPointer | None:
        extern = native.export(self._context, self._instance, _STACK_POINTER)
        if extern is None or extern.kind != native.KIND_GLOBAL:
            return None
        return StackPointer(self._context, extern.of.global_)

    def _end_thread(self) -> Finished:
        """The thread ended itself."""
        self._interruptions.clear()
        return Finished(())

    def _invoke(self, function: native.Function, slots: bytearray) -> Event | None:
        """Call into the guest. None: it finished, and its results are in the slots."""
        self.call.activity += 1
        self._shortcuts.arm()
        ended = native.call(self._context, function, slots)
        raised = self._edge.take()
        if isinstance(raised, Exit):
            return Exited(raised.code, raised.signal)
        if isinstance(raised, Exec):
            return Replaced(raised.made)
        if isinstance(raised, ThreadExit):
            return self._end_thread()
        if raised is not None:
            return Failed(raised)
        if ended is not None:
            return Trapped(self._trap(ended))
        if self._stack.fp > self._program.info.frames_base or self._edge.pending is not None:
            self._call_helper(abi.SAVE)
            return Stopped()
        return None

    def _finished(self, slots: bytearray, results: bytes) -> Finished | None:
        """The present entry finished: the event if it was the last, else on to the next."""
        if self._entry == len(self._entries) - 1:
            return Finished(values.raws_from_slots(slots, results))
        self._entry += 1
        return None

    def _call_helper(self, name: str) -> None:
        function = self._callee(name).function
        ended = native.call(self._context, function, values.raw_slots((), 0))
        if ended is not None:
            raise self._trap(ended)

    # -- its state ---------------------------------------------------------------------------

    @property
    def pending(self) -> PendingCall | None:
        """The host call that a stop interrupted."""
        return self._edge.pending

    def frames(self) -> list[Frame]:
        """The call frames of a stopped guest, innermost first."""
        return self._stack.frames()

    def at_loop(self) -> bool:
        """Whether a stopped guest stands at a loop's header, where going on polls again at once."""
        if self._edge.pending is not None or not (frames := self._stack.frames()):
            return False
        return self._program.site(frames[0].site).kind == "loop"

    def capture(self) -> ThreadState:
        """A stopped thread. Raises Unsaveable."""
        return ThreadState(
            stack=self._stack.capture(),
            fp=self._stack.fp,
            tables=self._tables.capture(),
            pending=self._edge.pending,
            entries=self._entries,
            entry=self._entry,
            thread=self.thread,
            begun=self.begun,
            interrupted=self._interruptions.capture(),
        )

    def fork(self) -> ThreadState:
        """This thread, which is unwound and completes a call, as the only one of another process.

        Raises Unsaveable.
        """
        self._call_helper(abi.SAVE)  # a signal's handler may have run since
        state = self.capture()
        assert state.pending is not None
        pending = msgspec.structs.replace(state.pending, progress=FORKED)
        return msgspec.structs.replace(state, pending=pending, thread=0)

    def restore(self, state: ThreadState) -> None:
        """Make a new instance equal to a captured one, but for its memories. Raises CannotResume."""
        pending = state.pending
        for call in (pending, *(interrupted.pending for interrupted in state.interrupted)):
            if call is not None and (call.module, call.name) not in self._hosts:
                raise CannotResume(f"the snapshot waits in {call.module}.{call.name}: not here")
        self._tables.restore(state.tables)
        self._stack.restore(state.stack, state.fp)
        self._edge.pending = pending
        self._interruptions.restore(state.interrupted)
        self._entries = state.entries
        self._entry = state.entry
        self.begun = self._to_load = state.begun

    def close(self) -> None:
        """Free the store; every later access to its memories is a Fault (but to those it shares)."""
        for i, memory in enumerate(self.memories):
            if i not in self._shared:
                memory.close()
        self.control.memory.close()
        self._store.close()
