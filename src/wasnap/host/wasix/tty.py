"""tty_get and tty_set: the size and the modes of the user's terminal."""

from __future__ import annotations

import errno

from ..beneath import os_error
from ..protocol import OUTSIDE, Call
from ..wasip1.abi import Ptr
from ..world import Host
from . import layout


class Tty:
    """The terminal."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def tty_get(self, call: Call, state: Ptr) -> None:
        """Its size and modes: ``layout.tty`` (24 bytes) at state.

        Without a terminal: 80 columns, 25 rows, line by line, no echo. Width and height in pixels
        are 0: not known.
        """
        call.about_to(OUTSIDE)
        columns, rows = self._host.terminal_size() or (80, 25)
        modes = self._host.terminal_modes()
        stdin, stdout, stderr = self._host.are_terminals()
        fields = layout.TtyFields(
            columns,
            rows,
            width=0,
            height=0,
            stdin_tty=stdin,
            stdout_tty=stdout,
            stderr_tty=stderr,
            echo=modes is not None and "ECHO" in modes,
            line_buffered=modes is None or "ICANON" in modes,
            line_feeds=modes is None or "ONLCR" in modes,
        )
        call.memory.write(state, layout.tty(fields))

    def tty_set(self, call: Call, state: Ptr) -> None:
        """Set echo, line buffering and newline translation; the size is the user's, and stays.

        NOTSUP: there is no terminal.
        """
        fields = layout.read_tty(call.memory, state)
        wanted = {
            "ECHO": fields.echo,
            "ICANON": fields.line_buffered,
            "ONLCR": fields.line_feeds,
        }
        if not self._host.set_terminal_modes(wanted):
            raise os_error(errno.ENOTSUP)
