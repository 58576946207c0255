"""All processes of a tree: a guest for each, stopped and going on as one.

To a supervisor a family looks like one guest (``guest.py`` draws the picture): ``Stopped`` is told
when no process runs, whoever caused it, and the end of the first process is the end of all. Which
processes there are changes in three ways, all of them begun by a host function of the guests':

- a *fork* or a *spawn* adds one. It is made on the calling thread, which runs, so that the world
  cannot be stopped meanwhile, and runs at once, or when the world goes on;
- an *exec* puts a new guest in the place of one, which is made before the old one is given up;
- an *end* takes one away.

The last two are noticed on a guest thread, which cannot free what it stands on: they lie among the
events until the supervisor comes by (``wait``), and until then the world does not count as stopped.
So whoever finds it stopped finds all of that settled.

All guests have one lock, and so one order of what they report; and one more for their host functions,
which share descriptors.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wasnap.engine.code import Program
from wasnap.engine.guest import Guest, Phase
from wasnap.engine.image import MemoryImage
from wasnap.engine.imports import Provide
from wasnap.engine.state import (
    EngineState,
    Event,
    Exited,
    Failed,
    Finished,
    Replaced,
    Stopped,
    Trapped,
)
from wasnap.errors import InvalidModule, WasnapError
from wasnap.host.protocol import Audience, Call, Loaded, Provider, Registry

FIRST = 1
"""The process that everything begins with."""

_ABORTED = 134
"""128 and SIGABRT: what a trap is to those who wait for a process."""
_SIGABRT = 6
_FRAMES_SHOWN = 8
_CLOSE_SECONDS = 0.05
"""For the threads of a process that is over; those that take longer are waited for at the end."""

_log = logging.getLogger(__name__)


class Executable(NamedTuple):
    """A program, and the module that it was made of, which is looked at when it is needed."""

    program: Program
    module: Callable[[], bytes]
    sha256: bytes


class _Loading:
    """Code that is being loaded, on a thread of its own; ``waiting``: for whom."""

    def __init__(self) -> None:
        self.found: Executable | BaseException | None = None
        self.waiting: list[Call] = []

    def done(self) -> bool:
        return self.found is not None


class _Change(NamedTuple):
    """A process that is over, or another program now: for the supervisor."""

    guest: Guest
    event: Event


class Family:
    """The guests of a process tree. All public methods but those for guests are for supervisors.

    ``provide``: what the first program imports; ``registry``: who is told of ends. Raises like
    ``Guest``.
    """

    def __init__(
        self, first: Executable, provide: Provide, registry: Registry, *, counted: bool = False
    ) -> None:
        self.lock = threading.RLock()  # a signal handler may stop while its own thread holds it
        self.host_lock = threading.Lock()
        self.phase = Phase.NEW
        self._registry = registry
        self._counted = counted
        self._countdown = 0
        self._stopping = False
        self._unsettled = 0
        self._audience: Audience | None = None
        self._events: queue.SimpleQueue[Event | _Change | None] = queue.SimpleQueue()
        self._loads: dict[bytes, _Loading] = {}
        self._gone: list[Guest] = []
        self._past_activity = 0
        self.first = Guest(first.program, provide, family=self, process=FIRST)
        self.executables: dict[Guest, Executable] = {self.first: first}
        """What each of them runs."""
        self._members = {FIRST: self.first}

    @property
    def members(self) -> dict[int, Guest]:
        """By process number, in order. Of a stopped family these are all there are."""
        return dict(sorted(self._members.items()))

    @property
    def alone(self) -> bool:
        """Whether there is but one process, and it has never been another program."""
        return self._members == {FIRST: self.first}

    @property
    def countdown(self) -> int:
        """See ``Guest.countdown``; of the first process."""
        first = self._members.get(FIRST)
        return 0 if first is None else first.countdown

    @property
    def activity(self) -> int:
        """See ``Guest.activity``."""
        with self.lock:
            now = sum(guest.activity for guest in self._members.values())
            return self._past_activity + now

    def listen(self, audience: Audience) -> None:
        """Tell ``audience`` what the guests are about to do. Before they run."""
        with self.lock:
            self._audience = audience
            for guest in self._members.values():
                guest.listen(audience)

    def start(self, entry: str = "_start", args: Sequence[int] = (), *, countdown: int = 0) -> None:
        """Begin a fresh run of the first process. See ``Guest.start``."""
        with self.lock:
            self._countdown = countdown
            self.phase = Phase.RUNNING
            self.first.start(entry, args, countdown=countdown)

    def stop(self) -> None:
        """See ``Guest.stop``."""
        with self.lock:
            if self.phase is Phase.RUNNING:
                self._ask_all()
                self._tell_if_stopped()

    def wait(self, timeout: float | None = None) -> Event | None:
        """The next event; None if none came within ``timeout`` seconds, after ``nudge``, or when
        one process of several has changed."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, _Change):
            self._settle(event)
            return None
        return event

    def nudge(self) -> None:
        """See ``Guest.nudge``."""
        self._events.put(None)

    def proceed(self, *, countdown: int = 0) -> None:
        """Let all go on. See ``Guest.proceed``."""
        with self.lock:
            if self.phase is not Phase.STOPPED:
                raise RuntimeError(f"the processes are {self.phase.value}, not stopped")
            self._stopping = False
            self._countdown = countdown
            self.phase = Phase.RUNNING
            for guest in list(self._members.values()):
                guest.proceed(countdown=countdown)
                if self._stopping:  # a signal's handler came in between
                    guest.stop()

    def restore(
        self,
        process: int,
        executable: Executable | None,
        provider: Provider,
        state: EngineState,
        images: list[MemoryImage],
    ) -> None:
        """One process of a new family, as it was captured; all of it is then stopped.

        ``executable``: None for the first program in the first process. Raises CannotResume, and
        like ``Guest``.
        """
        guest = self.first
        if executable is not None:
            program = executable.program
            guest = self._new(process, executable, provider(program.info.imports))
            if process == FIRST:
                self.first.close()
        self._members[process] = guest
        guest.restore(state, images)
        self.phase = Phase.STOPPED

    def forget_gone(self) -> None:
        """Free the memory of the first program, if another one took its place."""
        self._gone = [guest for guest in self._gone if not guest.close(_CLOSE_SECONDS)]

    def close(self, timeout: float | None = 5.0) -> bool:
        """See ``Guest.close``."""
        with self.lock:
            self.phase = Phase.DONE
            guests = [*self._members.values(), *self._gone]
            while not self._events.empty():
                event = self._events.get()
                if isinstance(event, _Change) and isinstance(event.event, Replaced):
                    event.event.made.close(timeout)
            for guest in guests:
                guest.stop()
        closed = [guest.close(timeout) for guest in guests]
        return all(closed)

    # -- for its guests (guest.Kin) ----------------------------------------------------------

    def heard(self, guest: Guest, event: Event) -> None:
        """One of them has stopped, or is over. Called with the lock held."""
        if self.phase is Phase.DONE or self._members.get(guest.process) is not guest:
            if isinstance(event, Replaced):
                event.made.close()
            return
        if isinstance(event, Stopped):
            if not self._stopping:
                self._ask_all()
            self._tell_if_stopped()
        elif isinstance(event, Replaced) or not (
            guest.process == FIRST or isinstance(event, Failed)
        ):
            self._unsettled += 1
            self._events.put(_Change(guest, event))
        else:
            self.phase = Phase.DONE
            self._events.put(event)
            self._ask_all()

    def forked(self, parent: Guest, child: Guest) -> None:
        """A guest of the same program is going to be ``born``."""
        self.executables[child] = self.executables[parent]

    def born(self, guest: Guest) -> None:
        """A further process, stopped or ready, is there. Raises OSError (EAGAIN)."""
        with self.lock:
            if self.phase is not Phase.RUNNING:
                raise OSError(errno.EAGAIN, "the processes end")
            if self._audience is not None:
                guest.listen(self._audience)
            self._members[guest.process] = guest
            if not self._stopping:
                try:
                    guest.proceed(countdown=self._countdown)
                except RuntimeError:
                    del self._members[guest.process]
                    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None

    def load(self, call: Call, module: bytes) -> Loaded:
        """See ``host.protocol.Call.load``."""
        import hashlib  # few processes execute others

        key = hashlib.sha256(module).digest()
        with self.lock:
            loading = self._loads.get(key)
            if loading is None:
                loading = self._loads[key] = _Loading()
                args = (loading, module, key)
                threading.Thread(target=self._load, args=args, name="loader", daemon=True).start()
            loading.waiting.append(call)
        try:
            call.park(loading.done, None)
        finally:
            with self.lock:
                loading.waiting.remove(call)
        if isinstance(loading.found, Executable):
            return loading.found
        with self.lock:
            self._loads.pop(key, None)
        if isinstance(loading.found, WasnapError):
            raise _not_run(loading.found)
        assert loading.found is not None
        raise loading.found

    def make(self, process: int, loaded: Loaded, provider: Provider) -> Guest:
        """See ``host.protocol.Call.make``."""
        assert isinstance(loaded, Executable)
        try:
            guest = self._new(process, loaded, provider(loaded.program.info.imports))
        except WasnapError as error:
            raise _not_run(error) from None
        try:
            guest.ready()
        except WasnapError as error:
            guest.close()
            raise _not_run(error) from None
        return guest

    def all_wait(self) -> bool:
        """Whether no thread of any process runs."""
        with self.lock:
            return not self._unsettled and all(g.threads_wait() for g in self._members.values())

    # -- below -------------------------------------------------------------------------------

    def _new(self, process: int, executable: Executable, provide: Provide) -> Guest:
        guest = Guest(executable.program, provide, family=self, process=process, locked=True)
        self.executables[guest] = executable
        return guest

    def _load(self, loading: _Loading, module: bytes, key: bytes) -> None:
        found: Executable | BaseException
        try:
            program = Program.load(module, counted=self._counted, sha256=key)
            found = Executable(program, lambda: module, key)
        except BaseException as error:  # for whoever waits
            found = error
        with self.lock:  # whoever waits is sure to live
            loading.found = found
            for call in loading.waiting:
                call.unpark()

    def _ask_all(self) -> None:
        self._stopping = True
        for guest in self._members.values():
            guest.stop()

    def _tell_if_stopped(self) -> None:
        if self.phase is not Phase.RUNNING or not self._stopping or self._unsettled:
            return
        if all(guest.phase is Phase.STOPPED for guest in self._members.values()):
            self.phase = Phase.STOPPED
            self._events.put(Stopped())

    def _settle(self, change: _Change) -> None:
        """A process is over, or another program now."""
        guest, event = change
        process = guest.process
        if not isinstance(event, Replaced):
            code, signal = _status(process, event)
            with self.host_lock:
                self._registry.ended(process, code, signal)
        with self.lock:
            self._unsettled -= 1
            if self.phase is Phase.DONE:
                if isinstance(event, Replaced):
                    event.made.close()
                return
            self._past_activity += guest.activity
            del self._members[process]
            self.executables.pop(guest)
            if isinstance(event, Replaced):
                assert isinstance(event.made, Guest)
                try:
                    self.born(event.made)
                except OSError as error:
                    self.phase = Phase.DONE
                    self._events.put(Failed(error))
            self._tell_if_stopped()
        if guest is self.first or not guest.close(_CLOSE_SECONDS):
            self._gone.append(guest)  # a saver may be looking at the memory of the first


def _not_run(error: WasnapError) -> OSError:
    """What a guest hears of it. That a file is no module is nothing to tell people: shells try."""
    if not isinstance(error, InvalidModule):
        _log.warning("a program is not run: %s", error)
    return OSError(errno.ENOEXEC, str(error))


def _status(process: int, event: Event) -> tuple[int, int]:
    """Exit code and signal of a process that is over."""
    match event:
        case Exited(code, signal):
            return code, signal
        case Trapped(trap):
            where = "".join(f", in {name}" for name in trap.frames[:_FRAMES_SHOWN])
            _log.warning("process %d trapped: %s%s", process, trap, where)
            return _ABORTED, _SIGABRT
        case _:
            assert isinstance(event, Finished)
            return 0, 0
