"""The ABI of WASIX (``wasix_32v1``, ``wasix_64v1``): pointers in, errno out, nothing else.

    layout.py   byte layouts that preview1 does not have
    futex.py    futex_*: waiting for a word of shared memory
    threads.py  thread_*
    locals.py   thread_local_*
    process.py  proc_*: what processes are called, forking, waiting for children
    programs.py other programs: proc_exec, proc_spawn
    signals.py  sending signals, naming the callback, alarms
    sock.py     sock_*, resolve
    older.py    what an older ABI has otherwise
    epoll.py    epoll_*, fd_event
    files.py    descriptors with several numbers, the working directory
    anywhere.py absolute paths
    stack.py    setjmp and longjmp
    tty.py      the terminal
    wide.py     what differs in ``wasix_64v1``

What it shares with preview1 is preview1's: the same classes under another module name. Functions
that are not here yet are listed in ``MISSING``: they give ENOTSUP and say so once; those that
return nothing, and so cannot say no, end the guest. docs/limits.md lists what is there.

A program of WASIX has an imported shared memory. What older versions of the ABI have otherwise is
in ``older.py`` and ``process.py``, and found by the types that a program imports.

Source: https://github.com/wasix-org/wasix-libc, libc-bottom-half/headers/public/wasi/api_wasix.h
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from wasnap.errors import GuestTrap

from ..protocol import Call, HostFunction, Result
from ..threads import ENTRY
from ..wasip1 import abi
from ..wasip1.args import Args
from ..wasip1.clock import Clock
from ..wasip1.poll import Poll
from ..wasip1.spec import ERRNO_NOTSUP
from ..wasip1.wide import provided
from ..widths import NARROW, Widths
from ..world import Host
from .epoll import Waiting
from .files import Fd, Path
from .futex import Futex
from .locals import Locals
from .process import Older, Process
from .programs import Programs
from .signals import SIGNALS, Signals
from .sock import Sock
from .stack import Stack
from .threads import Threads
from .tty import Tty
from .wide import Wide

_MISSING: Final = """
    call_dynamic clock_time_set closure_allocate closure_free closure_prepare context_create
    context_destroy context_switch dl_invalid_handle dlopen dlsym port_addr_add port_addr_clear
    port_addr_list port_addr_remove port_bridge port_dhcp_acquire port_gateway_set port_mac
    port_route_add port_route_clear port_route_list port_route_remove port_unbridge
    reflect_signature http_request http_status
"""
MISSING: Final = frozenset(_MISSING.split())

OLDER: Final = " of old"
"""What is added to the names of functions that have another type now."""
WITHOUT_RESULT: Final = (
    "callback_signal",
    "proc_exec",
    "proc_exec2",
    "proc_exit2",
    "stack_restore",
)
_PROVIDERS = (
    *(Args, Clock, Fd, Path, Poll, Process, Programs, Signals, Sock, Stack, Futex, Locals, Threads),
    *(Tty, Waiting),
)

_I32 = b"\x7f"

_log = logging.getLogger("wasnap")
_warned: set[str] = set()

__all__ = ["MISSING", "functions", "missing", "older_functions"]


def functions(host: Host, module: str, widths: Widths = NARROW) -> dict[str, HostFunction]:
    """All functions that are here, by name; ``module``: which of the two."""
    found: dict[str, HostFunction] = {}
    for provider in _PROVIDERS:
        made = provided(provider, widths, Wide)(host)
        for function in abi.host_functions(module, made, widths):
            if function.name not in MISSING:
                found[function.name] = function
    if widths is NARROW:
        for function in abi.host_functions(module, Older(host)):
            found[function.name + OLDER] = function
    snapshot = host.explicit.snapshot
    found["proc_snapshot"] = HostFunction(module, "proc_snapshot", b"", _I32, snapshot)
    for name in SIGNALS:
        found[name] = found[name]._replace(interrupter=host.signals)
    for name in WITHOUT_RESULT:
        call = _without_result(found[name].call)
        found[name] = found[name]._replace(results=b"", call=call)
    spawn = found["thread_spawn_v2"]._replace(spawns=ENTRY)
    found["thread_spawn_v2"] = spawn
    found["thread_spawn"] = spawn._replace(name="thread_spawn")
    return found


def older_functions(host: Host, module: str, widths: Widths = NARROW) -> dict[str, HostFunction]:
    """What programs of an older ABI call by these names, with other types."""
    from .older import ENTRY as older_entry
    from .older import Older

    made = provided(Older, widths, Wide)(host)
    found = {function.name: function for function in abi.host_functions(module, made, widths)}
    spawn = found.pop("thread_spawn")
    if widths is NARROW:  # there are no older programs of the other kind
        found["thread_spawn"] = spawn._replace(spawns=older_entry)
    return found


def _without_result(function: Callable[..., Result]) -> Callable[..., None]:
    def call(call: Call, *arguments: int) -> None:
        function(call, *arguments)

    return call


def missing(module: str, name: str, params: bytes, results: bytes) -> HostFunction:
    """A function that we do not have, or have with other types: see this file's head."""
    if name not in MISSING and results:
        return abi.missing(module, name, params, results)

    def call(call: Call, *arguments: int) -> int | tuple[int, ...]:
        if not results:
            raise GuestTrap(f"it called {module}.{name}, which wasnap does not have yet")
        if name not in _warned:
            _warned.add(name)
            _log.warning("%s.%s is not there yet: it gives ENOTSUP", module, name)
        return ERRNO_NOTSUP if len(results) == 1 else (ERRNO_NOTSUP, *(0,) * (len(results) - 1))

    return HostFunction(module, name, params, results, call)
