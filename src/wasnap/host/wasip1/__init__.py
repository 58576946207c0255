"""The ABI of WASI preview1, and of wasi_unstable before it: pointers in, errno out, nothing else.

    spec.py      the constants of the specification
    layout.py    byte layouts, with their pictures
    errno.py     this machine's errno to WASI's
    abi.py       how methods become functions a guest can import
    args.py clock.py fd.py path.py poll.py process.py sock.py    one method per function
    unstable.py  what differs in wasi_unstable
    wide.py      what differs in a memory of 64-bit addresses

Everything a guest holds, and everything that is saved, is one room up.

Source: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md
"""

from __future__ import annotations

from ..protocol import CLOCK, OUTSIDE, RANDOM, HostFunction, Shortcut
from ..random import SystemRandom
from ..widths import LIBC, NARROW, Widths
from ..world import Host
from .abi import host_functions, missing
from .args import Args
from .clock import Clock
from .fd import Fd
from .path import Path
from .poll import Poll
from .process import Process
from .sock import Sock
from .unstable import UnstableFd, UnstablePath, UnstablePoll
from .wide import provided

PREVIEW1 = "wasi_snapshot_preview1"
UNSTABLE = "wasi_unstable"
MODULES = {PREVIEW1: (NARROW, LIBC), UNSTABLE: (NARROW,)}
"""And how wide their pointers may be."""

_PROVIDERS = {
    PREVIEW1: (Args, Clock, Fd, Path, Poll, Process, Sock),
    UNSTABLE: (Args, Clock, UnstableFd, UnstablePath, UnstablePoll, Process, Sock),
}

__all__ = ["MODULES", "functions", "missing"]


def functions(host: Host, module: str, widths: Widths = NARROW) -> dict[str, HostFunction]:
    """All functions of one of the WASI modules, by name."""

    def machines_clock() -> int | None:
        return None if host.occasions.awaited(OUTSIDE) else host.clock.offset()

    def machines_random() -> int | None:
        ours = not isinstance(host.random, SystemRandom)
        return None if ours or host.occasions.awaited(OUTSIDE) else 0

    answers = {
        "clock_time_get": Shortcut(CLOCK, machines_clock),
        "random_get": Shortcut(RANDOM, machines_random),
    }
    shortcuts = answers if widths is NARROW else {}  # the engine's have 32-bit addresses
    found = {
        function.name: function._replace(shortcut=shortcuts.get(function.name))
        for provider in _PROVIDERS[module]
        for function in host_functions(module, provided(provider, widths)(host), widths)
    }
    if module == UNSTABLE:
        del found["sock_accept"]
    return found
