"""All that a running process tree is made of, as far as a snapshot is concerned; where its pages are.

Pages of the first program's memories, and of directories in memory, are there as long as the tree
runs, and may be looked at while it does (``steady``). All others come and go with their processes: a
snapshot meets them when all stand still (``meet``), and does not look at them at any other time.

A memory that comes gets the place of one that is gone among the snapshot's memories, so that a shell
which forks all day does not make the journal know ever more of them. What lay there before is then
owed, too: pages that are zero now and were not. A memory in a snapshot never shrinks, so it must not
be larger. The bytes of a program that was executed are pages as well, saved once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from wasnap import engine, journal
from wasnap.engine import FIRST, Executable, Family, Guest, MemoryImage, Program, ThreadState
from wasnap.errors import WasnapError
from wasnap.host import Host
from wasnap.journal import PROGRAMS
from wasnap.snapshot.sources import ArenaSource, MemorySource, PageSource, ProgramSource, Slot


class _Names(NamedTuple):
    """Of functions and globals by index; and where each function's code begins in the module."""

    functions: dict[int, str]
    globals: dict[int, str]
    code_offsets: list[int]


class World:
    """A tree's guests and their hosts; ``host``: the first one's."""

    def __init__(self, family: Family, host: Host) -> None:
        self.family = family
        self.host = host
        self._first = family.executables[family.first]
        self._names: dict[Program, _Names] = {}
        self._of: dict[Guest, list[MemorySource]] = {}
        self._free: list[Slot] = []
        self._programs: dict[bytes, ProgramSource] = {}  # by the module's SHA-256
        self._next_memory = self._next_program = 0
        self._arena = [ArenaSource(host)] if host.uses_arena else []
        self._take_in(family.first, (), forever=True)
        self.steady: list[PageSource] = [*self._of[family.first], *self._arena]

    @property
    def sources(self) -> list[PageSource]:
        """All there were when they last met."""
        others = [source for guest in self._of for source in self._of[guest]]
        first = [source for source in others if source not in self.steady]
        return [*self.steady, *first, *self._programs.values()]

    def get_ready(self, go_on: Callable[[], bool]) -> None:
        """On any thread, while all run: what can be done now need not be done when all stand still.
        What fails here does so again, should it ever be needed. ``go_on``: see ``Program.get_ready``."""
        for executable in list(self.family.executables.values()):
            with suppress(WasnapError):
                executable.program.get_ready(go_on)

    def meet(self) -> None:
        """Find what has come and gone. Everything stands still."""
        guests = set(self.family.members.values())
        for guest in [guest for guest in self._of if guest not in guests]:
            for memory in self._of.pop(guest):
                memory.close()
                if memory in self.steady:
                    self.steady.remove(memory)
                if not memory.slot.forever:
                    self._free.append(memory.slot)
        self.family.forget_gone()
        for guest in self.family.members.values():
            if guest not in self._of:
                self._take_in(guest, ())
            executable = self.family.executables[guest]
            if executable.sha256 not in self._programs and not self._is_first(executable):
                module = executable.module()
                source = ProgramSource(PROGRAMS + self._next_program, len(module), module)
                self._programs[executable.sha256] = source
                self._next_program += 1

    def memories(self, guest: Guest) -> list[int]:
        """Where its memories are among the snapshot's."""
        return [source.index for source in self._of[guest]]

    def program(self, guest: Guest) -> ProgramSource | None:
        """Where its program is; None: in the journal's MODULE record."""
        executable = self.family.executables[guest]
        return None if self._is_first(executable) else self._programs[executable.sha256]

    def _is_first(self, executable: Executable) -> bool:
        return executable.sha256 == self._first.sha256

    def _take_in(
        self, guest: Guest, indexes: Iterable[int], *, forever: bool = False
    ) -> list[MemorySource]:
        """``indexes``: where its memories are already."""
        given = iter(indexes)
        sources = []
        for memory, what in zip(guest.memories, guest.program.info.memories, strict=True):
            index = next(given, None)
            slot = Slot(index, what.is64, what.shared) if index is not None else None
            if slot is None:
                pages = memory.size // journal.PAGE_SIZE
                slot = next((s for s in self._free if s.fits(pages, what.is64, what.shared)), None)
            if slot is None:
                slot = Slot(self._next_memory, what.is64, what.shared, forever=forever)
            elif slot in self._free:
                self._free.remove(slot)
            self._next_memory = max(self._next_memory, slot.index + 1)
            sources.append(MemorySource(slot, memory))
        self._of[guest] = sources
        return sources

    # -- after a resume ----------------------------------------------------------------------

    def restored(
        self,
        process: int,
        images: list[MemoryImage],
        memories: list[int],
        program: int | None,
        size: int,
    ) -> None:
        """One process was just made equal to what the journal holds; ``program``, ``size``: as in
        its ``ProcessRecord``."""
        guest = self.family.members[process]
        if process == FIRST and guest is not self.family.first:
            for source in self._of.pop(self.family.first):
                source.close()
            self.steady = [*self._arena]
            self._next_memory = 0
        sources = self._of.get(guest) or self._take_in(guest, memories)
        for source, image in zip(sources, images, strict=True):
            source.restored(image)
        if program is not None:
            sha256 = self.family.executables[guest].sha256
            self._programs.setdefault(sha256, ProgramSource(program, size, None))
            self._next_program = max(self._next_program, program - PROGRAMS + 1)

    def known(self, saved: Mapping[int, journal.MemoryImage]) -> None:
        """What else the journal has, by index: nobody's memories, for those that come."""
        mine = {source.index for source in self.sources}
        for index, image in saved.items():
            if index in mine or index == journal.HOST_MEMORY:
                continue
            if index >= PROGRAMS:
                self._next_program = max(self._next_program, index - PROGRAMS + 1)
                continue
            self._next_memory = max(self._next_memory, index + 1)
            slot = Slot(index, image.is64, image.shared)
            slot.note(
                [
                    (first, first + count)
                    for first, count, offset, packed in image.extents
                    if offset is not None or packed
                ]
            )
            slot.pages = image.pages_total
            self._free.append(slot)

    # -- for people --------------------------------------------------------------------------

    def describe(
        self, executable: Executable, frames: list[engine.Frame]
    ) -> tuple[list[journal.Frame], dict[int, str]]:
        """The frames for people: function, byte in the module file; and the functions' names."""
        program = executable.program
        names = self._find_names(executable)
        imported = len(program.info.imports)
        described = []
        for frame in frames:
            site = program.site(frame.site)
            offset = names.code_offsets[site.function - imported] + site.position
            described.append(journal.Frame(frame.site, site.function, offset))
        functions = {frame.function for frame in described}
        return described, {
            f: names.functions[f] for f in sorted(functions & names.functions.keys())
        }

    def describe_globals(self, executable: Executable, state: ThreadState) -> list[journal.Global]:
        """The mutable globals for people."""
        names = self._find_names(executable).globals
        return [
            journal.Global(index, names.get(index, ""), type, value)
            for index, type, value in engine.globals_of(executable.program.info, state)
        ]

    def _find_names(self, executable: Executable) -> _Names:
        found = self._names.get(executable.program)
        if found is None:
            from wasnap.wasm.decode import decode  # not needed before the first snapshot

            module = decode(executable.module())
            offsets = [body.offset for body in module.code]
            found = _Names(module.function_names(), module.global_names(), offsets)
            self._names[executable.program] = found
        return found

    def close(self) -> None:
        """Forget the pages; guests and hosts have owners of their own."""
        for source in self.sources:
            source.close()
