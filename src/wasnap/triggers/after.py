"""``--after-snapshot 'COMMAND'``: a shell command for each snapshot, when it is committed.

The guest does not wait for it. Commands run one after the other, in the order of the snapshots; the
process's end waits for those that are due, so that the last snapshot is not the one that was never
copied away. Each is a session of its own: a Ctrl-C that is meant for the guest does not end it.

    WASNAP_SNAPSHOT   the snapshot's number
    WASNAP_JOURNAL    the journal, an absolute path

It has no standard input, for that is the guest's; what it prints goes to our stderr.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
"""Between two looks whether a signal's handler wants to end the wait."""


class After:
    """``command``: for /bin/sh. ``journal``: its path."""

    def __init__(self, command: str, journal: str | os.PathLike[str]) -> None:
        self._command = command
        self._journal = os.path.abspath(journal)
        self._due: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def committed(self, snapshot: int) -> None:
        """Run the command for this one, soon; returns at once."""
        self._due.put(snapshot)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="after snapshots", daemon=True)
            thread.start()  # EndNow may come in here: one that has not begun cannot be joined
            self._thread = thread

    def close(self) -> None:
        """Wait for what is due. A signal handler may raise out of this; then it goes on alone."""
        self._due.put(None)
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(_LOOK_SECONDS)

    def _run(self) -> None:
        while (snapshot := self._due.get()) is not None:
            trouble = self._run_one(snapshot)
            if trouble:
                log.warning("the command after snapshot %d %s", snapshot, trouble)

    def _run_one(self, snapshot: int) -> str:
        """What went wrong, if anything."""
        import subprocess  # most processes have no such command

        names = {"WASNAP_SNAPSHOT": str(snapshot), "WASNAP_JOURNAL": self._journal}
        try:
            done = subprocess.run(
                self._command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, **names},
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            return f"could not be started: {error}"
        if done.returncode < 0:
            return f"was killed by {signal.Signals(-done.returncode).name}"
        return f"failed with exit code {done.returncode}" if done.returncode else ""
