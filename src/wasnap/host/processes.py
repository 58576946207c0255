"""The processes of a tree (WASIX): who is whose child, who has ended and how, who waits for that.

Each has a ``Host`` of its own, which shares with the others what is the tree's (directories, clock,
terminal, history of files) and has its own descriptors, threads, signals and working directory. The
first process is 1, the others get the next number. Like the first process of a container's, it takes
all others with it when it ends. A process whose parent has ended has none (0), and is forgotten when
it ends; any other stays, as a zombie, until its parent has joined it.

A process may *act* as a child that it has begun and that has no guest yet (``proc_fork_env``): until the
child is a program or has ended, the process has the child's descriptors and working directory, and
the child's ``Host`` keeps those of the process.

What is done here is done by host functions, or with their lock held.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from .beneath import os_error
from .futex import WaiterState
from .protocol import Call, Stop, Suspended
from .signals import SIGCHLD, SignalsState
from .stacks import StacksState
from .threads import ThreadsState

if TYPE_CHECKING:
    from .world import Host

FIRST: Final = 1
PROCESSES_MAX: Final = 256
"""At one time, those that have ended and were not joined included."""
NUMBERS: Final = 32
"""Bits of a descriptor's number; above these, in a snapshot, whose it is: its process less one."""

_OF_TERMINALS: Final = frozenset(("SIGINT", "SIGQUIT", "SIGHUP", "SIGWINCH"))
_NUMBER_MAX: Final = (1 << 31) - 1


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a process came to its end. ``signal``: the guest's number; 0: by itself."""

    code: int
    signal: int = 0


