"""All that the engine and the host know of each other.

The engine gives every guest thread one ``Call``; a host function receives it with each call, reads
and writes guest memory through it, and waits through it and through nothing else, so that a stop
reaches a guest thread that blocks.

How a stop meets a host call::

    guest calls f ---> f(call, a, b)          call.progress is None
                         call.wait(...)       a stop comes: raises Stop
                       f raises Suspended({"deadline": 17})
    ... the guest thread unwinds; snapshot; it goes on, here or in another process ...
                       f(call, a, b)          call.progress == {"deadline": 17}
                       f returns 0 ---------> the guest goes on behind its call, with 0

Invariants:

- ``Suspended`` means that nothing observable was done that ``progress`` does not tell: what was
  already written to guest memory or to the world must not be done again when the call is completed.
- A ``Stop`` that a host function lets pass counts as ``Suspended`` with the progress the call had
  when it began (``{}`` for a new call): the whole call is done again later.
- Guest threads run at the same time, host functions do not (``HostFunction.alone``). After a wait
  the world may be another one: a descriptor closed, what was there to read read by another thread.
- A call that never waits is never suspended: the guest stops at its next safepoint instead.
- ``Unwind`` concerns one thread: it unwinds, and goes on at once by completing the call. In between
  it runs what its ``Interrupter`` has for it: exports of the guest that are to be called, one after
  the other or one inside the other, before what they interrupt goes on (a signal's handlers). A call
  that waited when its thread was interrupted is completed with ``call.interrupted`` set.
- A host function says what it is ``about_to`` do before it does anything, so that a trigger can have
  a snapshot first: the call is then suspended, and done after it.
- Guest errors are errno values in results. An exception that is none of those below is a fault of
  the host: it ends the guest thread and reaches the supervisor as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from ..instrument.abi import ImportInfo

Progress: TypeAlias = dict[str, Any]
"""What a suspended call has done so far: msgpack-able (str keys; ints, bytes, str, lists, ...)."""

Result: TypeAlias = int | float | bytes | tuple[int | float | bytes, ...] | None
"""What a host function returns: None, one value, or a tuple of values; v128 is 16 bytes.

Ints may be signed or unsigned: they are taken modulo 2**32 or 2**64.
"""


STDIN = "stdin"
LISTEN = "listen"
OUTSIDE = "nondeterministic"
IDLE = "idle"
EXPLICIT = "explicit"
"""What a guest can be about to do: read its standard input, wait for a connection, make a
call whose answer comes from outside, go on waiting, ask for a snapshot. They are called as the
triggers are that wait for them; so are signals that the guest sends itself (``sigterm``)."""


class Fault(Exception):
    """An access outside guest memory: ``address`` (bytes), ``length`` (bytes), memory ``size``."""

    def __init__(self, address: int, length: int, size: int) -> None:
        super().__init__(f"{length} bytes at 0x{address:x} lie outside memory of 0x{size:x} bytes")
        self.address = address
        self.length = length
        self.size = size


class Stop(Exception):
    """Raised by ``Call.wait``: a stop came. Let it pass, or catch it and raise ``Suspended``."""


class Suspended(Exception):
    """The call was interrupted by a stop; it is to be completed later, from ``progress``."""

    def __init__(self, progress: Progress | None = None) -> None:
        super().__init__()
        self.progress: Progress = {} if progress is None else progress


class Exit(Exception):
    """The guest asked to end with ``code`` (WASI ``proc_exit``). ``signal``: what ended it, by the
    guest's number; 0: nothing did."""

    def __init__(self, code: int, signal: int = 0) -> None:
        super().__init__(f"exit {code}")
        self.code = code
        self.signal = signal


class Exec(Exception):
    """The process goes on as another program: ``made``, as ``Call.make`` gave it."""

    def __init__(self, made: Made) -> None:
        super().__init__("another program takes its place")
        self.made = made


class Unwind(Suspended):
    """The call is to be completed once its thread is unwound. Only where ``call.may_stop()``."""


class ThreadExit(Exception):
    """A guest thread other than the main one asked to end itself alone."""


class Made(Protocol):
    """A process that is ready to run; the engine's own."""

    def close(self, timeout: float | None = ...) -> bool:
        """It is not needed."""


Interruption: TypeAlias = tuple[str, tuple[int, ...]]
"""An export of the guest without results, and its i32 arguments."""


class Inside(NamedTuple):
    """``what`` a thread is inside of; ``by_table``: whether that has called what it called last
    through a table, and not by name."""

    what: Interruption
    by_table: bool


class StackCopy(msgspec.Struct, frozen=True):
    """A guest thread's call stack, for the thread that it was copied of; the engine's own words.

    ``depth``: how many interruptions it was inside of; ``stack_pointer``: the global of this name.
    """

    frames: bytes
    refs: list[int]
    depth: int
    stack_pointer: int | None


