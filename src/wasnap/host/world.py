"""The host as one thing: what the engine calls, and what a snapshot saves of it.

``Host`` holds the guest's descriptors, clocks, randomness, arguments and environment. The rooms
below it (``wasip1/``) turn them into functions that a guest can import.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import resource
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

from ..errors import CannotListen, CannotResume, MissingFile, UsageError
from . import clock as clocks
from . import futex, kinds, threads
from .clock import Clock, ClockState, SystemClock
from .config import Files, HostConfig, Mapping
from .descriptors import Descriptor, Descriptors, Missing, Scene
from .explicit import Explicit
from .futex import Futexes, WaiterState
from .occasions import Occasions
from .processes import FIRST, NUMBERS, Own, Processes, ProcessesState
from .protocol import INTERRUPTER, HostFunction
from .random import Random, RandomState, SeededRandom, SystemRandom
from .signals import Signals, SignalsState, pause
from .socket import Address, Listener
from .stacks import Stacks, StacksState
from .stream import Stream, Tail
from .terminal import Terminal, TerminalState
from .threads import Threads, ThreadsState
from .tree.arena import Arena
from .unknown import unknown
from .widths import LIBC, NARROW, WIDE, Widths

if TYPE_CHECKING:
    from ..instrument.abi import ImportInfo
    from .descriptors import SameState
    from .directory import DirectoryState
    from .epoll import EpollState
    from .event import EventState
    from .file import FileState
    from .history import History, HistoryState
    from .mapped import Directory, Root, Want
    from .net.network import Network
    from .net.pair import PairState
    from .net.socket import SocketState
    from .pipe import PipeState
    from .root import HostRoot
    from .socket import ConnectionState, ListenerState
    from .stream import DeviceState, StreamState
    from .tree.descriptors import TreeDirectoryState, TreeFileState
    from .tree.root import TreeRoot
    from .tree.tree import TreeState

    DescriptorState: TypeAlias = (
        FileState
        | DirectoryState
        | StreamState
        | DeviceState
        | TreeFileState
        | TreeDirectoryState
        | ListenerState
        | ConnectionState
        | PipeState
        | SocketState
        | PairState
        | EventState
        | EpollState
        | SameState
    )
else:  # as they come; ``HostState.from_plain`` has them read by what is imported then
    DescriptorState = HistoryState = TreeState = Any

_DESCRIPTORS_MAX = 65_536
"""As many as we ask this process's soft limit to allow."""

WASIX, WASIX64 = WASIX_MODULES = ("wasix_32v1", "wasix_64v1")
DIFFERENT = frozenset(
    ("fd_renumber", "fd_fdstat_get", "sock_accept", "sock_recv", "sock_send", "sock_shutdown")
)
"""Functions of preview1 that do something else in a program which also imports WASIX's."""

_OWN = frozenset(
    [
        "process",
        "args",
        "env",
        "cwd",
        "descriptors",
        "dispositions",
        "explicit",
        "futexes",
        "signals",
        "stacks",
        "threads",
        "acting",
        "old_wasix",
        "executed",
        "wide",
        "_functions",
        "_older_functions",
        "_wasi_functions",
    ]
)
"""What a process has for itself: attributes of its Host."""

_STANDARD = ("stdin", "stdout", "stderr")
_OUTPUTS = _STANDARD[1:]


