"""The directory where each running process has its socket: ``PID.sock``.

``$XDG_RUNTIME_DIR/wasnap``, or ``/tmp/wasnap-UID`` where there is no such thing. It must be a real
directory that belongs to this user and is closed to all others, or it is not used. A process
started by cron and a shell may not agree on the first: whoever looks for processes looks in both.

A path to a socket may have 107 bytes; ours are reached through ``/proc/self/fd`` instead, and so
have no limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator

_NAME = r"([1-9][0-9]*)\.sock"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class NotOurs(OSError):
    """The directory is not this user's alone."""


def candidates() -> list[str]:
    """Where it may be, the best place first."""
    user = os.geteuid()
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{user}"]
    found = [os.path.join(base, "wasnap") for base in bases if os.path.isabs(base)]
    return list(dict.fromkeys([*found, f"/tmp/wasnap-{user}"]))


def make() -> int:
    """A descriptor of the directory, made if need be. Raises OSError if none can be used."""
    last = OSError("no place")
    for path in candidates():
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            return _open(path)
        except OSError as error:
            last = error
    raise last


def existing() -> Iterator[int]:
    """Descriptors of all that are there and ours, to be closed by the caller."""
    for path in candidates():
        with contextlib.suppress(OSError):
            yield _open(path)


def _open(path: str) -> int:
    fd = os.open(path, _FLAGS)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(fd)
        raise NotOurs(f"{path} is not closed to others")
    return fd


def listen(directory: int, pid: int) -> socket.socket:
    """A socket called after the process; it has its name only when it can be connected to."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        passing = f".{pid}.new"
        remove(directory, passing)
        listening.bind(f"/proc/self/fd/{directory}/{passing}")
        listening.listen()
        os.rename(passing, name_of(pid), src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        listening.close()
        raise
    return listening


def connect(directory: int, pid: int, *, wait: bool = False) -> socket.socket:
    """A connection to the process. Raises OSError; what nobody listens on is removed.

    A process that stands still accepts nobody, and those who looked whether it is there stay in the
    kernel's queue. When that is full: BlockingIOError, or ``wait`` until it is not.
    """
    name = name_of(pid)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(wait)
        connection.connect(f"/proc/self/fd/{directory}/{name}")
        connection.setblocking(True)
        if not is_same_user(connection):
            raise NotOurs("another user answers")
    except BaseException as error:
        connection.close()
        if isinstance(error, ConnectionRefusedError):
            remove(directory, name)
        raise
    return connection


def is_same_user(connection: socket.socket) -> bool:
    """Whether this user's process is at the other end."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(data)[1] == os.geteuid())


def processes(directory: int) -> list[int]:
    """Those that have a socket there, perhaps without being alive."""
    names = (re.fullmatch(_NAME, name) for name in os.listdir(directory))
    return sorted(int(name[1]) for name in names if name)


def clean(directory: int) -> None:
    """Remove what dead processes left behind."""
    for pid in processes(directory):
        with contextlib.suppress(OSError):
            connect(directory, pid).close()


def remove(directory: int, name: str) -> None:
    """Remove a socket, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def name_of(pid: int) -> str:
    """The process's socket."""
    return f"{pid}.sock"
