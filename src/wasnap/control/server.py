"""The side of the running process: a thread that listens, and one for each question.

A snapshot is asked for as any trigger asks; its answer is sent when it is committed, so one who
waits for it keeps nobody else waiting. When the process ends, its requests have all been answered
(the desk is closed), and ``close`` waits until the answers have left.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence

from wasnap import triggers
from wasnap.control import messages, place
from wasnap.control.messages import (
    Answer,
    Message,
    Refused,
    Sent,
    Snapshot,
    Status,
    StatusOf,
    Stop,
    TakeOver,
)
from wasnap.errors import UsageError, WasnapError
from wasnap.journal import check_label
from wasnap.triggers import Request, Submit, Then, Trigger
from wasnap.triggers.request import GO_ON

log = logging.getLogger(__name__)

_ASK_SECONDS = 5.0
"""For a client to say what it wants, and to take the answer."""


class Server:
    """Listens from the beginning to ``close``.

    ``submit``: where requests go; None: there is no journal. ``status``: how the process is.
    ``armed``: its triggers, for signals that no process hears of.
    """

    def __init__(
        self, submit: Submit | None, status: Callable[[], Status], armed: Sequence[Trigger]
    ) -> None:
        self._submit = submit
        self._status = status
        self._armed = armed
        self._threads: set[threading.Thread] = set()
        self._directory: int | None = None
        self._listening: socket.socket | None = None
        try:
            self._directory = place.make()
            place.clean(self._directory)
            self._listening = place.listen(self._directory, os.getpid())
        except OSError as error:  # a process that cannot be controlled is better than none
            log.info("wasnap ps will not see this process: %s", error)
            return
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Listen no more. All requests have been answered."""
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listening.close()
            assert self._directory is not None
            place.remove(self._directory, place.name_of(os.getpid()))
            deadline = time.monotonic() + _ASK_SECONDS
            for thread in list(self._threads):
                thread.join(max(0, deadline - time.monotonic()))
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def _serve(self) -> None:
        assert self._listening is not None
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # closed
                return
            threading.Thread(
                target=self._converse, args=(connection,), name="control", daemon=True
            ).start()

    def _converse(self, connection: socket.socket) -> None:
        """One message, one answer."""
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_ASK_SECONDS)
            if not place.is_same_user(connection):
                return
            with connection.makefile("rb") as lines:
                line = lines.readline(messages.SIZE_MAX)
            if not line:
                return
            self._threads.add(threading.current_thread())
            try:
                message: Message | None = None
                try:
                    message = messages.decode(line)
                    if isinstance(message, TakeOver):
                        self._hand_over(connection, message)
                        return
                    answer = self._answer(message)
                except ValueError as error:
                    answer = Refused(str(error))
                except WasnapError as error:
                    answer = Refused(error.message, error.hint, error.exit_code)
                except Exception as error:
                    answer = Refused(f"no snapshot: {error}")
                connection.sendall(messages.encode(answer))
                if isinstance(message, messages.Signal) and isinstance(answer, Sent):
                    self._send(message.number)
            finally:
                self._threads.discard(threading.current_thread())

    def _hand_over(self, connection: socket.socket, message: TakeOver) -> None:
        """Returns when all has been said. Raises WasnapError: it cannot be done."""
        from wasnap.control.handover import offer  # rare

        journal = self._status().journal
        if self._submit is None or journal is None:
            raise _no_journal()
        status = os.stat(journal)
        if (status.st_dev, status.st_ino) != (message.device, message.inode):
            raise UsageError(f"the process writes to another journal, {journal}", "give that one")
        request = Request("explicit", offer=functools.partial(offer, connection))
        self._submit(request)
        request.result()

    def _answer(self, message: StatusOf | Snapshot | Stop | messages.Signal) -> Answer:
        """Raises WasnapError: it cannot be done."""
        match message:
            case StatusOf():
                return self._status()
            case Snapshot(label=label):
                return self._take(label)
            case Stop(label=label):
                return self._take(label, Then(end=0))
            case messages.Signal(number=number):
                if number not in signal.valid_signals():
                    raise UsageError(f"there is no signal {number}")
                return Sent()

    def _take(self, label: str, then: Then = GO_ON) -> Answer:
        """A snapshot, committed."""
        if self._submit is None:
            raise _no_journal()
        if label:
            check_label(label)
        request = Request("explicit", label=label, then=then)
        self._submit(request)
        return messages.Taken(request.result())

    def _send(self, number: int) -> None:
        """Real signals go the way of real signals; SIGSTOP has none that can be heard."""
        for trigger in self._armed:
            if not isinstance(trigger, triggers.Signal) or not trigger.armed:
                continue
            if trigger.number == number == signal.SIGSTOP:
                trigger.ask()
                return
        os.kill(os.getpid(), number)


def _no_journal() -> UsageError:
    return UsageError(
        "the process has no journal: its snapshots have nowhere to go",
        "start it with --journal FILE; wasnap signal PID SIGTERM ends it as it is",
    )
