"""A guest with all its threads, and the supervisor's hold on it.

The guest's threads report by events; a supervisor (any other thread) asks for stops, captures, and
lets it go on. What it sees is the guest as a whole::

           start               proceed
    NEW ----------> RUNNING <----------- STOPPED <---- restore, on a NEW guest
                     | |                    ^
                     | `----- Stopped ------'
                     `------- Exited, Finished, Trapped, Failed -----> DONE

Stopping the world: every thread that runs is asked, and Stopped is told when none runs any more.
One that stops of itself (its countdown ended, or a host call suspended) makes all others stop. A
thread that is spawned meanwhile is kept READY: it counts as stopped, is part of the state, and
begins when the guest goes on. One that ends meanwhile is simply gone. The main thread's end, a trap
or an exit in any thread is the end of the guest: it is told at once, and the others are asked to
stop and never go on.

A thread that is asked while the world is not asked to stop is *interrupted*: it stops alone, runs
what its interrupter has for it (``interruptions.py``), and goes on. So does one whose host call
unwinds. For a fork one thread has all others of its guest stand *still*: they are asked, stop one by
one, and go on when it has the copy of the memory. A stop of the world in between goes before; it is
told when the thread that waits for them has given that up, and they count as stopped already.

The stop words are set by ``stop`` (and by the guest, when its countdown ends or a host call suspends
of itself) and cleared by ``proceed`` alone, under the lock, before the threads are told: a
stop asked for after ``proceed`` returned is never lost. A stop asked for while the guest is stopped
is void: whoever asks leaves the reason where the supervisor looks again after ``proceed``.
"""

from __future__ import annotations

import atexit
import enum
import errno
import os
import queue
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from wasnap.engine.call import Wake
from wasnap.engine.code import Program
from wasnap.engine.image import MemoryImage, copy_of
from wasnap.engine.imports import Provide
from wasnap.engine.machine import Machine
from wasnap.engine.memory import GuestMemory
from wasnap.engine.objects import EngineError
from wasnap.engine.sharing import check_threads, shared_memories
from wasnap.engine.stack import Frame
from wasnap.engine.state import (
    EngineState,
    Event,
    Finished,
    PendingCall,
    Replaced,
    Stopped,
    ThreadState,
)
from wasnap.engine.thread import GuestThread, Step
from wasnap.errors import CannotResume, Unsaveable, WasnapError
from wasnap.host.protocol import Audience, Call, Exec, Loaded, Made, Provider
from wasnap.wasm.types import FuncType

THREADS_MAX = 1024
"""Guest threads at one time."""

_open: weakref.WeakSet[Guest] = weakref.WeakSet()


class Phase(enum.Enum):
    """Where a guest stands; see the module's picture."""

    NEW = "new"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class Kin(Protocol):
    """All processes of a tree, as one of them sees them: ``family.py``."""

    lock: threading.RLock
    host_lock: threading.Lock

    def heard(self, guest: Guest, event: Event) -> None: ...
    def forked(self, parent: Guest, child: Guest) -> None: ...
    def born(self, guest: Guest) -> None: ...
    def load(self, call: Call, module: bytes) -> Loaded: ...
    def make(self, process: int, loaded: Loaded, provider: Provider) -> Guest: ...
    def all_wait(self) -> bool: ...


