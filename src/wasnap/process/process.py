"""A process: start, (stop, capture, commit, continue)*, exit.

Who does what::

    supervisor     the thread that calls ``run``: waits for whatever happens, and decides
    guest threads  run the guest's processes, and nothing else (engine/family.py, engine/guest.py)
    saver          writes snapshots, mostly while the guest runs (saver.py)
    triggers       submit requests, from a thread of their own or from a signal handler

A request is put on the desk, and the supervisor nudged: it has a snapshot prepared, then the guest
stopped, what lies on the desk served (serving.py), and lets the guest go on. Then it looks at the
desk again, because a stop asked for in between was void. Nothing ends while a snapshot is being
committed, unless somebody says "now" (EndNow).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from wasnap import triggers
from wasnap.control.messages import Status
from wasnap.control.server import Server
from wasnap.engine import (
    Executable,
    Exited,
    Failed,
    Family,
    Finished,
    Guest,
    Stopped,
    Trapped,
    arguments,
    shown,
)
from wasnap.errors import UsageError
from wasnap.host import (
    WASIX_MODULES,
    Address,
    Clock,
    Connections,
    Files,
    Host,
    HostConfig,
    Random,
    UnknownImports,
    directory_of,
)
from wasnap.journal import Durability, Journal, check_label
from wasnap.launch import INVOKE, Directories, Launch, Source, begin, compile_ahead, mappings
from wasnap.process.serving import Service
from wasnap.snapshot import Saver, World, restore
from wasnap.triggers import Around, Desk, EndNow, Estate, Request
from wasnap.version import VERSION

if TYPE_CHECKING:
    from wasnap.control.handover import Takeover

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0
"""For a guest to come to its next safepoint when the process ends."""
_NOW_SECONDS = 0.1
"""The same, when it ends at once."""

SWITCH_SECONDS = 0.0005
"""How long one of our threads may keep the interpreter while another wants it, as long as a process
runs: a host call, and a guest that goes on, must not wait for a snapshot that is being written.
"""

_NEVER = 1 << 62


class Process:
    """One guest process. ``run`` it once; the other methods are for other threads.

    ``module``: a path or bytes; None: the one in the journal, resumed. ``args``: without the
    program's name, which is the module's. ``dirs``: guest path -> host path or ``Mapping``
    (read-only, ``Mapping.tmp()``, ``Mapping.overlay(host)``).
    ``listen``: addresses, ``HOST:PORT`` each, that the guest accepts on, from descriptor 3; a program of
    WASIX opens its sockets itself, and may listen there (port 0: on any).
    ``net_allow``: what it may reach, as rules (``wasnap.host.net.rules``); ``net``: everything, and be
    reached anywhere. ``sockets``: what becomes of its connections when it is resumed, see
    ``wasnap.host.Connections``.
    ``journal``: where snapshots go; if it holds snapshots of this module, the newest (or ``at``, an
    id or a label) is resumed, unless ``fresh``. ``label``: for snapshots that get no other.
    ``snapshot_on``: names of triggers; None: timer, sigint and sigterm.
    ``snapshot_timer``: seconds. ``grace``: seconds in which SIGINT and SIGTERM end the process, with
    or without a snapshot; None: they wait for it. ``after_snapshot``: a shell command for each
    snapshot (see ``wasnap.triggers.after``). ``stdin``, ``stdout``, ``stderr``: descriptors, used as they are;
    None: the guest has none. ``clock``, ``random``: see ``wasnap.host``; the system's by default.
    ``counted``: take snapshots at safepoints: how many to pass before each; an instrumented
    module of its own, which repeats exactly. ``name``: the program's, if it is not the file's.
    ``unknown_imports``: what becomes of functions that nobody provides: ``refuse`` to run,
    ``trap`` when one is called, or let it do nothing and return ``zero``.
    ``files``: what resuming does about files in ``dirs`` that are not as they were at the snapshot.
    None: the process's own changes are undone, others' are a reason to refuse (CannotResume);
    ``rewind``: the others' are left alone; ``keep``: all files stay as they are; ``fail``: any
    change is a reason to refuse.
    ``durability``: what a committed snapshot survives: loss of power (``system``), or any death of
    the process (``process``). ``on_snapshot``: called with the id of each snapshot, while the guest stands still at it.
    ``control``: let ``wasnap ps`` and its like reach this process (see ``wasnap.control``).
    ``listen_rebind``: recorded address -> the one to listen on instead, when resuming.
    ``invoke``: the exported function to run, in the place of ``_start``. Its arguments are the first of
    ``args`` (the guest also sees all of these as its own); ``results`` is what it returned.
    ``take_over``: the number of a running process, with this journal, that goes on here with all
    its sockets, and ends there (see ``wasnap.control.handover``).
    """

    def __init__(
        self,
        module: Source | None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        dirs: Directories | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
        at: int | str | None = None,
        fresh: bool = False,
        snapshot_on: Iterable[str] | None = None,
        snapshot_timer: float | None = None,
        stop_after_snapshot: bool = False,
        listen: Sequence[str] = (),
        net: bool = False,
        net_allow: Sequence[str] = (),
        sockets: Connections = "reset",
        label: str = "",
        grace: float | None = None,
        after_snapshot: str | None = None,
        stdin: int | None = 0,
        stdout: int | None = 1,
        stderr: int | None = 2,
        clock: Clock | None = None,
        random: Random | None = None,
        counted: Iterable[int] | None = None,
        name: str = "",
        unknown_imports: UnknownImports = "refuse",
        files: Files | None = None,
        durability: Durability = "system",
        on_snapshot: Callable[[int], None] | None = None,
        control: bool = False,
        listen_rebind: Mapping[str, str] | None = None,
        take_over: int | None = None,
        invoke: str | None = None,
    ) -> None:
        if take_over is not None:
            if journal is None or module is not None:
                raise UsageError("a process is taken over with its journal alone")
            if at is not None or listen or listen_rebind or net or net_allow:
                raise UsageError(
                    "what is taken over goes on where it is, with the sockets it has",
                    "leave out --at, --listen, --listen-rebind, --net and --net-allow",
                )
        wants_snapshots = snapshot_on is not None or snapshot_timer is not None
        if journal is None and (wants_snapshots or stop_after_snapshot or after_snapshot or label):
            raise UsageError("snapshots need a journal to go to", "give one: --journal FILE")
        if label:
            check_label(label)
        if net_allow:
            from wasnap.host.net.rules import Rule  # rare

            for rule in net_allow:
                Rule.parse(rule)
        names = triggers.DEFAULTS if snapshot_on is None else tuple(snapshot_on)
        self._triggers = [] if journal is None else triggers.make(names, snapshot_timer, grace)
        self._stop_after_snapshot = stop_after_snapshot
        self._after = None
        if journal is not None and after_snapshot:
            self._after = triggers.After(after_snapshot, journal)
        self._label = label
        self._files = files
        self._on_snapshot = on_snapshot
        self._control = control
        self._module = module
        self._config = HostConfig(
            args=tuple(args),
            env=dict(env or {}),
            dirs=mappings(dirs),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            listen=tuple(str(Address.parse(address)) for address in listen),
            net=net,
            net_allow=tuple(net_allow),
            connections=sockets,
            unknown_imports=unknown_imports,
        )
        self._journal_path = None if journal is None else Path(journal)
        self._at = at
        self._listen_rebind = dict(listen_rebind or {})
        self._take_over = take_over
        self._taken: Takeover | None = None
        self._invoked = invoke
        self._invoked_with: tuple[int, ...] = ()
        self._journal: Journal | None = None
        self._fresh = fresh
        self._name = name
        self._durability = durability
        self._clock = clock
        self._random = random
        self._counted = counted is not None
        self._countdowns = iter(counted or ())
        self._armed = 0
        self._countdown = 0
        self.safepoints = 0
        """How many safepoints were passed, in a counted process."""

        self.results: tuple[str, ...] = ()
        """What an invoked function returned, in decimal; once ``run`` has."""

        self._desk = Desk(self._nudge)
        self._others: triggers.Others | None = None
        self._stop_code: int | None = None
        self._supervisor: threading.Thread | None = None
        self._ended = False
        self._world: World | None = None
        self._host: Host | None = None
        self._service: Service | None = None
        self._kept_by_disk = False
        self._close_seconds = _CLOSE_SECONDS
        self._started_ns = 0
        self._command: list[str] = []

    @property
    def listening(self) -> tuple[str, ...]:
        """The addresses the guest accepts on, with their true ports; once it runs."""
        return () if self._host is None else self._host.listening

    # -- the story ---------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end; the guest's exit code, or the one that a trigger stopped it with.

        Raises GuestTrap, and whatever keeps it from beginning: MissingFile, InvalidModule,
        UnsupportedModule, UnknownImport, JournalError, CannotResume.
        """
        if self._supervisor is not None:
            raise RuntimeError("a process runs once: make another one")
        self._supervisor = threading.current_thread()
        self._started_ns = time.time_ns()
        try:
            with contextlib.ExitStack() as cleanup:
                cleanup.callback(sys.setswitchinterval, sys.getswitchinterval())
                sys.setswitchinterval(SWITCH_SECONDS)
                if self._control:
                    submit = None if self._journal_path is None else self._desk.submit
                    server = Server(submit, self._status, self._triggers)
                    cleanup.callback(server.close)  # last: when all have been answered
                world, launch = self._make(cleanup)
                self._arm(cleanup, world)
                self._start(world, launch)
                return self._supervise(world)
        except EndNow as now:
            return now.code
        finally:
            self._end()  # also where nothing had begun yet

    def snapshot(self, label: str | None = None) -> int:
        """Take a snapshot now, from any thread but the one in ``run``; its id, once committed.

        ``label``: a name for it, that ``at`` takes; an earlier snapshot of that name is hidden.
        Raises ProcessEnded, UsageError without a journal, or why it cannot be taken.
        """
        if self._journal_path is None:
            raise UsageError("snapshots need a journal to go to", "give one: journal=PATH")
        if threading.current_thread() is self._supervisor and not self._ended:
            raise RuntimeError("the thread that is in run() cannot wait for a snapshot")
        if label:
            check_label(label)
        request = Request("explicit", label=label or "")
        self._desk.submit(request)
        return request.result()

    def stop(self, code: int = 143) -> None:
        """End the process at its next safepoint, without a snapshot; ``run`` returns ``code``."""
        self._stop_code = code
        self._stop_guest()

    # -- its chapters ------------------------------------------------------------------------

    def _make(self, cleanup: contextlib.ExitStack) -> tuple[World, Launch]:
        """Everything that can fail before anything has happened."""
        config, at, locked = self._config, self._at, None
        if self._take_over is not None:
            from wasnap.control.handover import Takeover  # rare

            assert self._journal_path is not None
            compile_ahead(self._journal_path)  # while the other one runs
            taken = self._taken = Takeover(self._take_over, self._journal_path)
            cleanup.callback(taken.close)
            config = msgspec.structs.replace(config, sockets=taken.sockets)
            at, locked = taken.snapshot, taken.journal
        launch = begin(
            self._module,
            config,
            journal=self._journal_path,
            at=at,
            fresh=self._fresh,
            counted=self._counted,
            name=self._name,
            durability=self._durability,
            rebind=self._listen_rebind,
            locked=locked,
            invoke=self._invoked,
        )
        cleanup.callback(self._unless_kept, launch.close)
        if self._counted and not launch.start.counted:
            raise UsageError("the journal's process does not count its safepoints")
        self._counted = launch.start.counted
        self._command = launch.start.args
        program = launch.load()
        config = launch.config
        if any(imported.module in WASIX_MODULES for imported in program.info.imports):
            config = msgspec.structs.replace(config, own_sockets=True)
            if config.connections == "repair":
                from wasnap.host.net import repair  # rare

                repair.check()
        host = self._host = Host(config, self._clock, self._random)
        try:
            family = Family(
                Executable(program, launch.module, launch.start.module_sha256),
                host.provider(program.info.imports),
                host.processes,
                counted=self._counted,
            )
        except BaseException:
            host.close()
            raise
        world = World(family, host)
        cleanup.callback(host.leave)
        cleanup.callback(self._unless_kept, self._close, world)
        self._invoked = invoked = launch.start.options.get(INVOKE)
        if invoked is not None and launch.snapshot is None:  # before a journal is made
            type = family.first.signature(invoked)
            self._invoked_with = arguments(invoked, type, self._config.args)
        return world, launch

    def _start(self, world: World, launch: Launch) -> None:
        journal = self._journal = launch.open_journal(world.host.granted)
        resumed = launch.snapshot
        sync = self._durability == "system"
        if journal is not None:
            parent = None if resumed is None else resumed.info.id
            self._service = Service(
                self._desk,
                Saver(world, journal, parent, world.family.nudge),
                world.family,
                newest=None if resumed is None else (resumed.info.id, resumed.info.time_ns),
                label=self._label,
                stop_after=self._stop_after_snapshot,
                wait=self._counted,
                on_snapshot=self._on_snapshot,
                committed=None if self._after is None else self._after.committed,
            )
        if resumed is not None:
            assert journal is not None
            taken = self._taken
            claim = None if taken is None else taken.claim
            load = launch.load_other
            restore(world, journal, resumed, self._files, sync=sync, claim=claim, load=load)
            if taken is not None:
                taken.close()
            log.info("resuming snapshot %d of %s", resumed.info.id, journal.path)
            world.host.paint()
        elif journal is not None:
            world.host.note_changes(directory_of(journal.path), sync=sync)
        for address in self.listening:
            log.info("listening on %s", address)
        self._world = world
        if resumed is not None:
            self._proceed(world)
        else:
            entry = "_start" if self._invoked is None else self._invoked
            world.family.start(entry, self._invoked_with, countdown=self._next_countdown())
            self._look(world)

    def _supervise(self, world: World) -> int:
        while True:
            event = world.family.wait()
            if event is None:  # nudged, or a signal's handler was due and has run
                self._look(world)
                continue
            self._count(world)
            match event:
                case Stopped():
                    code = self._stopped(world)
                    if code is not None:
                        return code
                    self._proceed(world)
                case Exited(code):
                    return code
                case Finished(results):
                    self._show(world.family.first, results)
                    return 0
                case Trapped(trap):
                    raise trap
                case Failed(error):
                    raise error

    def _show(self, guest: Guest, results: tuple[int, ...]) -> None:
        """Keep what an invoked function returned; what a command's ``_start`` does is nothing."""
        if self._invoked is not None:
            self.results = tuple(map(shown, results, guest.signature(self._invoked).results))

    def _look(self, world: World) -> None:
        """See what there is to do while the guest runs; a stop while it did not was void."""
        wanted = self._service is not None and self._service.look()
        if self._others is not None:
            while self._others.due:
                world.host.processes.deliver(self._others.due.popleft())
            wanted = wanted or self._others.pause
        if wanted or self._stop_code is not None:
            world.family.stop()

    def _stopped(self, world: World) -> int | None:
        """Serve what was asked for; the exit code if the process is to end here."""
        if self._stop_code is not None:
            return self._stop_code
        pause = False
        if self._others is not None:
            pause, self._others.pause = self._others.pause, False
        if self._service is None:
            if pause:
                world.host.pause()
            return None
        if self._countdown and not pause and not self._desk.waiting:
            self._desk.submit(Request("safepoint"))
        ends = any(request.then.end is not None for request in self._desk.waiting)
        if ends or self._stop_after_snapshot:
            world.host.freeze()
        then = self._service.serve()
        if then.end is None:
            world.host.thaw()
        if then.end is None and self._handed_over(world):
            return 0
        if then.end is not None:
            world.host.leave()  # before a word of ours
            log.info("stopped; go on with: wasnap resume %s", self._journal_path)
        elif then.pause or pause:
            world.host.pause()
        for name in self._service.signals:
            world.host.processes.deliver(name)
        return then.end

    def _handed_over(self, world: World) -> bool:
        """Offer the process to those who want to take it over; whether one of them has it now."""
        assert self._service is not None
        for request in self._service.offers:
            assert request.offer is not None
            assert self._service.newest is not None
            assert self._journal is not None
            estate = Estate(
                self._service.newest[0], self._journal.fileno(), world.host.live_sockets()
            )
            if request.offer(estate):
                world.host.close_descriptors()  # or its connections would end when we do
                request.serve(estate.snapshot)
                log.info("another process has taken over")
                return True
            request.serve(estate.snapshot)
        return False

    def _proceed(self, world: World) -> None:
        world.family.proceed(countdown=self._next_countdown())
        self._look(world)

    def _finish(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Wait for what is being committed, unless this is an end at once."""
        service = self._service
        if service is None:
            return
        abandon = kind is not None and not issubclass(kind, Exception)
        try:
            if not abandon:
                service.finish()
        except BaseException:
            abandon = True
            raise
        finally:
            self._kept_by_disk = not service.close(abandon=abandon)
            if abandon:
                self._close_seconds = _NOW_SECONDS

    def _unless_kept(self, free: Callable[..., None], *what: World) -> None:
        """Free what the saver uses, unless it still does."""
        if not self._kept_by_disk:
            free(*what)

    def _close(self, world: World) -> None:
        """A guest that does not stop keeps what it uses; it is this process's end that frees it."""
        if world.family.close(self._close_seconds):
            world.host.close()
        world.close()

    def _end(self) -> None:
        """From here on nothing is served any more."""
        self._ended = True
        self._world = None
        self._desk.close()

    def _arm(self, cleanup: contextlib.ExitStack, world: World) -> None:
        """From here on signals and occasions are heard."""
        family, host = world.family, world.host
        around = Around(
            submit=self._desk.submit,
            activity=lambda: family.activity,
            changed=lambda: (
                self._service is None or family.activity != self._service.saved_activity
            ),
            handles=lambda name: host.processes.first.signals.handles(name),
            occasions=host.occasions,
        )
        cleanup.enter_context(triggers.ears(self._heard))
        if family.first.has_handlers or host.has_terminal:
            names = [trigger.name for trigger in self._triggers]
            self._others = triggers.Others(names, self._nudge, host.leave)
            self._others.arm(around)
            cleanup.callback(self._others.disarm)
        for trigger in self._triggers:
            trigger.arm(around)
            cleanup.callback(trigger.disarm)
        if self._after is not None:
            cleanup.callback(self._after.close)  # while signals are heard: they end the wait
        cleanup.callback(self._end)  # before that: a trigger may wait for an answer
        cleanup.push(self._finish)
        family.listen(host.occasions)
        if self._journal_path is not None:
            host.explicit.ask = self._ask

    def _status(self) -> Status:
        """For those who ask from outside; on a thread of theirs."""
        newest = None if self._service is None else self._service.newest
        return Status(
            pid=os.getpid(),
            wasnap=VERSION,
            state="starting" if self._world is None else "running",
            command=self._command,
            journal=None if self._journal_path is None else os.path.abspath(self._journal_path),
            triggers=[trigger.name for trigger in self._triggers],
            started_ns=self._started_ns,
            snapshot=newest and newest[0],
            snapshot_ns=newest and newest[1],
        )

    def _ask(self) -> Callable[[], bool]:
        """The guest asks for a snapshot; what is returned waits for it."""
        request = Request("explicit")
        self._desk.submit(request)
        return request.wait

    def _stop_guest(self) -> None:
        """From any thread, or a signal handler."""
        world = self._world
        if world is not None:
            world.family.stop()

    def _heard(self) -> None:
        """A signal came: have the supervisor run its handler, wherever it waits."""
        self._nudge()
        if self._service is not None:
            self._service.nudge()

    def _nudge(self) -> None:
        """Have the supervisor look at the desk; from any thread, or a signal handler."""
        world = self._world
        if world is not None:
            world.family.nudge()

    # -- counted programs --------------------------------------------------------------------

    def _next_countdown(self) -> int:
        self._countdown = next(self._countdowns, 0)
        self._armed = self._countdown or (_NEVER if self._counted else 0)
        return self._armed

    def _count(self, world: World) -> None:
        if self._counted:
            self.safepoints += self._armed - world.family.countdown


def resume(
    journal: str | os.PathLike[str],
    at: int | str | None = None,
    *,
    dirs: Directories | None = None,
    snapshot_on: Iterable[str] | None = None,
    snapshot_timer: float | None = None,
    stop_after_snapshot: bool = False,
    listen: Sequence[str] = (),
    net: bool = False,
    net_allow: Sequence[str] = (),
    sockets: Connections = "reset",
    label: str = "",
    grace: float | None = None,
    after_snapshot: str | None = None,
    stdin: int | None = 0,
    stdout: int | None = 1,
    stderr: int | None = 2,
    counted: Iterable[int] | None = None,
    files: Files | None = None,
    durability: Durability = "system",
    on_snapshot: Callable[[int], None] | None = None,
    control: bool = False,
    listen_rebind: Mapping[str, str] | None = None,
    take_over: int | None = None,
) -> Process:
    """The process that snapshot ``at`` (the newest if None) of a journal is of; ``run`` it.

    Arguments, environment, clock and randomness are the saved ones. ``dirs``: those given replace
    the recorded ones of the same guest path; ``net`` and ``net_allow`` all recorded rules. The rest as for ``Process``.
    """
    return Process(
        None,
        dirs=dirs,
        journal=journal,
        at=at,
        snapshot_on=snapshot_on,
        snapshot_timer=snapshot_timer,
        stop_after_snapshot=stop_after_snapshot,
        listen=listen,
        net=net,
        net_allow=net_allow,
        sockets=sockets,
        label=label,
        grace=grace,
        after_snapshot=after_snapshot,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        counted=counted,
        files=files,
        durability=durability,
        on_snapshot=on_snapshot,
        control=control,
        listen_rebind=listen_rebind,
        take_over=take_over,
    )
