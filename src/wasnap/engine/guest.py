"""A guest thread: a machine on an OS thread of its own, and the supervisor's hold on it.

The thread is made with a stack deep enough for the guest. It reports by events; a supervisor (any
other thread) asks for stops, captures, and lets it go on::

           start               proceed
    NEW ----------> RUNNING <----------- STOPPED <---- restore, on a NEW guest
                     | |                    ^
                     | `----- Stopped ------'
                     `------- Exited, Finished, Trapped, Failed -----> DONE

The stop word is set by ``stop`` (and by the guest, when its countdown ends or a host call suspends
of itself) and cleared by ``proceed`` alone, under the lock, before the guest's thread is told: a
stop asked for after ``proceed`` returned is never lost. A stop asked for while the guest is stopped
is void: whoever asks leaves the reason where the supervisor looks again after ``proceed``.
"""

from __future__ import annotations

import atexit
import enum
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType

from wasnap.engine import config
from wasnap.engine.call import Wake
from wasnap.engine.code import Program
from wasnap.engine.image import MemoryImage
from wasnap.engine.imports import Provide
from wasnap.engine.machine import Machine
from wasnap.engine.memory import GuestMemory
from wasnap.engine.stack import Frame
from wasnap.engine.state import EngineState, Event, Failed, PendingCall, Stopped
from wasnap.host.protocol import Audience
from wasnap.wasm.types import FuncType

_stack_size = threading.Lock()
_open: weakref.WeakSet[Guest] = weakref.WeakSet()


