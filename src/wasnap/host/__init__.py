"""The host: what a guest calls, and what it holds.

Map of the room::

    protocol.py     all that engine and host know of each other
    config.py       what the user grants: HostConfig, Mapping
    world.py        Host: functions for the engine, capture and restore for a snapshot
    descriptors.py  the table of descriptors, and what all of them share
    kinds.py        their kinds by name, imported when there is one
    mapped.py       a mapped directory, whatever is behind it
    root.py  directory.py  file.py      host directories that are mapped as they are
    beneath.py                          paths that cannot leave one
    history/        what it takes to undo changes to them
    rewind.py       what a resume does about files: checked, undone, refused
    tree/           directories in memory: tmp, and the layer of an overlay
    stream.py       standard streams, and pipes and devices in host directories
    terminal.py  picture.py             what the terminal showed, and its emulator
    net/            sockets of the guest's own (WASIX), and what it may reach
    epoll.py event.py    lists to wait for, counters
    pipe.py         pipes between the guest's own threads
    socket.py       what it listens on and accepts
    clock.py  random.py  rights.py
    occasions.py    what the guest is about to do, for triggers
    threads.py      guest threads: wasi.thread-spawn
    processes.py    the processes of a tree: parents, ends, who waits (WASIX)
    futex.py        waiting for a word of shared memory
    explicit.py     wasnap.snapshot: the guest asks for a snapshot of itself
    signals.py      signals of the guest's own: handlers, alarms, and what happens without
    stacks.py       copies of call stacks: setjmp and longjmp of WASIX
    unknown.py      imports that nobody has
    wasip1/         the ABI of wasi_snapshot_preview1 and wasi_unstable, and nothing else
    wasix/          what wasix_32v1 and wasix_64v1 have beyond them; loaded only for modules that import one
    widths.py       how wide pointers and sizes are in either
"""

from .clock import Clock, FakeClock, SystemClock
from .config import Connections, Files, HostConfig, Kind, Mapping, UnknownImports
from .history import directory_of
from .random import Random, SeededRandom, SystemRandom
from .socket import Address
from .tree.arena import Arena
from .world import WASIX_MODULES, Host, HostState

__all__ = [
    "WASIX_MODULES",
    "Address",
    "Arena",
    "Clock",
    "Connections",
    "FakeClock",
    "Files",
    "Host",
    "HostConfig",
    "HostState",
    "Kind",
    "Mapping",
    "Random",
    "SeededRandom",
    "SystemClock",
    "SystemRandom",
    "UnknownImports",
    "directory_of",
]
