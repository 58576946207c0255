"""The side of the command: finds running processes, and asks them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wasnap.control import messages, place
from wasnap.control.messages import Answer, Message, Refused, Status, StatusOf
from wasnap.errors import ProcessEnded, WasnapError

STATUS_SECONDS = 2.0
"""For a process to say how it is."""


class NoSuchProcess(WasnapError):
    """No running wasnap of this user has that number."""

    exit_code = 66


class Other(WasnapError):
    """What the process said, with its exit code."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message, refused.hint)
        self.exit_code = refused.exit_code


class Running(msgspec.Struct, frozen=True):
    """A process that is there. ``state``: its own, or ``stopped`` (by SIGSTOP), or ``silent``.

    ``status``: None if it does not say; ``command``: what it runs, or how it was started.
    """

    pid: int
    state: str
    command: list[str]
    status: Status | None


def running() -> list[Running]:
    """All of this user's, by number."""
    found: dict[int, Running] = {}
    for directory in _directories():
        for pid in place.processes(directory):
            try:
                with place.connect(directory, pid) as connection:
                    found[pid] = _look(pid, connection)
            except BlockingIOError:
                found[pid] = _does_not_say(pid)
            except OSError:
                continue
    return [found[pid] for pid in sorted(found)]


def ask(pid: int, message: Message) -> Answer:
    """What the process answers; it may take its time. Raises NoSuchProcess, ProcessEnded, or what
    the process itself has to complain about.
    """
    with connected(pid) as connection:
        answer = converse(connection, message)
    if answer is None:
        raise ProcessEnded(f"process {pid} ended before it answered")
    if isinstance(answer, Refused):
        raise Other(answer)
    return answer


def connected(pid: int) -> socket.socket:
    """A connection to the process. Raises NoSuchProcess, or WasnapError if it is stopped."""
    for directory in _directories():
        try:
            connection = _connection(directory, pid)
        except OSError:
            continue
        if _is_stopped(pid):
            connection.close()
            raise _stands_still(pid)
        return connection
    raise NoSuchProcess(f"no wasnap process {pid} is running", "wasnap ps shows those that are")


def _connection(directory: int, pid: int) -> socket.socket:
    """Waits where many ask at the same time, but not for one that is stopped."""
    try:
        return place.connect(directory, pid)
    except BlockingIOError:
        if _is_stopped(pid):
            raise _stands_still(pid) from None
        return place.connect(directory, pid, wait=True)


def _stands_still(pid: int) -> WasnapError:
    return WasnapError(f"process {pid} is stopped", f"kill -CONT {pid} lets it go on")


def _look(pid: int, connection: socket.socket) -> Running:
    if _is_stopped(pid):
        return _does_not_say(pid)
    connection.settimeout(STATUS_SECONDS)
    try:
        answer = converse(connection, StatusOf())
    except (OSError, ValueError):
        answer = None
    if isinstance(answer, Status):
        return Running(pid, answer.state, answer.command or _command(pid), answer)
    return _does_not_say(pid)


def _does_not_say(pid: int) -> Running:
    """One without an answer: stopped, or silent."""
    return Running(pid, "stopped" if _is_stopped(pid) else "silent", _command(pid), None)


def converse(connection: socket.socket, message: Message) -> Answer | None:
    """None: the other side went away."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(messages.encode(message))
        with connection.makefile("rb") as lines:
            line = lines.readline()
        if line.endswith(b"\n"):
            return messages.decode_answer(line)
    return None


def _command(pid: int) -> list[str]:
    """How the process was started; nothing if that cannot be seen."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [argument.decode(errors="replace") for argument in line.split(b"\0")[:-1]]


def _is_stopped(pid: int) -> bool:
    """Whether SIGSTOP or the like holds it: it would not answer."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("T", "t")


def _directories() -> Iterator[int]:
    for directory in place.existing():
        try:
            yield directory
        finally:
            os.close(directory)
