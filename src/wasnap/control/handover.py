"""A running process, handed over to another one that goes on with it: ``resume --take-over``.

The connection is the control socket's, the two speak in turns, and each message is answered before
the next one is sent::

    taker                                      giver
    take over, this journal       ------->     other journal? none? refused, nothing has happened
                                               a snapshot; the guest stands still from here on
                                  <-------     part: guest descriptors, and the kernel's (SCM_RIGHTS)
    got                           ------->     ... until all have been passed
                                  <-------     offer: the snapshot's number, the journal's descriptor
    opens the journal, restores everything, touches nothing in the world
    ready                         ------->
                                  <-------     yours
    mine                          ------->     the one moment from which it is the taker's
    files, terminal; the guest runs            closes what it had, ends with 0

*Who has the process*? The giver says ``yours`` or ``withdrawn``, once. It says ``withdrawn`` if
anything goes wrong or takes too long, and only after that its guest goes on. Because of the turns
there is always room for that message in the socket's buffer: it cannot be sent only if nobody is
there to read it, and then nobody goes on but the giver. So a taker that has the whole offer and then
finds the connection at its end, without either word, knows that the giver died while its guest
stood still, and takes over. One that has not the whole offer gives up.

The taker says ``mine`` before it touches anything. So a giver that finds the connection at its end
without that word knows that the taker died and has changed nothing, and goes on. A taker that dies
later is a process that died, whose journal goes on from its newest snapshot.

*The journal's lock* is one of the open file (flock), which both have while the offer stands, so
there is no moment at which a third one could get it. Bytes that were received and not yet read, or
sent and not yet acknowledged, are the kernel's, and go with the sockets; a call that was half done
is part of the snapshot.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from wasnap.control import messages
from wasnap.control.client import Other, connected
from wasnap.control.messages import (
    Got,
    Mine,
    Offer,
    Part,
    Ready,
    Refused,
    TakeOver,
    Withdrawn,
    Yours,
)
from wasnap.errors import MissingFile, ProcessEnded, WasnapError
from wasnap.triggers import Estate

log = logging.getLogger(__name__)

OFFER_SECONDS = 10.0
"""For the taker to be ready. The guest stands still, and its clients wait."""

_PART = 200
"""Descriptors in a message: the kernel takes at most 253."""


class _Gone(Exception):
    """The other side has closed the connection, or died."""


def offer(connection: socket.socket, estate: Estate) -> bool:
    """The giver's side, while the guest stands still at the snapshot. True: it is the taker's, and
    nothing of the estate may be touched any more; False: it has been withdrawn.
    """
    deadline = time.monotonic() + OFFER_SECONDS
    try:
        all_numbers = sorted(estate.sockets)
        for at in range(0, len(all_numbers), _PART):
            numbers = all_numbers[at : at + _PART]
            _send(connection, Part(numbers), [estate.sockets[n] for n in numbers])
            _hear(connection, Got, deadline)
        _send(connection, Offer(estate.snapshot), [estate.journal])
        _hear(connection, Ready, deadline)
    except (_Gone, OSError, ValueError) as error:
        why = str(error) or "the other process ended"
        with contextlib.suppress(OSError):
            _send(connection, Withdrawn(why))
        log.warning("not handed over: %s; the program goes on", why)
        return False
    try:
        _send(connection, Yours())
        _hear(connection, Mine, None)
    except (_Gone, OSError):
        log.warning("not handed over: the other process ended; the program goes on")
        return False
    return True


class Takeover:
    """The taker's side: what process ``pid`` offers. ``snapshot``: which it stands still at.
    ``journal``: a descriptor of the journal, with its lock. ``sockets``: by guest descriptor.
    """

    def __init__(self, pid: int, journal: Path) -> None:
        """Ask, and wait for the whole offer. Raises NoSuchProcess, ProcessEnded, MissingFile, or
        what the process has to complain about; then it goes on as if nothing had happened.
        """
        self.sockets: dict[int, int] = {}
        self.journal = -1
        self._pid = pid
        try:
            status = os.stat(journal)
        except OSError as error:
            raise MissingFile(f"{journal} cannot be looked at: {error.strerror}") from None
        self._connection = connected(pid)
        try:
            _send(self._connection, TakeOver(device=status.st_dev, inode=status.st_ino))
            self.snapshot = self._receive()
        except (OSError, _Gone):
            self.close()
            raise ProcessEnded(
                f"process {pid} ended before it was handed over",
                f"wasnap resume {journal} goes on from its newest snapshot",
            ) from None
        except BaseException:
            self.close()
            raise

    def _receive(self) -> int:
        while True:
            message, fds = _hear(self._connection, Part | Offer | Withdrawn | Refused, None)
            match message:
                case Part(numbers=numbers):
                    self.sockets.update(zip(numbers, fds, strict=True))
                    _send(self._connection, Got())
                case Offer(snapshot=snapshot):
                    (self.journal,) = fds
                    return snapshot
                case Refused():
                    raise Other(message)
                case Withdrawn(message=why):
                    raise _withdrawn(self._pid, why)

    def claim(self) -> None:
        """All is restored: from here on the process is ours. Raises WasnapError if it is not, and
        the giver goes on.
        """
        with contextlib.suppress(OSError):  # what it said last is there all the same
            _send(self._connection, Ready())
        try:
            message, _ = _hear(self._connection, Yours | Withdrawn, None)
        except (OSError, _Gone):
            log.warning(
                "process %d died while it was handed over: taken over all the same", self._pid
            )
            return
        if isinstance(message, Withdrawn):
            raise _withdrawn(self._pid, message.message)
        with contextlib.suppress(OSError):  # it does not go on if it is not there any more
            _send(self._connection, Mine())

    def close(self) -> None:
        """Close all descriptors; whoever wants one has made it his own (dup)."""
        self._connection.close()
        fds = [*self.sockets.values(), self.journal]
        self.sockets, self.journal = {}, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def _withdrawn(pid: int, why: str) -> WasnapError:
    return WasnapError(f"process {pid} was not handed over and goes on: {why}", "try again")


def _send(
    connection: socket.socket,
    message: messages.Message | messages.Answer | messages.Reply,
    fds: list[int] | None = None,
) -> None:
    """In one piece, with the descriptors at its first byte."""
    data = messages.encode(message)
    sent = socket.send_fds(connection, [data], fds or [])
    if sent < len(data):  # sending nothing would be an error, too, if the other one has closed
        connection.sendall(data[sent:])


def _hear(connection: socket.socket, kind: Any, deadline: float | None) -> tuple[Any, list[int]]:
    """The next message, which is one of ``kind``, and the descriptors that came with it. Raises
    _Gone, TimeoutError, another OSError, or ValueError: it is something else.
    """
    data = b""
    fds: list[int] = []
    try:
        while not data.endswith(b"\n"):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("it took too long")
            connection.settimeout(left)
            try:
                more, came, flags, _ = socket.recv_fds(connection, messages.SIZE_MAX, 253)
            except TimeoutError:
                raise TimeoutError("it took too long") from None
            fds += came
            if not more:
                raise _Gone
            if flags & socket.MSG_CTRUNC:
                raise ValueError("descriptors were lost: too many are open")
            data += more
        return messages.decode_as(data, kind), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