class HostState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the guest has of the host. ``args``, ``env`` (``NAME=VALUE``): as bytes.

    ``written``: stdin, stdout, stderr -> bytes the guest has written there, ever (also if it has
    closed it since): what comes after them in the output of a killed process will come again.
    ``threads``, ``futexes``: numbers of guest threads, and those that wait in shared memory.
    ``stacks``: copies of call stacks (WASIX).
    ``signals``: those that have not reached their handlers, and alarms (WASIX).
    ``trees``: guest path -> what is mapped there in memory; its content is in the arena's pages.
    ``occasions``: what the guest has done for the first time already, where a trigger watched.
    ``history``: where this snapshot is in the history of files; None: nothing was noted.
    ``cloexec``: see ``Descriptors``; ``cwd``: the working directory (WASIX), an absolute guest path.
    ``terminal``: what it showed; None: there has never been one.
    ``processes``: the others (WASIX); what is a process's own is here of the first one. The numbers of
    their ``descriptors`` have, above ``NUMBERS`` bits, their process less one.
    A journal stores it as the plain data that ``to_plain`` makes.
    """

    args: list[bytes]
    env: list[bytes] = []
    clock: ClockState
    random: RandomState | None = None
    written: dict[str, int] = {}
    descriptors: list[DescriptorState] = []
    trees: dict[str, TreeState] = {}
    occasions: list[str] = []
    terminal: TerminalState | None = None
    threads: ThreadsState = ThreadsState()
    futexes: list[WaiterState] = []
    history: HistoryState | None = None
    signals: SignalsState = SignalsState()
    stacks: StacksState = StacksState()
    cloexec: list[int] = []
    cwd: bytes = b"/"
    processes: ProcessesState = ProcessesState()

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists, strings, bytes and ints."""
        plain: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(bytes,))
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> HostState:
        """The inverse of ``to_plain``. Raises CannotResume."""
        try:
            state = msgspec.convert(plain, cls)
            trees, history = state.trees, state.history
            if trees:
                from .tree.tree import TreeState

                trees = msgspec.convert(trees, dict[str, TreeState])
            if history is not None:
                from .history import HistoryState

                history = msgspec.convert(history, HistoryState)
            return msgspec.structs.replace(
                state,
                descriptors=[kinds.state_of(each) for each in state.descriptors],
                trees=trees,
                history=history,
            )
        except msgspec.ValidationError as error:
            raise CannotResume(
                f"the host's state is not as it should be: {error}",
                "was it written by another version of wasnap?",
            ) from error


