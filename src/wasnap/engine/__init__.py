"""Runs modules: the only room that knows the engine (wasmtime).

config.py    the engine's configuration
ffi.py       as much of its C API as is used
objects.py   what it gives us to keep: stores, modules, errors and traps
native.py    the C API as it is called
values.py    values between Python, the engine's slots and the frames
text.py      ... and the words of a command line
cache.py     the code cache on disk
code.py      validate; Program: bytes -> code that can run; continuations
linear.py    memories as the engine has them, shared and not
memory.py    guest memory for the host
runs.py      runs of pages
image.py     the contents of a memory, and how they get into place
tracking.py  which pages of it may have changed since the last snapshot:
dirty.py     because the kernel tells, or
changes.py   by comparing
control.py   the words by which host and instrumented code talk
cell.py      the address of a global, for stops from any thread
call.py      what a host function sees: memory, progress, waiting
edge.py      the guest calls the host
shortcuts.py host calls that the engine answers itself
imports.py   what a guest imports: host functions, and memories, tables, globals made for it
stack.py     the call stack as frames, and how it goes on
tables.py    tables as lists of function indices
traps.py     traps in the user's words
state.py     a stopped guest as plain data; events
machine.py   store and instance: how entries run, stop and go on
doctor.py    what this machine has of what we can use
sharing.py   what threads share, and which modules can have any
thread.py    a guest thread: a machine on an OS thread of its own
guest.py     all threads of a guest, and the supervisor's hold on them
family.py    all processes of a tree, and the same for them
"""

from wasnap.engine.cache import Cache
from wasnap.engine.changes import Changes
from wasnap.engine.code import Program, validate
from wasnap.engine.dirty import Dirty
from wasnap.engine.family import FIRST, Executable, Family
from wasnap.engine.globals import GlobalValue, globals_of
from wasnap.engine.guest import Guest, Phase
from wasnap.engine.image import BufferExtent, FileExtent, MemoryImage, PackedExtent, Scattered
from wasnap.engine.imports import (
    Definition,
    GlobalDefinition,
    MemoryDefinition,
    TableDefinition,
)
from wasnap.engine.memory import GuestMemory, Watched
from wasnap.engine.runs import Run
from wasnap.engine.stack import Frame, frames_of
from wasnap.engine.state import (
    EngineState,
    Entry,
    Event,
    Exited,
    Failed,
    Finished,
    Interrupted,
    PendingCall,
    Stopped,
    ThreadState,
    Trapped,
)
from wasnap.engine.text import arguments, shown
from wasnap.engine.tracking import Tracker, tracker

__all__ = [
    "FIRST",
    "BufferExtent",
    "Cache",
    "Changes",
    "Definition",
    "Dirty",
    "EngineState",
    "Entry",
    "Event",
    "Executable",
    "Exited",
    "Failed",
    "Family",
    "FileExtent",
    "Finished",
    "Frame",
    "GlobalDefinition",
    "GlobalValue",
    "Guest",
    "GuestMemory",
    "Interrupted",
    "MemoryDefinition",
    "MemoryImage",
    "PackedExtent",
    "PendingCall",
    "Phase",
    "Program",
    "Run",
    "Scattered",
    "Stopped",
    "TableDefinition",
    "ThreadState",
    "Tracker",
    "Trapped",
    "Watched",
    "arguments",
    "frames_of",
    "globals_of",
    "shown",
    "tracker",
    "validate",
]
