"""proc_exec and its kin: another program, in a process's place or in a new process.

A program is a file in a mapped directory. Its name is a path from the working directory, or, where
that is asked for and there is no slash in it, looked for in the directories of a PATH.

Arguments and environment are texts with a line feed after each entry; so none can hold one.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from .. import pipe
from .. import rights as r
from ..beneath import os_error
from ..descriptors import Descriptor
from ..mapped import Directory, Want
from ..protocol import Call, Exec, Exit, Loaded
from ..signals import SignalsState
from ..wasip1 import errno as wasi
from ..wasip1 import spec
from ..wasip1.abi import I32, Ptr, guard, read_path
from ..wasip1.errno import invalid
from ..world import Host
from . import layout

_PATH = (b"/usr/local/bin", b"/bin", b"/usr/bin")
"""Where nothing is said of it."""
_CLOSE, _DUP2, _OPEN, _CHDIR, _FCHDIR = range(5)
"""``layout.FdOp.cmd``."""
_CLOEXEC = 1 << 0
_PIPED, _INHERIT, *_CLOSED = range(4)
"""``stdio_mode``: piped, inherit; null and log, for which there is nothing."""


class Programs:
    """Other programs."""

    _fd_ops = staticmethod(layout.read_fd_ops)

    def __init__(self, host: Host) -> None:
        self._host = host

    def proc_exec(self, call: Call, name: Ptr, name_len: Ptr, args: Ptr, args_len: Ptr) -> None:
        """Go on as another program, with the same environment.

        Descriptors without CLOEXEC, working directory and alarms stay; all other threads are over. If
        it cannot be had the process ends with the errno as its exit code: as ``proc_exec3`` tells.
        """
        self._exec_or_end(call, (name, name_len), (args, args_len), None)

    def proc_exec2(
        self,
        call: Call,
        name: Ptr,
        name_len: Ptr,
        args: Ptr,
        args_len: Ptr,
        envs: Ptr,
        envs_len: Ptr,
    ) -> None:
        """``proc_exec`` with another environment."""
        self._exec_or_end(call, (name, name_len), (args, args_len), (envs, envs_len))

    def proc_exec3(
        self,
        call: Call,
        name: Ptr,
        name_len: Ptr,
        args: Ptr,
        args_len: Ptr,
        envs: Ptr,
        envs_len: Ptr,
        search_path: I32,
        path: Ptr,
        path_len: Ptr,
    ) -> None:
        """``proc_exec2`` that returns if it cannot be had. Like execve, or, with search_path, execvpe.

        envs 0: the same environment. path 0: the usual directories. NOENT: there is no such file.
        ACCES: it is a directory. NOEXEC: it is not a module, or not one that can run. AGAIN: it
        cannot be had now.
        """
        env = (envs, envs_len) if envs else None
        directories = _directories(call, search_path, path, path_len)
        self._exec(call, (name, name_len), (args, args_len), env, directories)

    def proc_spawn2(
        self,
        call: Call,
        name: Ptr,
        name_len: Ptr,
        args: Ptr,
        args_len: Ptr,
        envs: Ptr,
        envs_len: Ptr,
        fd_ops: Ptr,
        fd_ops_len: Ptr,
        signal_dispositions: Ptr,
        signal_dispositions_len: Ptr,
        search_path: I32,
        path: Ptr,
        path_len: Ptr,
        pid: Ptr,
    ) -> None:
        """A child that is another program: u32 number at pid. Like posix_spawn.

        fd_ops: what is done to its descriptors and working directory first, so many
        ``layout.FdOp``. signal_dispositions: what ``proc_signals_get`` tells it, 2 bytes each. The
        rest, and its errors, as for ``proc_exec3``; and those of what is done.
        """
        memory = call.memory
        memory.u32(pid)
        operations = self._fd_ops(memory, fd_ops, fd_ops_len)
        dispositions = memory.read(signal_dispositions, 2 * signal_dispositions_len)
        directories = _directories(call, search_path, path, path_len)
        loaded = self._find(call, read_path(memory, name, name_len), directories)

        def prepare(child: Host) -> None:
            for operation in operations:
                _carry_out(call, child, operation)
            child.dispositions = dispositions

        env = _entries(call, envs, envs_len) if envs else None
        child = self._spawn(call, loaded, _entries(call, args, args_len), env, prepare)
        memory.set_u32(pid, child)

    def proc_spawn(
        self,
        call: Call,
        name: Ptr,
        name_len: Ptr,
        chroot: I32,
        args: Ptr,
        args_len: Ptr,
        preopen: Ptr,
        preopen_len: Ptr,
        stdin: I32,
        stdout: I32,
        stderr: I32,
        working_dir: Ptr,
        working_dir_len: Ptr,
        handles: Ptr,
    ) -> None:
        """A child that is another program: ``layout.process_handles`` (28 bytes) at handles. The first
        version of ``proc_spawn2``, with the same environment.

        stdin, stdout, stderr: 0 a pipe, whose other end is ours, 1 the same as ours, 2 and 3 closed.
        working_dir: where it begins, a path from where we are. NOTSUP: chroot, or mappings of its own
        (preopen). INVAL: no such way. The rest as for ``proc_exec3``; NOTDIR.
        """
        memory = call.memory
        memory.view(handles, layout.PROCESS_HANDLES_SIZE)
        ways = [way & 0xFF for way in (stdin, stdout, stderr)]
        if any(way not in (_PIPED, _INHERIT, *_CLOSED) for way in ways):
            raise invalid("stdio_mode")
        if chroot & 0xFF or memory.read(preopen, preopen_len).strip(b"\r\n"):
            raise os_error(errno.ENOTSUP)
        directory = self._host.absolute(read_path(memory, working_dir, working_dir_len))
        loaded = self._find(call, read_path(memory, name, name_len), ())
        ours: dict[int, Descriptor] = {}

        def prepare(child: Host) -> None:
            _change_directory(child, directory)
            for number, way in enumerate(ways):
                if way == _PIPED:
                    reader, writer = pipe.new()
                    ours[number], theirs = (reader, writer) if number else (writer, reader)
                    child.descriptors.add_as(theirs, number)
                elif way in _CLOSED and child.descriptors.find(number) is not None:
                    child.descriptors.close(number)

        try:
            child = self._spawn(call, loaded, _entries(call, args, args_len), None, prepare)
        except BaseException:
            for end in ours.values():
                end.close()
            raise
        numbers = {number: self._host.descriptors.add(end) for number, end in ours.items()}
        memory.write(handles, layout.process_handles(child, [*map(numbers.get, range(3))]))

    def _spawn(
        self,
        call: Call,
        loaded: Loaded,
        args: list[bytes],
        env: list[bytes] | None,
        prepare: Callable[[Host], None],
    ) -> int:
        """A child that is this program: its number. ``prepare``: what is done to its descriptors and
        working directory first. Raises OSError."""
        processes = self._host.processes
        child = processes.add(self._host, call.thread)
        try:
            prepare(child)
            program = child.successor(args, env)
            program.signals.restore(SignalsState())
            program.dispositions = child.dispositions
            made = call.make(child.process, loaded, program.provider)
            try:
                processes.execute(child, program)
                child = program
                call.begin(made)
            except BaseException:
                made.close()
                raise
        except BaseException:
            processes.drop(child)
            raise
        return child.process

    def _exec_or_end(
        self,
        call: Call,
        name: tuple[int, int],
        args: tuple[int, int],
        env: tuple[int, int] | None,
    ) -> None:
        code = guard(self._exec)(call, name, args, env, ())
        if code and not self._host.processes.acted(self._host, code):
            raise Exit(code)

    def _exec(
        self,
        call: Call,
        name: tuple[int, int],
        args: tuple[int, int],
        env: tuple[int, int] | None,
        directories: Sequence[bytes],
    ) -> None:
        """Returns if a child that we act as is the program then."""
        loaded = self._find(call, read_path(call.memory, *name), directories)
        entries = None if env is None else _entries(call, *env)
        if self._host.acting is not None:
            self._exec_child(call, loaded, _entries(call, *args), entries)
            return
        with call.still() if call.may_stop() else nullcontext():  # or they find nothing open
            program = self._host.successor(_entries(call, *args), entries)
            made = call.make(self._host.process, loaded, program.provider)
            try:
                self._host.processes.execute(self._host, program)
            except OSError:
                made.close()
                raise
            raise Exec(made)

    def _exec_child(
        self, call: Call, loaded: Loaded, args: list[bytes], env: list[bytes] | None
    ) -> None:
        """Make the child that we act as this program. Raises OSError; we then still act as it."""
        host, processes = self._host, self._host.processes
        child = processes.stop_acting(host)
        try:
            program = child.successor(args, env)
            made = call.make(child.process, loaded, program.provider)
        except BaseException:
            processes.act_again(host, child)
            raise
        processes.execute(child, program)
        try:
            call.begin(made)
        except OSError as error:  # there is no way back
            made.close()
            processes.ended(program.process, wasi.of(error), 0)

    def _find(self, call: Call, name: bytes, directories: Sequence[bytes]) -> Loaded:
        """The code of a program. Raises OSError."""
        if not name:
            raise os_error(errno.ENOENT)
        paths = [name]
        if directories and b"/" not in name:
            paths = [directory.rstrip(b"/") + b"/" + name for directory in directories]
        refused: OSError = os_error(errno.ENOENT)
        for path in paths:
            try:
                module = self._read(self._host.absolute(path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError as error:
                refused = error
                continue
            return call.load(module)
        raise refused

    def _read(self, path: bytes) -> bytes:
        """The file of a program. Raises OSError."""
        file = self._host.open_path(path, Want())
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise os_error(errno.EACCES)
            content = bytearray(status.st_size)
            done = 0
            while done < len(content):
                n = file.read_at([memoryview(content)[done:]], done)
                if not n:
                    break
                done += n
            return bytes(content[:done])
        finally:
            file.close()


def _directories(call: Call, search_path: int, path: int, path_len: int) -> Sequence[bytes]:
    """Where a name is looked for; nowhere unless that is asked for."""
    if not search_path & 0xFF:
        return ()
    return call.memory.read(path, path_len).split(b":") if path else _PATH


def _entries(call: Call, ptr: int, length: int) -> list[bytes]:
    """Those of a list; what ends it may be missing after the last."""
    entries = call.memory.read(ptr, length).split(b"\n")
    return entries if entries[-1] else entries[:-1]


def _carry_out(call: Call, child: Host, operation: layout.FdOp) -> None:
    """What is to be done in a child before its program begins. A mapped directory stays. Raises
    OSError."""
    descriptors = child.descriptors
    there = descriptors.find(operation.fd)
    mapped = isinstance(there, Directory) and there.preopen
    name = read_path(call.memory, operation.path, operation.path_len)
    if operation.cmd == _CLOSE:
        if not mapped:
            descriptors.close(operation.fd)
    elif operation.cmd in (_DUP2, _OPEN):
        if mapped:
            raise os_error(errno.ENOTSUP)
        if operation.cmd == _DUP2:
            descriptors.duplicate_as(operation.src_fd, operation.fd)
        else:
            opened = child.open_path(child.absolute(name), _want(operation))
            descriptors.add_as(opened, operation.fd)
        if operation.cmd == _OPEN and operation.fdflagsext & _CLOEXEC:
            descriptors.cloexec.add(operation.fd)
        else:
            descriptors.cloexec.discard(operation.fd)
    elif operation.cmd == _CHDIR:
        _change_directory(child, child.absolute(name))
    elif operation.cmd == _FCHDIR:
        raise os_error(errno.ENOTSUP)
    else:
        raise invalid("fd operation")


def _change_directory(child: Host, wanted: bytes) -> None:
    """Raises OSError (ENOENT, ENOTDIR)."""
    if not child.is_directory(wanted):
        raise os_error(errno.ENOTDIR)
    child.cwd = wanted


def _want(operation: layout.FdOp) -> Want:
    """What ``path_open`` would want."""
    oflags = operation.oflags
    return Want(
        follow=bool(operation.dirflags & spec.LOOKUPFLAGS_SYMLINK_FOLLOW),
        create=bool(oflags & spec.OFLAGS_CREAT),
        directory=bool(oflags & spec.OFLAGS_DIRECTORY),
        exclusive=bool(oflags & spec.OFLAGS_EXCL),
        truncate=bool(oflags & spec.OFLAGS_TRUNC),
        readable=bool(operation.rights_base & r.FD_READ),
        writable=bool(operation.rights_base & r.FD_WRITE),
        fdflags=operation.fdflags,
    )