class Phase(enum.Enum):
    """Where a guest stands; see the module's picture."""

    NEW = "new"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class Guest:
    """One guest thread's world. All public methods are for supervisors, from any thread.

    ``provide(module, name)`` gives what the guest imports. Raises UnknownImport where it gives
    nothing, or something of another type. Close it when done (or use ``with``).
    """

    def __init__(self, program: Program, provide: Provide, *, name: str = "guest") -> None:
        self.program = program
        self.name = name
        self._wake = Wake()
        self._machine = Machine(program, provide, self._wake)
        self._phase = Phase.NEW
        self._lock = threading.RLock()  # a signal handler may stop while its own thread holds it
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Callable[[], Event] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        _open.add(self)

    @property
    def memories(self) -> tuple[GuestMemory, ...]:
        """The guest's memories, in order. To be read and written only while it is stopped."""
        return self._machine.memories

    @property
    def phase(self) -> Phase:
        """Where the guest stands."""
        return self._phase

    @property
    def pending(self) -> PendingCall | None:
        """The host call that a stopped guest waits in, if it waits in one."""
        return self._machine.pending

    @property
    def countdown(self) -> int:
        """Safepoints left until a guest of a counted program stops itself; 0: it did, or never."""
        return self._machine.control.countdown

    @property
    def activity(self) -> int:
        """A number that grows whenever the guest has run, or come closer to running again."""
        return self._machine.call.activity

    def listen(self, audience: Audience) -> None:
        """Tell ``audience`` what the guest is about to do. Before it is started."""
        self._machine.call.listen(audience)

    def start(self, entry: str = "_start", args: Sequence[int] = (), *, countdown: int = 0) -> None:
        """Begin a fresh run of an export, after the start function and ``_initialize``.

        ``args``: raw values (unsigned ints with the value's bits). ``countdown``, for counted
        programs: stop at the n-th safepoint. Raises UnsupportedModule if there is no such export,
        UsageError for arguments that do not fit it.
        """
        with self._lock:
            self._expect(Phase.NEW)
            self._machine.begin(entry, args)
            self._machine.control.countdown = countdown
            self._order(self._machine.run)

    def call(self, entry: str, args: Sequence[int] = (), *, countdown: int = 0) -> None:
        """Run one export and nothing before it, on a new guest or again on one that is done.

        The rest as for ``start``.
        """
        with self._lock:
            if self not in _open:
                raise RuntimeError("the guest is closed")
            if self._phase is not Phase.DONE:
                self._expect(Phase.NEW)
            self._machine.begin_call(entry, args)
            self._machine.control.countdown = countdown
            self._wake.clear()
            self._order(self._machine.run)

    def signature(self, entry: str) -> FuncType:
        """The type of an exported function. Raises UnsupportedModule if there is none."""
        return self._machine.signature(entry)

    def global_value(self, name: str) -> tuple[int, int]:
        """Type and raw value of an exported global. Raises UnsupportedModule if there is none."""
        return self._machine.global_value(name)

    def stop(self) -> None:
        """Ask a running guest to stop at its next safepoint: Stopped follows, or how it ended.

        Void in every other phase. May be called from a signal handler.
        """
        with self._lock:
            if self._phase is Phase.RUNNING:
                self._machine.control.stop = True
                self._wake.set()

    def wait(self, timeout: float | None = None) -> Event | None:
        """The next event; None if none came within ``timeout`` seconds, or after ``nudge``."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def nudge(self) -> None:
        """Make ``wait`` return None, now or the next time; whoever waits has something to do."""
        self._events.put(None)

    def proceed(self, *, countdown: int = 0) -> None:
        """Let a stopped (or restored) guest go on.

        ``countdown``: as for ``start``, not counting the safepoint where it stands.
        """
        with self._lock:
            self._expect(Phase.STOPPED)
            if countdown and self._machine.at_loop():
                countdown += 1
            self._machine.control.stop = False
            self._machine.control.countdown = countdown
            self._wake.clear()
            self._order(self._machine.go_on)

    def capture(self) -> EngineState:
        """A stopped guest as plain data, but for what its ``memories`` hold. Raises Unsaveable."""
        with self._lock:
            self._expect(Phase.STOPPED)
            return self._machine.capture()

    def restore(self, state: EngineState, images: Sequence[MemoryImage]) -> None:
        """Make a new guest equal to a captured one; it is then stopped. Raises CannotResume.

        ``images``: what the memories hold, of the sizes that the state tells.
        """
        with self._lock:
            self._expect(Phase.NEW)
            self._machine.restore(state, images)
            self._phase = Phase.STOPPED

    def frames(self) -> list[Frame]:
        """The call frames of a stopped guest, innermost first."""
        with self._lock:
            self._expect(Phase.STOPPED)
            return self._machine.frames()

    def close(self, timeout: float | None = 5.0) -> bool:
        """End the guest, stopping it first if it runs, and free its memory.

        False if it did not stop within ``timeout`` seconds; then its thread and memory stay.
        """
        self.stop()
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        with self._lock:
            if self in _open:
                _open.discard(self)
                self._phase = Phase.DONE
                self._machine.close()
                self._wake.close()
        return True

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _expect(self, phase: Phase) -> None:
        if self._phase is not phase:
            raise RuntimeError(f"the guest is {self._phase.value}, not {phase.value}")

    def _order(self, what: Callable[[], Event]) -> None:
        """Have the guest's thread do this."""
        self._phase = Phase.RUNNING
        self._orders.put(what)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
            with _stack_size:  # it is the process's, and read when a thread starts
                before = threading.stack_size(config.THREAD_STACK)
                try:
                    self._thread.start()
                finally:
                    threading.stack_size(before)

    def _serve(self) -> None:
        """The guest's thread: do what is ordered, report what came of it."""
        while (what := self._orders.get()) is not None:
            try:
                event = what()
            except BaseException as error:
                event = Failed(error)
            with self._lock:
                self._phase = Phase.STOPPED if isinstance(event, Stopped) else Phase.DONE
            self._events.put(event)


@atexit.register
def _close_all() -> None:
    """A thread that is inside the engine when the interpreter goes away would abort the process."""
    for guest in list(_open):
        guest.close(1.0)