class Own(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process has for itself. The fields are explained in ``world.HostState``."""

    args: list[bytes]
    env: list[bytes]
    threads: ThreadsState = ThreadsState()
    futexes: list[WaiterState] = []
    signals: SignalsState = SignalsState()
    stacks: StacksState = StacksState()
    cloexec: list[int] = []
    cwd: bytes = b"/"
    dispositions: bytes = b""


class ProcessState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``own``: None for one that has ended, as ``ended`` says. ``borrows``: its parent waits until it
    ends or is another program (vfork). Of the first process ``own`` is in ``HostState`` itself."""

    number: int
    parent: int
    borrows: bool = False
    ended: Ended | None = None
    own: Own | None = None


class ProcessesState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``last``: the number that was given last. ``table``: all but the first process. ``acting``: which
    process acts as which of its children."""

    last: int = FIRST
    table: list[ProcessState] = []
    dispositions: bytes = b""
    acting: list[tuple[int, int]] = []


class _Process:
    def __init__(self, number: int, parent: int, host: Host | None) -> None:
        self.number = number
        self.parent = parent
        self.host = host
        self.borrows = False
        self.ended: Ended | None = None
        self.waiting: list[Call] = []
        """Its threads that wait for children."""


class Processes:
    """A ``protocol.Registry``."""

    def __init__(self, first: Host) -> None:
        self._last = FIRST
        self._table = {FIRST: _Process(FIRST, 0, first)}

    @property
    def first(self) -> Host:
        """The first process's, whatever program it is now."""
        host = self._table[FIRST].host
        assert host is not None
        return host

    def hosts(self) -> dict[int, Host]:
        """Of all that have not ended, by number."""
        return {
            number: process.host
            for number, process in sorted(self._table.items())
            if process.host is not None
        }

    def parent(self, number: int) -> int:
        """The number of a process's parent, or 0. Raises OSError (ESRCH)."""
        return self._find(number).parent

    # -- more and fewer ----------------------------------------------------------------------

    def add(self, parent: Host, thread: int) -> Host:
        """A child with what its parent has. Raises OSError (EAGAIN)."""
        if len(self._table) >= PROCESSES_MAX:
            raise os_error(errno.EAGAIN)
        number = self._last % _NUMBER_MAX + 1
        while number in self._table:
            number = number % _NUMBER_MAX + 1
        self._last = number
        host = parent.forked(number, thread)
        self._table[number] = _Process(number, parent.process, host)
        return host

    def drop(self, host: Host) -> None:
        """A child that could not be had after all."""
        host.descriptors.close_all()
        del self._table[host.process]

    def execute(self, host: Host, successor: Host) -> None:
        """Another program takes a process's place. Raises OSError (EAGAIN) if one has already."""
        process = self._find(host.process)
        if process.host is not host:
            raise os_error(errno.EAGAIN)
        host.descriptors.move_to(successor.descriptors)
        process.host = successor
        process.waiting = []
        self._give_back(process)

    def act(self, host: Host, thread: int) -> Host:
        """Have a process act as a new child, which has its own descriptors and working directory for so
        long. Raises OSError (EAGAIN)."""
        host.acting = child = self.add(host, thread)
        self._exchange(host, child)
        return child

    def stop_acting(self, host: Host) -> Host:
        """All is whose it is, again; the child."""
        child = host.acting
        assert child is not None
        host.acting = None
        self._exchange(host, child)
        return child

    def act_again(self, host: Host, child: Host) -> None:
        """As before ``stop_acting``."""
        host.acting = child
        self._exchange(host, child)

    def acted(self, host: Host, code: int) -> bool:
        """The child that a process acts as ends by itself. False: it acts as none."""
        if host.acting is None:
            return False
        self.ended(self.stop_acting(host).process, code, 0)
        return True

    def acting(self) -> dict[int, int]:
        """Which processes act as which of their children: those have no guest."""
        return {
            number: host.acting.process
            for number, host in self.hosts().items()
            if host.acting is not None
        }

    @staticmethod
    def _exchange(host: Host, child: Host) -> None:
        host.descriptors.exchange(child.descriptors)
        host.cwd, child.cwd = child.cwd, host.cwd

    def ended(self, process: int, code: int, signal: int) -> None:
        """See ``protocol.Registry``."""
        gone = self._table[process]
        assert gone.host is not None
        gone.host.descriptors.close_all()
        if gone.host.acting is not None:
            self.drop(gone.host.acting)
        gone.host = None
        gone.ended = Ended(code, signal)
        for child in [each for each in self._table.values() if each.parent == process]:
            child.parent = 0
            if child.ended is not None:
                del self._table[child.number]
        self._give_back(gone)
        parent = self._table.get(gone.parent)
        if parent is None or parent.host is None:
            del self._table[process]
            return
        for call in parent.waiting:
            call.unpark()
        if not parent.host.signals.old_style:
            parent.host.signals.receive(SIGCHLD, "SIGCHLD")

    def _give_back(self, process: _Process) -> None:
        """What a vfork borrowed."""
        if process.borrows:
            process.borrows = False
            parent = self._table.get(process.parent)
            for call in parent.waiting if parent else ():
                call.unpark()

    def _find(self, number: int) -> _Process:
        if number not in self._table:
            raise os_error(errno.ESRCH)
        return self._table[number]

    # -- waiting -----------------------------------------------------------------------------

    def join(
        self, host: Host, call: Call, number: int | None, *, wait: bool
    ) -> tuple[int, Ended] | None:
        """A child that has ended (this one, if it has a number), which is then forgotten; None: there
        is none yet, and ``wait`` is not asked for. Raises OSError (ECHILD)."""

        def children() -> list[_Process]:
            return [
                each
                for each in self._table.values()
                if each.parent == host.process and number in (None, each.number)
            ]

        def done() -> bool:
            there = children()
            return not there or any(each.ended is not None for each in there)

        if wait and not done():
            self._park(host, call, done)
        there = children()
        if not there:
            raise os_error(errno.ECHILD)
        for each in there:
            if each.ended is not None:
                del self._table[each.number]
                return each.number, each.ended
        return None

    def lend(self, child: Host) -> None:
        """A vfork: until it ends or is another program, its parent waits."""
        self._table[child.process].borrows = True

    def wait_for_return(self, host: Host, call: Call, child: int) -> None:
        """Wait for what was lent."""
        try:
            self._park(host, call, lambda: not self._lent(child))
        except Stop:
            raise Suspended({"lent": child}) from None

    def _lent(self, child: int) -> bool:
        return child in self._table and self._table[child].borrows

    def _park(self, host: Host, call: Call, done: Callable[[], bool]) -> None:
        waiting = self._table[host.process].waiting
        waiting.append(call)
        try:
            host.clock.park(call, done, None)
        finally:
            waiting.remove(call)

    # -- signals -----------------------------------------------------------------------------

    def deliver(self, name: str) -> None:
        """Have a signal come from outside, SIGINT ...; from the supervisor. What a terminal sends
        goes to all processes, as to those in its foreground; everything else to the first one. That
        hears of nothing if it does not handle signals."""
        for number, host in self.hosts().items():
            if host.signals.handles(name) if number == FIRST else name in _OF_TERMINALS:
                host.signals.deliver(name)

    def signal(self, number: int, signal: int, name: str | None) -> None:
        """Send one to another process; None: only ask whether it is there. Raises OSError (ESRCH)."""
        process = self._find(number)
        if process.host is not None and name is not None:
            process.host.signals.receive(signal, name)

    # -- snapshots ---------------------------------------------------------------------------

    def capture(self) -> ProcessesState:
        """All guest threads are stopped."""
        return ProcessesState(
            self._last,
            [
                ProcessState(
                    each.number,
                    each.parent,
                    each.borrows,
                    each.ended,
                    None if each.host is None else each.host.own(),
                )
                for each in sorted(self._table.values(), key=lambda each: each.number)
                if each.number != FIRST
            ],
            self.first.dispositions,
            [*self.acting().items()],
        )

    def restore(self, state: ProcessesState) -> None:
        """The others, as they were; their descriptors follow. Of a new tree."""
        first = self.first
        self._last = state.last
        for saved in state.table:
            host = None
            if saved.own is not None:
                host = first.another(saved.number)
                host.become(saved.own)
            process = _Process(saved.number, saved.parent, host)
            process.borrows, process.ended = saved.borrows, saved.ended
            self._table[saved.number] = process
        hosts = self.hosts()
        for number, child in state.acting:
            hosts[number].acting = hosts[child]
