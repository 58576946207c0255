"""A directory, a history over it, and random changes; and a machine that dies at the n-th call.

``World`` does to its directory what the host does for a guest. ``Fault`` stands before everything
through which a history changes anything (system calls, rows of the table): from the n-th of these
calls on nothing happens any more, as after SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wasnap.host.history import (
    History,
    HistoryState,
    Touched,
    contents,
    history,
    kept,
    log,
    names,
    recorder,
    table,
    undo,
)
from wasnap.host.history.places import path_of

MODULES = (contents, history, kept, log, names, recorder, undo)
CHANGING = (
    "copy_file_range", "fchmod", "ftruncate", "link", "mkdir", "open", "posix_fallocate", "pwrite",
    "pwritev", "rename", "rmdir", "symlink", "truncate", "unlink", "utime", "writev",
)  # fmt: skip
ROWS = ("begin", "settle", "new", "forget", "renumber")


class Killed(BaseException):
    """SIGKILL: nothing of ours happens from here on."""


class Fault:
    """Counts calls; kills at number ``at`` (0: never). ``calls``: how many there were."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at = 0
        self.calls = 0
        self.dead = False
        self.refuse_links = False
        """Kept files are then on another file system, so to speak."""
        for module in MODULES:
            patch.setattr(module, "os", _Os(self))
        for name in ROWS:
            patch.setattr(table.Table, name, self.watched(getattr(table.Table, name)))

    def arm(self, at: int) -> None:
        """Kill at the ``at``-th call from now on."""
        self.at, self.calls, self.dead = at, 0, False

    def disarm(self) -> None:
        """A new process."""
        self.at, self.dead = 0, False

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.dead or self.calls == self.at:
                self.dead = True
                if function is os.pwritev and self.calls == self.at:  # the log: a torn tail
                    data = b"".join(args[1])
                    os.pwrite(args[0], data[: len(data) * (self.at % 3) // 2], args[2])
                raise Killed
            if function is os.link and self.refuse_links and "src_dir_fd" in options:
                source = os.readlink(f"/proc/self/fd/{options['src_dir_fd']}")
                target = os.readlink(f"/proc/self/fd/{options['dst_dir_fd']}")
                if ("files" in source) != ("files" in target):
                    raise OSError(18, "Invalid cross-device link")
            return function(*args, **options)

        return call


class _Os:
    """The module ``os``, watched."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        return self._fault.watched(value) if name in CHANGING else value


class Base:
    """A mapped directory."""

    def __init__(self, path: Path, guest: str = "/data", readonly: bool = False) -> None:
        self.fileno = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.guest = guest
        self.readonly = readonly


class Open:
    """An open file of a guest."""

    def __init__(self, fileno: int, base: Base, *, readable: bool, appends: bool) -> None:
        self.fileno = fileno
        self.base = base
        self.readable = readable
        self.writable = True
        self.appends = appends
        self.touched: Touched | None = None

    def where(self) -> tuple[int, bytes] | None:
        path = path_of(self.base.fileno, self.fileno)
        return None if path is None else (0, path)


Tree = dict[str, tuple[Any, ...]]


def tree(path: Path) -> Tree:
    """All that is there: kinds, modes, contents, targets, modification times, hard links."""
    found: Tree = {}
    links: dict[int, str] = {}
    for place in [path, *sorted(path.rglob("*"))]:
        status = place.lstat()
        name = str(place.relative_to(path))
        content: Any = None
        if stat.S_ISREG(status.st_mode):
            content = (place.read_bytes(), links.setdefault(status.st_ino, name))
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(place)
        found[name] = (status.st_mode, status.st_mtime_ns, content)
    return found


class World:
    """``directory``/data and its history at ``directory``/files."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.path = directory / "files"
        if not self.data.exists():
            self.data.mkdir(parents=True)
        self.base = Base(self.data)
        self.history: History | None = None
        self.open: list[Open] = []

    @property
    def now(self) -> History:
        assert self.history is not None
        return self.history

    def create(self) -> None:
        """A new history."""
        self.history = History.create(self.path, [self.base], sync=False)

    def resume(self, state: HistoryState) -> dict[str, None]:
        """In a new process: go back there; differences that others made (then: nothing is)."""
        self.history = History.open(self.path, state.log, [self.base], sync=False)
        plan = self.history.plan(state)
        if plan.differences:
            return plan.differences
        self.history.begin(plan)
        self.history.rewind(plan)
        return {}

    def die(self) -> None:
        """The end of the process, however it comes."""
        for file in self.open:
            os.close(file.fileno)
        self.open.clear()
        if self.history is not None:
            with contextlib.suppress(Killed, OSError):
                self.history.close()
            self.history = None

    # -- what a guest does ------------------------------------------------------------------

    @contextlib.contextmanager
    def at(self, path: str) -> Iterator[tuple[int, bytes]]:
        """The parent of a path, open, and its last component."""
        parent, _, name = path.rpartition("/")
        fd = os.open(self.data / parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd, name.encode()
        finally:
            os.close(fd)

    def create_file(self, path: str, *, appends: bool = False) -> Open:
        with self.at(path) as (fd, name):
            flags = os.O_WRONLY | (os.O_APPEND if appends else 0)
            fileno = self.now.names.create(self.base, fd, name, flags)
        return self._opened(fileno, readable=False, appends=appends)

    def open_file(self, path: str, *, readable: bool = True, appends: bool = False) -> Open:
        flags = os.O_RDWR if readable else os.O_WRONLY
        fileno = os.open(self.data / path, flags | (os.O_APPEND if appends else 0))
        return self._opened(fileno, readable=readable, appends=appends)

    def _opened(self, fileno: int, *, readable: bool, appends: bool) -> Open:
        self.open.append(Open(fileno, self.base, readable=readable, appends=appends))
        return self.open[-1]

    def close(self, file: Open) -> None:
        self.open.remove(file)
        os.close(file.fileno)

    def write(self, file: Open, data: bytes, offset: int | None = None) -> None:
        self.now.contents.write(file, [memoryview(data)], offset)

    def change(self, operation: str, *paths: str) -> None:
        names, base = self.now.names, self.base
        with self.at(paths[0]) as (fd, name):
            if operation == "unlink":
                names.unlink(base, fd, name)
            elif operation == "mkdir":
                names.make_directory(base, fd, name)
            elif operation == "rmdir":
                names.remove_directory(base, fd, name)
            elif operation == "symlink":
                names.symlink(base, fd, name, paths[1].encode())
            elif operation == "utime":
                place = (0, paths[0].encode())
                at = self.data / paths[0]
                names.set_times(place, lambda: os.lstat(at), lambda: _utime(at))
            else:
                with self.at(paths[1]) as (to, new):
                    if operation == "rename":
                        names.rename(base, fd, name, base, to, new)
                    else:
                        names.link(fd, name, base, to, new)


def _utime(path: Path) -> None:
    os.utime(path, ns=(1, 2), follow_symlinks=False)


class Script:
    """Random changes, the same for the same seed and the same directory."""

    def __init__(self, seed: int, *, links: bool = True) -> None:
        self.chance = random.Random(seed)
        self.links = links

    def run(self, world: World, steps: int) -> None:
        """So many changes; those that the system refuses count, too."""
        for _ in range(steps):
            with contextlib.suppress(OSError):
                self.step(world)

    def _name(self, world: World) -> str:
        """A name that may be there or not, in a directory that is."""
        folders = [p for p in sorted(world.data.rglob("*")) if p.is_dir() and not p.is_symlink()]
        folder = self.chance.choice([world.data, *folders])
        where = str(folder.relative_to(world.data))
        name = self.chance.choice(["a", "b", "c", "d", "e f", "g\n"])
        return name if where == "." else f"{where}/{name}"

    def _bytes(self) -> bytes:
        return self.chance.randbytes(self.chance.choice([1, 10, 5000, 20000]))

    def step(self, world: World) -> None:
        """One change."""
        chance = self.chance
        path = self._name(world)
        match chance.randrange(19):
            case 0 | 1 | 2:
                file = world.create_file(path, appends=chance.random() < 0.5)
                world.write(file, self._bytes())
            case 3 | 4:
                readable, appends = chance.random() < 0.5, chance.random() < 0.3
                file = world.open_file(path, readable=readable, appends=appends)
                world.write(file, self._bytes())
            case 5 | 6 | 7 | 8 if world.open:  # perhaps of one without a name by now
                file = chance.choice(world.open)
                world.write(file, self._bytes(), chance.choice([0, 100, 4096, 9000, 30000]))
            case 9 if world.open:
                file = chance.choice(world.open)
                world.now.contents.truncate(file, chance.choice([0, 7, 5000, 12345, 200000]))
            case 10:
                world.change("unlink", path)
            case 11 | 12:
                world.change("rename", path, self._name(world))
            case 13:
                world.change("mkdir", path)
            case 14:
                world.change("rmdir", path)
            case 15:
                world.change("symlink", path, "a/b")
            case 16:
                if self.links and chance.random() < 0.7:
                    new = self._name(world)
                    if not (world.data / path).is_symlink():  # docs/limits.md
                        world.change("link", path, new)
                else:
                    world.change("utime", path)
            case 17 | 18 if world.open:  # without a name, its inode is another file's from now on
                world.close(chance.choice(world.open))


def copy(source: Path, target: Path) -> None:
    """A world that can be begun again from."""
    shutil.copytree(source, target, symlinks=True)