class Host:
    """One guest process's host. That of the first process is also the tree's: it is captured,
    restored and closed with all the others in it, and stays so if another program takes its place.

    ``arena``: the memory that a snapshot must save beside the state, by pages (``tree/arena.py``).
    """

    def __init__(
        self, config: HostConfig, clock: Clock | None = None, random: Random | None = None
    ) -> None:
        """Opens the mapped directories and the addresses. Raises MissingFile, CannotListen."""
        self.args = [os.fsencode(argument) for argument in config.args]
        self.env = [os.fsencode(f"{name}={value}") for name, value in config.env.items()]
        self.clock: Clock = clock or SystemClock()
        self.random: Random = random or SystemRandom()
        self.process = FIRST
        self.acting: Host | None = None
        """The child that this process acts as, see ``processes.py``."""
        self.processes = Processes(self)
        self.dispositions = b""
        """What its program is to do about signals at its start: number and disposition, a byte each."""
        self.descriptors = Descriptors()
        self.cwd = b"/"
        self.arena = Arena()
        self.occasions = Occasions()
        self.explicit = Explicit()
        self.threads = Threads()
        self.futexes = Futexes(lambda: self.clock)
        self.signals = Signals(lambda: self.clock, self.pause)
        self.stacks = Stacks()
        self.old_wasix = False
        """Whether the guest has an older ABI of WASIX, where some things are smaller."""
        self.executed = False
        """Whether another program was in its place before."""
        self.wide = WIDE
        """How wide things are in ``wasix_64v1``."""
        self._unknown_imports = config.unknown_imports
        self._standard = {
            name: fileno
            for name in _STANDARD
            if (fileno := getattr(config, name)) is not None and _is_open(fileno)
        }
        self._streams: dict[str, Stream] = {}
        self._terminal = Terminal.of([self._standard[s] for s in _OUTPUTS if s in self._standard])
        self._shown: TerminalState | None = None
        self._roots: dict[str, Root] = {}
        self._sockets = config.sockets
        self._config = config
        self._network: Network | None = None
        given = not config.own_sockets and config.sockets is None
        addresses = config.listen if given else ()
        if not config.own_sockets:
            self._check_rebinds(addresses)
        self._addresses = [Address.parse(config.rebind.get(text, text)) for text in addresses]
        self._given: tuple[str, ...] = ()
        self._history: History | None = None
        self._functions: dict[tuple[str, str], HostFunction] = {}
        self._wasi_functions: dict[tuple[str, Widths], dict[str, HostFunction]] = {}
        self._older_functions: dict[tuple[str, Widths], dict[str, HostFunction]] = {}
        _raise_limit()
        if self._addresses and "LISTEN_FDS" not in config.env:
            self.env.append(b"LISTEN_FDS=%d" % len(self._addresses))
        for mapping in config.dirs:
            if mapping.guest in self._roots:
                self.close()
                raise UsageError(
                    f"two directories are mapped as {mapping.guest}", "give each its own guest path"
                )
            try:
                self._roots[mapping.guest] = self._open(mapping)
            except OSError as error:
                self.close()
                raise MissingFile(
                    f"cannot map {mapping.host} as {mapping.guest}: {error.strerror}",
                    "it must be a directory that may be read",
                ) from None
        try:
            self.open_first()
        except CannotListen:
            self.close()
            raise

    # -- processes --------------------------------------------------------------------------

    def another(self, process: int) -> Host:
        """Of another process, or of another program in the same one: what is not its own is shared."""
        other: Host = object.__new__(Host)
        other._share(self)
        other.process = process
        other.acting = None
        other.args, other.env, other.cwd = self.args, self.env, self.cwd
        other.descriptors = Descriptors()
        other.threads = Threads()
        other.futexes = Futexes(lambda: other.clock)
        other.signals = Signals(lambda: other.clock, self.pause)
        other.signals.elsewhere = process != FIRST
        other.stacks = Stacks()
        other.explicit = Explicit()
        other.explicit.ask = self.explicit.ask
        other._functions = {}
        other._wasi_functions = {}
        other._older_functions = {}
        other.old_wasix = False
        other.executed = False
        other.wide = WIDE
        other.dispositions = b""
        return other

    def _share(self, first: Host) -> None:
        """Have what is common to all processes."""
        common = {name: what for name, what in vars(first).items() if name not in _OWN}
        self.__dict__.update(common)

    def forked(self, process: int, thread: int) -> Host:
        """Of a child that begins as a copy of this thread."""
        other = self.another(process)
        other.descriptors = self.descriptors.copy()
        other.threads.restore(self.threads.forked(thread))
        other.futexes.restore(self.futexes.forked(thread))
        other.signals.restore(self.signals.forked())
        other.stacks.restore(self.stacks.forked(thread))
        return other

    def successor(self, args: list[bytes], env: list[bytes] | None) -> Host:
        """Of the program that takes this one's place, with these arguments, and this environment;
        None: the same. It gets the descriptors when it does (``Processes.execute``)."""
        other = self.another(self.process)
        other.executed = True
        other.signals.restore(self.signals.executed())
        other.args = args
        other.env = self.env if env is None else env
        return other

    def own(self) -> Own:
        """What is not shared with other processes, but for the descriptors."""
        return Own(
            args=self.args,
            env=self.env,
            threads=self.threads.capture(),
            futexes=self.futexes.capture(),
            signals=self.signals.capture(),
            stacks=self.stacks.capture(),
            cloexec=sorted(self.descriptors.cloexec),
            cwd=self.cwd,
            dispositions=self.dispositions,
        )

    def become(self, own: Own) -> None:
        """The inverse of ``own``; ``cloexec`` is set with the descriptors."""
        self.args = own.args
        self.env = own.env
        self.threads.restore(own.threads)
        self.futexes.restore(own.futexes)
        self.signals.restore(own.signals)
        self.stacks.restore(own.stacks)
        self.cwd = own.cwd
        self.dispositions = own.dispositions

    def _open(self, mapping: Mapping) -> Root:
        if mapping.kind == "dir":
            from .root import HostRoot

            return HostRoot(mapping)
        from .tree.root import TreeRoot

        return TreeRoot(mapping, self.arena, lambda: self.clock.realtime())

    @property
    def uses_arena(self) -> bool:
        """Whether there can be anything in the arena."""
        return bool(self._trees())

    def _trees(self) -> dict[str, TreeRoot]:
        return {
            guest: cast("TreeRoot", root)
            for guest, root in self._roots.items()
            if root.mapping.kind != "dir"
        }

    def _host_roots(self) -> list[HostRoot]:
        roots = self._roots.values()
        return [cast("HostRoot", root) for root in roots if root.mapping.kind == "dir"]

    def open_first(self) -> None:
        """The descriptors of a fresh start: 0 to 2 are the standard streams, then come the sockets
        to accept on, then the mappings.
        """
        first: dict[int, Descriptor] = {}
        for number, name in enumerate(_STANDARD):
            if name in self._standard:
                first[number] = stream = Stream(name, self._standard[name])
                stream.show(self._terminal)
                self._streams[name] = stream
        listeners = self._listen()
        self._given = self._addresses_of(listeners)
        preopens = [*listeners, *(root.preopen() for root in self._roots.values())]
        first.update(enumerate(preopens, start=len(_STANDARD)))
        self.descriptors.replace_all(first)

    @staticmethod
    def _addresses_of(descriptors: Iterable[Descriptor]) -> tuple[str, ...]:
        listeners = [d for d in descriptors if isinstance(d, Listener)]
        return tuple(str(d.address) for d in sorted(listeners, key=lambda d: d.index))

    @property
    def listening(self) -> tuple[str, ...]:
        """Where the guest listens, ``HOST:PORT`` each, with true ports."""
        if not self._config.own_sockets:
            return self._given
        hosts = self.processes.hosts().values()
        own = (
            getattr(d, "listens_at", None) for host in hosts for _, d in host.descriptors.items()
        )
        return tuple(str(address) for address in own if address is not None)

    @property
    def granted(self) -> tuple[str, ...]:
        """Where it may, to be recorded."""
        return self._config.listen if self._config.own_sockets else self._given

    @property
    def network(self) -> Network:
        """For the guest's own sockets."""
        if self._network is None:
            from .net.network import Network

            self._network = Network(self._config, lambda: self.clock)
        return self._network

    def live_sockets(self) -> dict[int, int]:
        """Guest descriptor -> this process's, of all that another process could go on with."""
        return {
            (process - FIRST << NUMBERS) + number: d.fileno
            for process, host in self.processes.hosts().items()
            for number, d in host.descriptors.items()
            if d.travels
        }

    def _listen(self) -> list[Listener]:
        """All or none. Raises CannotListen."""
        self.descriptors.close_all()  # the addresses may be in use by ourselves
        listeners: list[Listener] = []
        try:
            for address in self._addresses:
                listeners.append(Listener.open(address, len(listeners)))
        except CannotListen:
            for listener in listeners:
                listener.close()
            raise
        return listeners

    # -- the history of files ---------------------------------------------------------------

    def _noted(self) -> list[HostRoot]:
        """Host directories, if changes to any of them are to be noted."""
        roots = self._host_roots()
        return roots if any(not root.readonly for root in roots) else []

    def note_changes(self, path: Path, *, sync: bool = True) -> None:
        """Before a fresh start: note from here on how changes to files can be undone, in a new
        history at ``path``. ``sync``: snapshots wait until it is on the device. Raises
        JournalError."""
        roots = self._noted()
        if roots:
            from .history import History

            self._note_in(History.create(path, roots, sync=sync))

    def _note_in(self, history: History | None) -> None:
        from .own import Own

        self._history = history
        for root in self._noted():
            if not root.readonly:
                root.history = history
                if history is not None:
                    root.own = Own.beneath(root.fileno, root.mapping.host, history.path)

    # -- functions --------------------------------------------------------------------------

    def function(
        self, module: str, name: str, type: tuple[bytes, bytes] | None = None
    ) -> HostFunction | None:
        """The function that the import ``module``.``name`` gets; None: nobody here has it.

        ``type`` (parameters, results) is the type the guest imports it with, if known: a function
        of a WASI module that we do not have, or have with another type (WasmEdge's sockets), is
        then one that gives ERRNO_NOSYS and warns, so that programs which do not need it run.
        """
        if module in WASIX_MODULES:
            return self._wasix(module, name, type)
        if module.startswith("wasi_"):
            return self._wasi(module, name, type)
        if not self._functions:
            for provider in (self.explicit, self.threads, self.futexes, self.signals):
                self._functions |= provider.functions()
        found = self._functions.get((module, name))
        if type is None:
            return found
        if found is not None and found.spawns and type[0] == threads.WIDE:
            found = found._replace(params=threads.WIDE)  # it gets a pointer
        if module == futex.MODULE:  # ours, and not for guests
            found = None
        return found or unknown(module, name, type, self._unknown_imports)

    def _wasi(
        self, module: str, name: str, type: tuple[bytes, bytes] | None
    ) -> HostFunction | None:
        from . import wasip1  # it needs this module's types

        if module not in wasip1.MODULES:
            return None if type is None else unknown(module, name, type, self._unknown_imports)
        for widths in wasip1.MODULES[module]:
            found = self._wasi_module(module, widths).get(name)
            if type is None or (found is not None and (found.params, found.results) == type):
                return found
        return None if type is None else wasip1.missing(module, name, *type)

    def _wasi_module(self, module: str, widths: Widths) -> dict[str, HostFunction]:
        """All functions of one, by name; made once."""
        from . import wasip1

        key = (module, widths)
        if key not in self._wasi_functions:
            self._wasi_functions[key] = wasip1.functions(self, module, widths)
        return self._wasi_functions[key]

    def _wasix(
        self, module: str, name: str, type: tuple[bytes, bytes] | None
    ) -> HostFunction | None:
        from . import wasix  # for the few that need it

        widths = NARROW if module == WASIX else self.wide
        key = (module, widths)
        if key not in self._wasi_functions:
            self._wasi_functions[key] = wasix.functions(self, module, widths)
            self._older_functions[key] = wasix.older_functions(self, module, widths)
        functions = self._wasi_functions[key]
        found = functions.get(name)
        if type is None:
            return found
        older = (self._older_functions[key].get(name), functions.get(name + wasix.OLDER))
        for each in (found, *older):
            if each is not None and (each.params, each.results) == type:
                return each
        return wasix.missing(module, name, *type)

    def provider(self, imports: Iterable[ImportInfo]) -> Callable[[str, str], HostFunction | None]:
        """What gives a guest with these imports its functions: ``function`` with their types."""
        types = {(i.module, i.name): (i.params, i.results) for i in imports}
        modules = {module for module, _ in types}
        unix = next((module for module in (WASIX64, WASIX) if module in modules), None)
        if unix == WASIX64:
            self.wide = self._wide(types)
        self.old_wasix = (WASIX, "thread_local_create") in types
        join = types.get((WASIX, "proc_join"))
        self.signals.old_style = join is not None and len(join[0]) == 2

        related = unix or self.executed or self.process != FIRST

        def provide(module: str, name: str) -> HostFunction | None:
            if (module, name) == INTERRUPTER and not related:
                return None
            type = types.get((module, name))
            if unix and name in DIFFERENT:  # a libc that has both modules means WASIX's
                found = self.function(unix, name, type)
                return None if found is None else found._replace(module=module)
            return self.function(module, name, type)

        return provide

    def _wide(self, types: dict[tuple[str, str], tuple[bytes, bytes]]) -> Widths:
        """wasix-libc's, if functions of preview1 are imported with 64-bit pointers."""
        from . import wasip1

        narrow, wide = (self._wasi_module(wasip1.PREVIEW1, each) for each in (NARROW, LIBC))
        for (module, name), (params, _) in types.items():
            known = module == wasip1.PREVIEW1 and name in wide
            if known and params == wide[name].params != narrow[name].params:
                return LIBC
        return WIDE

    @property
    def shown_process(self) -> int:
        """The number that the guest is told: that of the child that it acts as, if it does."""
        return (self.acting or self).process

    def is_directory(self, path: bytes) -> bool:
        """Whether there is a directory at an absolute guest path without ``..``: a mapping, what is
        above one, or one in it. Raises OSError."""
        prefix = path.rstrip(b"/") + b"/"
        names = (os.fsencode(guest).rstrip(b"/") + b"/" for guest in self._roots)
        if path == b"/" or any(name.startswith(prefix) for name in names):
            return True
        with self.above(path) as (directory, name):
            return stat.S_ISDIR(directory.stat_at(name, follow=True).st_mode)

    def absolute(self, path: bytes) -> bytes:
        """A path from the working directory, without ``..``."""
        return b"/" + posixpath.normpath(posixpath.join(self.cwd, path)).lstrip(b"/")

    def open_path(self, path: bytes, want: Want) -> Descriptor:
        """Open what is at an absolute guest path without ``..``. Raises OSError."""
        with self.above(path) as (directory, name):
            return directory.open(name, want)

    @contextlib.contextmanager
    def above(self, path: bytes) -> Iterator[tuple[Directory, bytes]]:
        """The mapping that an absolute guest path lies in, and the path from there. ENOENT."""
        prefix = path.rstrip(b"/") + b"/"
        names = sorted(
            (os.fsencode(guest).rstrip(b"/") + b"/", g) for guest, g in self._roots.items()
        )
        for name, root in reversed(names):
            if prefix.startswith(name):
                directory = root.preopen()
                try:
                    yield directory, prefix[len(name) :].rstrip(b"/") or b"."
                finally:
                    directory.close()
                return
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    # -- snapshots --------------------------------------------------------------------------

    def freeze(self) -> None:
        """Before ``capture``, if the process ends with that snapshot: connections stay as they are,
        where the user asked for that."""
        if self._config.connections == "repair":
            for host in self.processes.hosts().values():
                for _, descriptor in host.descriptors.items():
                    descriptor.freeze()

    def thaw(self) -> None:
        """It does not end."""
        if self._config.connections == "repair":
            for host in self.processes.hosts().values():
                for _, descriptor in host.descriptors.items():
                    descriptor.thaw()

    def capture(self) -> HostState:
        """The state at this moment; the rest is in the arena. All guest threads are stopped."""
        scene = Scene(self._roots, self._standard)
        for process, host in self.processes.hosts().items():
            for number, descriptor in host.descriptors.items():
                scene.numbers.setdefault(id(descriptor), (process - FIRST << NUMBERS) + number)
        first = self.processes.first.own()
        return HostState(
            args=first.args,
            env=first.env,
            clock=self.clock.capture(),
            random=self.random.capture(),
            written={name: stream.written for name, stream in self._streams.items()},
            terminal=self._shown if self._terminal is None else self._terminal.capture(),
            descriptors=[
                state
                for process, host in self.processes.hosts().items()
                for state in host.descriptors.capture(scene, process - FIRST << NUMBERS)
            ],
            signals=first.signals,
            stacks=first.stacks,
            cloexec=first.cloexec,
            cwd=first.cwd,
            trees={guest: root.tree.capture() for guest, root in self._trees().items()},
            occasions=sorted(self.occasions.been),
            threads=first.threads,
            futexes=first.futexes,
            history=None if self._history is None else self._history.point(),
            processes=self.processes.capture(),
        )

    def settle_files(self) -> None:
        """After ``capture``, before that snapshot is committed: returns when what was noted of
        files is on the device, if ``sync`` was asked for. The guest may run meanwhile, and this be
        called on any thread. Raises OSError."""
        if self._history is not None:
            self._history.settle()

    def restore(
        self,
        state: HostState,
        arena: Arena | None = None,
        *,
        history: Path | None = None,
        files: Files | None = None,
        sync: bool = True,
        claim: Callable[[], None] | None = None,
    ) -> None:
        """Become what was captured, with the directories and streams this Host was given.

        ``arena``: loaded from the same snapshot. ``history``: of files, in which the guest's own
        changes since are undone, and further ones noted; None: neither. ``files``: what is done
        about changes, see ``Files``. Everything is checked first, and nothing touched before;
        in between ``claim`` is called, and may still end it.
        Raises CannotResume with all that is missing or different.
        """
        given = [d.fileno for _, d in self.descriptors.items() if isinstance(d, Listener)]
        tagged = [(kinds.tag_of(d), d) for d in state.descriptors]
        network = self.network if any(tag in kinds.OWN_SOCKETS for tag, _ in tagged) else None
        scene = Scene(self._roots, self._standard, given, self._sockets or {}, network)
        arena = arena or Arena()
        noted = self._noted()
        hosts = self._host_roots()
        path = history if noted else None
        files_open: list[Any] = [d for tag, d in tagged if tag in kinds.IN_HOST_DIRECTORIES]
        same: list[Any] = [d for tag, d in tagged if tag == kinds.SAME]
        apart = (*kinds.IN_HOST_DIRECTORIES, kinds.SAME)
        others = [d for tag, d in tagged if tag not in apart]
        rewind = None
        different: list[str] = []
        if hosts or files_open:
            from .rewind import Rewind

            rewind = Rewind(hosts, path, state.history, files, sync=sync)
        try:
            if self._config.own_sockets:
                bound = (getattr(d, "local", None) for _, d in tagged)
                self._check_rebinds([str(local) for local in bound if local is not None])
            missing = self._restore_trees(state.trees, arena)
            missing += _restore(others, scene)
            if rewind is not None:
                gone, different = rewind.check(files_open, scene)
                missing += gone
            if missing or different:
                raise _refusal(missing, different)
            if claim is not None:
                claim()
            if rewind is not None:
                self._note_in(rewind.carry_out())
            missing = _restore(files_open, scene)
            if missing:
                raise _refusal(missing, [])
        except BaseException:
            if rewind is not None:
                rewind.close()
            for descriptor in scene.restored.values():
                descriptor.close()
            scene.close_rest()
            raise
        arena.settle()
        for root in self._trees().values():
            root.rewind()
        for further in same:
            scene.restored[further.number] = scene.restored[further.of]
        for saved in [*others, *files_open]:
            scene.restored[saved.number].rewind(saved)
        scene.close_rest()
        if self._sockets is not None:
            self._sockets = None
            self._given = self._addresses_of(scene.restored.values())
        self._streams.update((d.name, d) for d in scene.restored.values() if isinstance(d, Stream))
        tails: dict[tuple[int, ...], Tail] = {}
        for _, stream in sorted(self._streams.items()):
            stream.share_tail(tails)
        self._shown = state.terminal
        for name, stream in self._streams.items():
            stream.show(self._terminal)
            stream.written = state.written.get(name, 0)
        self.occasions.been = set(state.occasions)
        self.clock = clocks.restore(state.clock)
        if state.random is not None:
            self.random = SeededRandom.restore(state.random)
        self.arena = arena
        self._restore_processes(state, scene.restored)

    def expect(self, state: HostState) -> None:
        """Before ``restore``: have Hosts for the other processes, whose functions can be imported."""
        self.processes.restore(state.processes)

    def _restore_processes(self, state: HostState, restored: dict[int, Descriptor]) -> None:
        """Last of all: what is common to them is there."""
        own = {name: getattr(state, name) for name in Own.__struct_fields__ if hasattr(state, name)}
        self.become(Own(**own))
        self.dispositions = state.processes.dispositions
        if self.processes.hosts().keys() == {FIRST}:
            self.expect(state)
        cloexec = {each.number: each.own.cloexec for each in state.processes.table if each.own}
        cloexec[FIRST] = state.cloexec
        mask = (1 << NUMBERS) - 1
        for process, host in self.processes.hosts().items():
            host.descriptors.replace_all(
                {n & mask: d for n, d in restored.items() if n >> NUMBERS == process - FIRST}
            )
            host.descriptors.cloexec = set(cloexec[process])
            if host is not self:
                host._share(self)

    def _check_rebinds(self, addresses: Iterable[str]) -> None:
        """Raises UsageError for one of an address that is not among these."""
        there = ", ".join(addresses)
        for old in sorted(self._config.rebind.keys() - set(addresses)):
            raise UsageError(
                f"the journal's process did not listen on {old}",
                f"there are: {there}" if there else "there are none",
            )

    def _restore_trees(self, trees: dict[str, TreeState], arena: Arena) -> list[str]:
        """Load them; what is missing."""
        differences = []
        roots = self._trees()
        for guest in trees.keys() - roots.keys():
            option = f"--overlay HOST::{guest}" if trees[guest].overlay else f"--tmp {guest}"
            differences.append(f"{guest} is not mapped as it was ({option})")
        for guest, root in roots.items():
            try:
                root.restore(trees.get(guest), arena)
            except Missing as missing:
                differences.append(str(missing))
        return differences

    def paint(self) -> None:
        """After ``restore``, when nothing can fail any more: show what the terminal showed."""
        if self._terminal is not None and self._shown is not None:
            self._terminal.restore(self._shown)
            self._terminal.paint(self._shown.modes)
            if self._terminal.size() != (self._shown.columns, self._shown.rows):
                self.processes.deliver("SIGWINCH")

    @property
    def has_terminal(self) -> bool:
        """Whether what the guest shows is on one."""
        return self._terminal is not None

    def terminal_size(self) -> tuple[int, int] | None:
        """Columns and rows of the terminal, if there is one."""
        return None if self._terminal is None else self._terminal.size()

    def terminal_modes(self) -> list[str] | None:
        """Names of the termios flags that are set, if there is one."""
        return None if self._terminal is None else self._terminal.modes()

    def set_terminal_modes(self, flags: dict[str, bool]) -> bool:
        """Set or clear these termios flags; False: there is none."""
        if self._terminal is not None:
            self._terminal.change(flags)
        return self._terminal is not None

    def are_terminals(self) -> tuple[bool, ...]:
        """Which of stdin, stdout and stderr are."""
        return tuple(n in self._standard and os.isatty(self._standard[n]) for n in _STANDARD)

    def leave(self) -> None:
        """The guest has ended: the user's terminal is his again."""
        if self._terminal is not None:
            self._terminal.leave()

    def pause(self) -> None:
        """Stop this process until it is continued; meanwhile the terminal is the user's."""
        if self._terminal is None:
            pause()
            return
        size = self._terminal.size()
        modes = self._terminal.away()
        pause()
        self._terminal.back(modes)
        if self._terminal.size() != size:  # the system tells the foreground only
            self.processes.deliver("SIGWINCH")

    def close_descriptors(self) -> None:
        """Of all processes."""
        for host in self.processes.hosts().values():
            host.descriptors.close_all()

    def close(self) -> None:
        """Give everything back; the standard streams stay open."""
        self.close_descriptors()
        for root in self._roots.values():
            root.close()
        self._roots = {}
        if self._history is not None:
            self._history.close()
            self._history = None


def _refusal(missing: list[str], different: list[str]) -> CannotResume:
    from .rewind import HINT_DIFFERENT, HINT_MISSING, listed

    hint = HINT_MISSING if missing else HINT_DIFFERENT
    return CannotResume(listed(list(dict.fromkeys([*missing, *different]))), hint)


def _restore(states: Sequence[DescriptorState], scene: Scene) -> list[str]:
    """Open them again; what is missing."""
    missing: dict[str, None] = {}
    for saved in states:
        try:
            scene.restored[saved.number] = kinds.kind_of(saved).restore(saved, scene)
        except Missing as gone:
            missing[str(gone)] = None
    return list(missing)


def _is_open(fileno: int) -> bool:
    try:
        os.fstat(fileno)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return False
    return True


def _raise_limit() -> None:
    """Guests open more files than a shell's default limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