class Memory(Protocol):
    """Guest linear memory 0. Addresses are unsigned; little-endian; all raise ``Fault``."""

    @property
    def size(self) -> int:
        """Present size in bytes."""

    def read(self, ptr: int, n: int) -> bytes:
        """A copy of n bytes."""

    def write(self, ptr: int, data: bytes | bytearray | memoryview) -> None:
        """Store the bytes."""

    def view(self, ptr: int, n: int) -> memoryview:
        """A writable window of n bytes (format "B"). Never kept beyond the host call."""

    def u8(self, ptr: int) -> int: ...
    def u16(self, ptr: int) -> int: ...
    def u32(self, ptr: int) -> int: ...
    def u64(self, ptr: int) -> int: ...
    def set_u8(self, ptr: int, value: int) -> None: ...
    def set_u16(self, ptr: int, value: int) -> None: ...
    def set_u32(self, ptr: int, value: int) -> None: ...
    def set_u64(self, ptr: int, value: int) -> None:
        """Values are taken modulo the width."""

    def atomic(self, ptr: int, width: int) -> int:
        """The number of ``width`` (4 or 8) bytes at a multiple of it, as one load."""


class Call(Protocol):
    """What a host function sees of the guest thread that calls it (one object for its life)."""

    @property
    def thread(self) -> int:
        """The guest thread's number; 0 is the main thread."""

    @property
    def memory(self) -> Memory:
        """The guest's memory 0."""

    @property
    def memories(self) -> Sequence[Memory]:
        """All of them."""

    @property
    def progress(self) -> Progress | None:
        """None for a new call; what ``Suspended`` carried when a call is being completed."""

    @property
    def depth(self) -> int:
        """How many interruptions the thread is inside of."""

    @property
    def interrupted(self) -> bool:
        """Whether the thread was interrupted since this call, which is completed, was suspended."""

    def interrupt(self, thread: int) -> bool:
        """Have guest thread ``thread`` ask its ``Interrupter`` soon; False: it has ended."""

    def about_to(self, *occasions: str) -> None:
        """Say what the call is going to do, before anything is done.

        Raises ``Stop`` if there is to be a snapshot before.
        """

    def may_stop(self) -> bool:
        """Whether the call may suspend: nothing below it on the stack forbids it."""

    def stopping(self) -> bool:
        """Whether a stop is asked for and the call may suspend. Cheap."""

    def wait(
        self, reads: Sequence[int], writes: Sequence[int], timeout_ns: int | None
    ) -> tuple[list[int], list[int]]:
        """Wait until a descriptor is ready or the time is over; the ready reads and writes.

        ``timeout_ns`` counts from now (None: for ever; 0: only look). Regular files are always
        ready; so are descriptors with an error, a hang-up, or that are closed: the operation
        itself then tells. Both lists empty: the time is over. Raises ``Stop`` when a stop is
        asked for, nothing is ready, there is time left, and the call may suspend.
        """

    def park(self, done: Callable[[], bool], timeout_ns: int | None) -> bool:
        """Wait until ``done()``, which is asked now and after each ``unpark``; whether it is.

        ``timeout_ns`` and ``Stop``: as for ``wait``.
        """

    def unpark(self) -> None:
        """Have a ``park`` of this thread, now or later, look again. For other guest threads, while
        this one is sure to live."""

    def spawn(self, thread: int, args: tuple[int, ...], stack_pointer: int | None = None) -> None:
        """Start guest thread ``thread`` in the export that the host function's ``spawns`` names,
        with its ``__stack_pointer`` at that address if one is given.

        Raises FileExistsError if there is one of this number, OSError (EAGAIN) where there cannot
        be one more.

        If a stop is asked for it begins when the process goes on.
        """

    def lives(self, thread: int) -> bool:
        """Whether guest thread ``thread`` has not ended. A thread that parks looks again when
        another ends."""

    def alone(self) -> bool:
        """Whether all other guest threads have ended."""

    def exports(self, name: str) -> bool:
        """Whether the guest exports a function of this name."""

    def interruption(self) -> Inside | None:
        """The innermost of those the thread is inside of. Of a call that raised ``Unwind`` and is
        completed now."""

    def abandon(self) -> None:
        """Have this call, which raised ``Unwind`` and is completed now, not return: the innermost
        interruption is over, and what it interrupted goes on as if it had not been."""

    def copy_stack(self) -> StackCopy:
        """The thread's call stack, up to this call, which raised ``Unwind`` and is completed now."""

    def replace_stack(self, copy: StackCopy, results: tuple[int, ...]) -> None:
        """Have this call, which raised ``Unwind`` and is completed now, not return: what was copied
        goes on behind the call that copied it, which returns ``results`` once more. Interruptions
        that began since are over. Raises LookupError if those it was inside of are over."""

    def still(self) -> AbstractContextManager[None]:
        """While one is in it, no other thread of this process runs: what memory holds is of one
        moment. Entering it waits like ``park``. If it is left by ``Exec`` none ever runs again."""

    def fork(self, process: int, provider: Provider) -> None:
        """A further process, ``process``, with a copy of all memory and of this thread, which is
        unwound: this call, which raised ``Unwind`` and is completed now, is completed there, too,
        with ``progress`` FORKED. Raises OSError: EAGAIN, ENOTSUP where it cannot be had."""

    def load(self, module: bytes) -> Loaded:
        """The code of a module. It may have to be compiled: waits like ``park``. Raises OSError
        (ENOEXEC) for what cannot be run."""

    def make(self, process: int, loaded: Loaded, provider: Provider) -> Made:
        """A process that begins in ``_start``, not running yet: for ``begin``, or ``Exec``. Raises
        OSError (ENOEXEC, EAGAIN)."""

    def begin(self, made: Made) -> None:
        """Have a further process run, now or when the world goes on. Raises OSError (EAGAIN)."""


