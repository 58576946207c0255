"""epoll_*, fd_event: waiting for many descriptors (``host/epoll.py``), and counters to wait for."""

from __future__ import annotations

import errno

from .. import rights as r
from ..beneath import os_error
from ..epoll import Entry, Epoll
from ..event import Event
from ..protocol import Call
from ..wasip1.abi import I32, I64, Ptr, SizeAt
from ..wasip1.errno import invalid
from ..world import Host
from . import layout

_ADD, _MOD, _DEL, _LIBC_MOD = range(4)
"""``epoll_ctl``, and what wasix-libc has for MOD. It has 1 for ADD: 1 is then both, as in the reference
runtime."""
_SEMAPHORE = 1 << 0
_FOR_EVER = (1 << 64) - 1
_MOST = 1 << 16


class Waiting:
    """Lists of descriptors, and counters."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._descriptors = host.descriptors

    def fd_event(self, call: Call, initial_val: I64, flags: I32, result: Ptr) -> None:
        """A counter: u32 descriptor at result. Like eventfd.

        flags: bit 0 a semaphore, bit 2 NONBLOCK (as the libc has it). INVAL: initial_val has all bits set.
        """
        call.memory.u32(result)
        if initial_val == _FOR_EVER:
            raise invalid("initial_val")
        semaphore, once = bool(flags & _SEMAPHORE), self._host.old_wasix
        made = Event(initial_val, flags & r.NONBLOCK, semaphore=semaphore, once=once)
        call.memory.set_u32(result, self._descriptors.add(made))

    def epoll_create(self, call: Call, result: Ptr) -> None:
        """An empty list: u32 descriptor at result. Like epoll_create."""
        call.memory.u32(result)
        call.memory.set_u32(result, self._descriptors.add(Epoll()))

    def _list(self, epfd: int) -> Epoll:
        found = self._descriptors.get(epfd)
        if not isinstance(found, Epoll):
            raise invalid("epfd")
        return found

    def epoll_ctl(self, call: Call, epfd: I32, op: I32, fd: I32, event: Ptr) -> None:
        """Add fd to a list (0), change its entry (3), do what fits (1), remove it (2). Like epoll_ctl.

        event: ``layout.epoll_event`` (32 bytes). BADF; INVAL: epfd is no list, or no such op; EXIST; NOENT;
        PERM: a file, which is always ready; LOOP.
        """
        listed = self._list(epfd)
        descriptor = self._descriptors.get(fd)
        if op == _DEL:
            listed.remove(descriptor, fd)
            return
        events, data = layout.read_epoll_event(call.memory, event)
        if op == _ADD:
            listed.add(descriptor, Entry(fd, events, data))
        elif op == _LIBC_MOD or (op == _MOD and listed.has(descriptor, fd)):
            listed.change(descriptor, Entry(fd, events, data))
        elif op == _MOD:
            listed.add(descriptor, Entry(fd, events, data))
        else:
            raise invalid("epoll_ctl")

    def epoll_wait(
        self, call: Call, epfd: I32, event: Ptr, maxevents: I32, timeout: I64, result: SizeAt
    ) -> None:
        """Wait until something in the list is ready. Like epoll_wait.

        At most maxevents ``layout.epoll_event`` at event; u32 at result how many: 0 after timeout ns (all
        bits set: for ever). INTR: a signal's handler ran while it waited. INVAL: maxevents is 0.
        """
        if call.interrupted:
            raise os_error(errno.EINTR)
        listed = self._list(epfd)
        if not 0 < maxevents < 1 << 31:
            raise invalid("maxevents")
        most = min(maxevents, _MOST)
        call.memory.view(event, most * layout.EPOLL_EVENT_SIZE)
        call.memory.u32(result)
        timeout_ns = None if timeout == _FOR_EVER else timeout
        found = listed.wait(call, self._host.clock, most, timeout_ns)
        call.memory.write(event, b"".join(layout.epoll_event(*each) for each in found))
        call.memory.set_u32(result, len(found))