class Guest:
    """One guest's world. All public methods are for supervisors, from any thread.

    ``provide(module, name)`` gives what the guest imports. Raises UnknownImport where it gives
    nothing, or something of another type, UnsupportedModule for threads that could not be saved.
    Close it when done (or use ``with``). ``family``: what it belongs to, which then hears of its
    events instead of ``wait``; ``process``: its number there;
    ``locked``: its host functions take turns with those of others, as do those of its threads.
    """

    def __init__(
        self,
        program: Program,
        provide: Provide,
        *,
        name: str = "guest",
        family: Kin | None = None,
        process: int = 1,
        locked: bool = False,
    ) -> None:
        self.program = program
        self.name = name
        self.process = process
        self._provide = provide
        self._family = family
        self._phase = Phase.NEW
        self._stopping = False
        self._holder: GuestThread | None = None
        """For which all others stand still."""
        # A signal's handler may stop while its own thread holds it.
        self._lock = threading.RLock() if family is None else family.lock
        self.host_lock = threading.Lock() if family is None else family.host_lock
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._audience: Audience | None = None
        self._countdown = 0
        self._past_activity = 0
        self._shared = shared_memories(program)
        self._locked = locked or bool(self._shared)
        self._threads: dict[int, GuestThread] = {}
        try:
            self._main = self._threads[0] = self._new_thread(0)
            self._interrupter = self._main.machine.interrupter
            check_threads(program, self._main.machine)
        except BaseException:
            self._free_all()
            raise
        _open.add(self)

    @property
    def memories(self) -> tuple[GuestMemory, ...]:
        """The guest's memories, in order. To be read and written only while it is stopped."""
        return self._main.machine.memories

    @property
    def phase(self) -> Phase:
        """Where the guest stands."""
        return self._phase

    @property
    def pending(self) -> PendingCall | None:
        """The host call that the main thread of a stopped guest waits in, if it waits in one."""
        return self._main.machine.pending

    @property
    def has_handlers(self) -> bool:
        """Whether it may have something run that interrupts it."""
        return self._interrupter is not None

    @property
    def threads(self) -> list[int]:
        """The numbers of its threads."""
        return sorted(self._threads)

    @property
    def countdown(self) -> int:
        """Safepoints left until the main thread of a counted program stops itself; 0: it did, or
        never."""
        return self._main.machine.control.countdown

    @property
    def activity(self) -> int:
        """A number that grows whenever the guest has run, or come closer to running again."""
        with self._lock:
            now = sum(thread.machine.call.activity for thread in self._threads.values())
            return self._past_activity + now

    def listen(self, audience: Audience) -> None:
        """Tell ``audience`` what the guest is about to do. Before it is started."""
        with self._lock:
            self._audience = audience
            for thread in self._threads.values():
                thread.machine.call.listen(audience)

    def start(self, entry: str = "_start", args: Sequence[int] = (), *, countdown: int = 0) -> None:
        """Begin a fresh run of an export, after the start function and ``_initialize``.

        ``args``: raw values (unsigned ints with the value's bits). ``countdown``, for counted
        programs: stop at the n-th safepoint of a thread, whichever comes first. Raises
        UnsupportedModule if there is no such export, UsageError for arguments that do not fit it.
        """
        with self._lock:
            self._expect(Phase.NEW)
            self._main.machine.begin(entry, args)
            self._run(countdown)

    def ready(self, entry: str = "_start") -> None:
        """Have it stand before the begin of an export, as if it was stopped there. Raises like
        ``start``."""
        with self._lock:
            self._expect(Phase.NEW)
            self._main.machine.begin(entry, ())
            self._phase = Phase.STOPPED

    def call(self, entry: str, args: Sequence[int] = (), *, countdown: int = 0) -> None:
        """Run one export and nothing before it, on a new guest or again on one that is done.

        The rest as for ``start``.
        """
        with self._lock:
            if self not in _open:
                raise RuntimeError("the guest is closed")
            if self._phase is not Phase.DONE:
                self._expect(Phase.NEW)
            self._main.machine.begin_call(entry, args)
            self._main.machine.begun = False
            self._run(countdown)

    def signature(self, entry: str) -> FuncType:
        """The type of an exported function. Raises UnsupportedModule if there is none."""
        return self._main.machine.signature(entry)

    def global_value(self, name: str) -> tuple[int, int]:
        """Type and raw value of an exported global. Raises UnsupportedModule if there is none."""
        return self._main.machine.global_value(name)

    def stop(self) -> None:
        """Ask a running guest to stop: Stopped follows, or how it ended.

        Void in every other phase. May be called from a signal handler.
        """
        with self._lock:
            if self._phase is Phase.RUNNING:
                self._ask_all()

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
            self._run(countdown)

    def capture(self) -> EngineState:
        """A stopped guest as plain data, but for what its ``memories`` hold. Raises Unsaveable."""
        with self._lock:
            self._expect(Phase.STOPPED)
            return EngineState(
                memories=tuple(memory.size for memory in self.memories),
                threads=tuple(
                    self._threads[number].machine.capture() for number in sorted(self._threads)
                ),
            )

    def restore(self, state: EngineState, images: Sequence[MemoryImage]) -> None:
        """Make a new guest equal to a captured one; it is then stopped. Raises CannotResume.

        ``images``: what the memories hold, of the sizes that the state tells.
        """
        with self._lock:
            self._expect(Phase.NEW)
            sizes = tuple(image.size for image in images)
            if sizes != state.memories or len(sizes) != len(self.memories):
                raise CannotResume("the snapshot's memories are not the program's")
            numbers = [thread.thread for thread in state.threads]
            if numbers != sorted(set(numbers)) or numbers[:1] != [0]:
                raise CannotResume("the snapshot's threads are not those of one process")
            if len(numbers) > 1 and self._main.machine.spawns is None:
                raise CannotResume("the snapshot has threads, and the program starts none")
            for saved in state.threads[1:]:  # making an instance may write to shared memory
                self._threads[saved.thread] = self._new_thread(saved.thread)
            for memory, image in zip(self.memories, images, strict=True):
                memory.restore(image)
            for saved in state.threads:
                self._restore_thread(self._threads[saved.thread], saved)
            self._phase = Phase.STOPPED

    def frames(self, thread: int = 0) -> list[Frame]:
        """The call frames of one thread of a stopped guest, innermost first."""
        with self._lock:
            self._expect(Phase.STOPPED)
            return self._threads[thread].machine.frames()

    def close(self, timeout: float | None = 5.0) -> bool:
        """End the guest, stopping it first if it runs, and free its memory.

        False if it did not stop within ``timeout`` seconds; then its threads and memory stay.
        """
        with self._lock:
            self._ask_all()
            waited_for = list(self._threads.values())
        until = None if timeout is None else time.monotonic() + timeout
        for thread in waited_for:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not thread.dismiss(left):
                return False
        with self._lock:
            if self in _open:
                _open.discard(self)
                self._end_interruptions()
                self._phase = Phase.DONE
                self._free_all()
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

    # -- for its threads (call.Company) ------------------------------------------------------

    def spawn(self, number: int, args: tuple[int, ...], stack_pointer: int | None = None) -> None:
        """See ``host.protocol.Call.spawn``."""
        if number in self._threads:
            raise FileExistsError(errno.EEXIST, f"there is a thread {number}")
        if len(self._threads) >= THREADS_MAX:
            raise OSError(errno.EAGAIN, "too many threads")
        try:
            thread = self._new_thread(number)
        except (WasnapError, EngineError, MemoryError) as error:
            raise OSError(errno.EAGAIN, f"no further thread: {error}") from None
        try:
            thread.machine.begin_thread(args, stack_pointer)
            with self._lock:
                if self._phase is not Phase.RUNNING:
                    raise OSError(errno.EAGAIN, "the process ends")
                self._threads[number] = thread
                if self._stopping:
                    return
                try:
                    thread.prepare(self._countdown)
                    thread.order(thread.machine.go_on)
                except RuntimeError:
                    del self._threads[number]
                    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
        except BaseException:
            thread.free()
            raise

    def all_wait(self) -> bool:
        """Whether no thread runs, of any process: each waits in a host call."""
        return self.threads_wait() if self._family is None else self._family.all_wait()

    def threads_wait(self) -> bool:
        """The same of its own threads."""
        with self._lock:
            return all(
                thread.step is Step.RUNNING and thread.machine.call.waiting
                for thread in self._threads.values()
            )

    def interrupt(self, thread: int) -> bool:
        """See ``host.protocol.Call.interrupt``. One that does not run will ask when it does."""
        with self._lock:
            found = self._threads.get(thread)
            if found is not None and found.step is Step.RUNNING:
                found.ask()
            return found is not None

    def spare(self, thread: int) -> bool:
        """See ``call.Company.spare``."""
        with self._lock:
            control = self._threads[thread].machine.control
            if self._phase is not Phase.RUNNING or self._stopping or self._holder is not None:
                return False
            asked, control.stop = control.stop, False
            return asked

    def lives(self, thread: int) -> bool:
        """See ``host.protocol.Call.lives``."""
        return thread in self._threads

    def alone(self) -> bool:
        """See ``host.protocol.Call.alone``."""
        return len(self._threads) == 1

    @contextmanager
    def still(self, thread: int) -> Iterator[None]:
        """See ``host.protocol.Call.still``."""
        holder = self._threads[thread]
        over = False
        try:
            holder.machine.call.park(lambda: self._hold_others(holder), None)
            yield
        except Exec:
            over = True
            raise
        finally:
            if not over:
                self._let_go(holder)

    def fork(self, thread: int, process: int, provider: Provider) -> None:
        """See ``host.protocol.Call.fork``."""
        try:
            state = self._threads[thread].machine.fork()
        except Unsaveable as error:
            raise OSError(errno.ENOTSUP, str(error)) from None
        provide = provider(self.program.info.imports)
        try:
            child = Guest(
                self.program,
                provide,
                name=self.name,
                family=self._family,
                process=process,
                locked=True,
            )
        except (WasnapError, EngineError, MemoryError) as error:
            raise OSError(errno.EAGAIN, f"no further process: {error}") from None
        try:
            images = [copy_of(memory) for memory in self.memories]
            child.restore(EngineState(tuple(image.size for image in images), (state,)), images)
            self._kin.forked(self, child)
            self._kin.born(child)
        except BaseException:
            child.close()
            raise

    def load(self, call: Call, module: bytes) -> Loaded:
        """See ``host.protocol.Call.load``."""
        return self._kin.load(call, module)

    def make(self, process: int, loaded: Loaded, provider: Provider) -> Guest:
        """See ``host.protocol.Call.make``."""
        return self._kin.make(process, loaded, provider)

    def begin(self, made: Made) -> None:
        """See ``host.protocol.Call.begin``."""
        assert isinstance(made, Guest)
        self._kin.born(made)

    @property
    def _kin(self) -> Kin:
        if self._family is None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return self._family

    # -- below -------------------------------------------------------------------------------

    def _expect(self, phase: Phase) -> None:
        if self._phase is not phase:
            raise RuntimeError(f"the guest is {self._phase.value}, not {phase.value}")

    def _new_thread(self, number: int) -> GuestThread:
        wake = Wake()
        try:
            machine = Machine(
                self.program,
                self._provide,
                wake,
                self._shared,
                number,
                self,
                locked=self._locked,
            )
        except BaseException:
            wake.close()
            raise
        if self._audience is not None:
            machine.call.listen(self._audience)
        name = f"{self.name}-{number}" if number else self.name
        return GuestThread(machine, wake, self._report, name)

    def _restore_thread(self, thread: GuestThread, saved: ThreadState) -> None:
        thread.machine.restore(saved)
        thread.step = Step.STOPPED if saved.begun else Step.READY

    def _run(self, countdown: int) -> None:
        """Have all threads run that can."""
        self._stopping = False
        self._countdown = countdown
        self._phase = Phase.RUNNING
        threads = list(self._threads.values())
        for thread in threads:
            thread.prepare(countdown)
        for thread in threads:
            thread.order(thread.machine.go_on)
            if self._stopping:  # a signal's handler came in between
                thread.ask()
        if self._interrupter is not None:
            self._interrupter.begin(self.interrupt)

    def _ask_all(self) -> None:
        self._stopping = True
        for thread in self._threads.values():
            if thread.step is Step.RUNNING:
                thread.ask()

    def _report(self, thread: GuestThread, event: Event) -> bool:
        """A thread stopped or ended; whether it may get further orders, and is not to be freed."""
        with self._lock:
            if isinstance(event, Stopped) and self._held(thread):
                self._unpark_holder()
                return True
            if isinstance(event, Stopped) and self._alone(thread):
                thread.again()
                return True
            thread.step = Step.STOPPED if isinstance(event, Stopped) else Step.DONE
            if self._phase is Phase.DONE:  # it stays until the guest is closed
                if isinstance(event, Replaced):
                    event.made.close()
                return True
            if isinstance(event, Stopped):
                if not self._stopping:
                    self._ask_all()
                self._tell_if_stopped()
                return True
            if isinstance(event, Finished) and thread is not self._main:
                del self._threads[thread.number]
                self._past_activity += thread.machine.call.activity
                for other in self._threads.values():  # those that wait for its end
                    other.machine.call.thread_ended()
                self._unpark_holder()
                self._tell_if_stopped()
                return False
            self._end_interruptions()
            self._phase = Phase.DONE
            self._tell(event)
            self._ask_all()
            return True

    def _alone(self, thread: GuestThread) -> bool:
        """Whether a thread stopped for itself only, and the guest runs on."""
        return self._runs_on(thread) and thread.machine.stopped_for_itself()

    def _runs_on(self, thread: GuestThread) -> bool:
        """Whether the guest may run on although this thread stopped: its countdown is not over."""
        counted = self._countdown and not thread.machine.control.countdown
        return self._phase is Phase.RUNNING and not self._stopping and not counted

    # -- while all but one stand still -------------------------------------------------------

    def _hold_others(self, holder: GuestThread) -> bool:
        """Ask all others to stand still; whether they do."""
        with self._lock:
            if self._holder is None:
                self._holder = holder
            others = [
                thread
                for thread in self._threads.values()
                if thread is not holder and thread.step is Step.RUNNING
            ]
            for thread in others if self._holder is holder else ():
                thread.ask()
            return self._holder is holder and not others

    def _held(self, thread: GuestThread) -> bool:
        """Whether a thread that stopped is to stay so until it is let go."""
        held = self._holder not in (None, thread) and self._runs_on(thread)
        if not held or not thread.machine.stopped_as_asked():
            return False
        thread.step = Step.STOPPED
        return True

    def _unpark_holder(self) -> None:
        if self._holder is not None:
            self._holder.machine.call.unpark()

    def _let_go(self, holder: GuestThread) -> None:
        """Have all go on that stood still; if all are to stop, they have."""
        with self._lock:
            if self._holder is not holder:
                return
            self._holder = None
            if self._phase is Phase.RUNNING and not self._stopping:
                for thread in self._threads.values():
                    if thread.step is Step.STOPPED:
                        thread.again()

    def _tell(self, event: Event) -> None:
        if self._family is None:
            self._events.put(event)
        else:
            self._family.heard(self, event)

    def _end_interruptions(self) -> None:
        if self._interrupter is not None:
            self._interrupter.end()

    def _tell_if_stopped(self) -> None:
        if self._stopping and all(t.step is not Step.RUNNING for t in self._threads.values()):
            self._end_interruptions()
            self._phase = Phase.STOPPED
            self._tell(Stopped())

    def _free_all(self) -> None:
        for thread in self._threads.values():
            thread.free()
        for memory in self._shared.values():
            memory.close()


@atexit.register
def _close_all() -> None:
    """A thread that is inside the engine when the interpreter goes away would abort the process."""
    for guest in list(_open):
        guest.close(1.0)