class Audience(Protocol):
    """Whoever wants to know what the guest is about to do; called by the guest's thread."""

    @property
    def idle_ns(self) -> int | None:
        """Waiting for longer than this is an occasion, ``IDLE``. None: it is not."""

    def hear(self, call: Call, occasions: tuple[str, ...]) -> None:
        """Raises ``Stop`` if there is to be a snapshot before (and ``call.may_stop()``)."""


FORKED: Progress = {"forked": 1}
"""Of a call of ``proc_fork`` that is completed in the child."""


class Registry(Protocol):
    """Who keeps the list of processes. Called with the lock of host functions held."""

    def ended(self, process: int, code: int, signal: int) -> None:
        """A process, but not the first one, has."""


class Interrupter(Protocol):
    """Whoever has something for guest threads to run. Called with the guest's lock held, but for
    ``next``, and therefore with none of its own held when it calls ``interrupt``."""

    def next(
        self, call: Call, inside: Sequence[Interruption], has: Callable[[str], bool]
    ) -> Interruption | None:
        """What this thread, which is unwound, is to run before it goes on; None: nothing more.

        ``inside``: what it is inside of, outermost first; ``has(name)``: whether the guest exports
        a function of this name, which may be called now. Raises ``Exit`` if the process is to end,
        ``Stop`` if there is to be a snapshot before; then it is asked again.
        """

    @property
    def in_loops(self) -> bool:
        """Whether a thread that does not wait may be interrupted at the header of a loop."""

    def restarts(self, args: tuple[int, ...]) -> bool:
        """Whether a call goes on waiting after an interruption with these arguments."""

    def begin(self, interrupt: Callable[[int], bool]) -> None:
        """The guest runs. ``interrupt``: as ``Call.interrupt``, for any thread of ours."""

    def end(self) -> None:
        """It does not run any more."""


ELSEWHERE = " elsewhere"
"""Added to a signal's name where its effect is on another process than the first."""
INTERRUPTER = ("wasnap.host", "interrupter")
"""No import: a function that is there for its ``interrupter`` alone, of a program that others may send
signals to and that may know nothing of them."""

CLOCK = "clock"
RANDOM = "random"
CLOCK_AHEAD_NS_MAX = 50_000


class Shortcut(NamedTuple):
    """The engine has an answer of its own to a host call, and may give it without asking the host.

    ``kind``: ``CLOCK`` (``clock_time_get``: the machine's clocks; the monotonic one may be ahead of
    what the host itself would say by ``CLOCK_AHEAD_NS_MAX``, and never behind), or ``RANDOM``
    (``random_get``: the system's randomness).
    ``offset()`` is asked each time before the guest runs: ns that the guest's monotonic clock is
    ahead of the machine's (0 for ``RANDOM``); None: not this time, ask the host.
    """

    kind: str
    offset: Callable[[], int | None]


class Loaded(Protocol):
    """The code of a program; the engine's own. ``sha256``: of the module that it is of."""

    @property
    def sha256(self) -> bytes: ...


Provider: TypeAlias = "Callable[[Iterable[ImportInfo]], Callable[[str, str], HostFunction | None]]"
"""What gives a program, by what it imports, its functions."""


class HostFunction(NamedTuple):
    """One function the guest can import. ``params`` and ``results``: value types (wasm/types.py).

    ``call(call, *arguments)`` gets i32 and i64 as unsigned ints, f32 and f64 as floats, v128 as
    16 bytes.
    """

    module: str
    name: str
    params: bytes
    results: bytes
    call: Callable[..., Result]
    shortcut: Shortcut | None = None
    alone: bool = True
    """Does not run while another such function does, of any thread of the process; while it waits
    (``Call.wait``, ``Call.park``) others may run."""
    spawns: str | None = None
    """The export in which the threads begin that this function starts."""
    interrupter: Interrupter | None = None
    """Who interrupts the threads of a guest that imports this."""
