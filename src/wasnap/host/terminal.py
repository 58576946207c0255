"""The guest's terminal: what it showed is part of a snapshot, and whoever resumes sees it again.

It is fed with what the guest writes to standard streams that are a terminal, and with what the
terminal echoes of the guest's input. Feeding must cost nothing: bytes are kept as they are, and
looked at (*folded*) when a snapshot is taken or too many have come together. Two forms:

*flow*     text that only goes forward, line by line (prompts, logs, colours): its last lines, as
           they were written. Written again, they show the same. No emulator is needed, none loaded.
*picture*  anything else (the cursor moves up, the alternate screen, modes): an emulator keeps it
           (``picture.py``), for good.

On a terminal, ``paint`` shows what was saved: flow as it is, at the cursor; a picture on the whole
screen, whose content is scrolled up before. Where the output is no terminal nothing is repeated,
and what was saved is passed on to the next snapshot.

``leave`` undoes what the guest did to the user's terminal, however the process ends; ``away`` and
``back`` do it for a stop (SIGTSTP). The line discipline's modes are saved and set, too: a program
that was started on a raw terminal goes on on one, and at the end the user has his own again.
"""

from __future__ import annotations

import copy
import os
import re
import select
import signal
import termios
import threading
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .picture import Picture

LOG_MAX = 1 << 18
"""Bytes that are kept unfolded."""

LINES_MAX = 1000
"""Lines of scrollback."""

_FLOW_MAX = 1 << 19
"""Bytes of flow; lines longer than that are for the emulator."""

FLOWS = re.compile(
    rb"(?:[\t\n\r\x07\x08\x20-\x7e\x80-\xff]++|\x1b\[[0-9;:]*+m|\x1b\[[0-9]*+[CDGK])*+"
    rb"(?:\x1b(?:\[[0-9;:]*+)?)?"  # cut off in a sequence
)
_COLOUR = re.compile(rb"\x1b\[([0-9;:]*)m")
_UNTIL = b"\x18"  # CAN: ends a sequence that was cut off

_FLAGS = {
    0: ("ICRNL", "INLCR", "IGNCR", "IXON"),
    1: ("OPOST", "ONLCR"),
    3: ("ICANON", "ECHO", "ECHONL", "ISIG", "IEXTEN"),
}
_OFLAG, _LFLAG, _CC = 1, 3, 6


class TerminalState(msgspec.Struct, frozen=True):
    """What the terminal showed. ``columns``, ``rows``: its size. ``painting``: bytes (zlib) that
    show it again on an empty terminal of that size; ``flows``: on any, from the cursor on. ``text``:
    the lines of the screen, for people. ``modes``: names of the termios flags that were set.
    """

    columns: int
    rows: int
    flows: bool
    painting: bytes
    text: list[str]
    modes: list[str]


class Terminal:
    """``fileno``: a descriptor of the terminal, to which the guest's standard streams lead."""

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno
        self.device = os.fstat(fileno).st_rdev
        self._users = termios.tcgetattr(fileno)
        self._changed = False
        self._log: list[bytes] = []
        self._logged = 0
        self._flow = b""
        self._picture: Picture | None = None
        self._left = False
        self._lock = threading.RLock()

    @classmethod
    def of(cls, filenos: list[int]) -> Terminal | None:
        """The terminal that one of these leads to; None: none does."""
        for fileno in filenos:
            if os.isatty(fileno):
                return cls(fileno)
        return None

    # -- feeding ----------------------------------------------------------------------------------

    def wrote(self, data: bytes) -> None:
        """The guest has written this."""
        with self._lock:
            self._log.append(data)
            self._logged += len(data)
            if self._logged > LOG_MAX:
                self._fold()

    def took(self, data: bytes) -> None:
        """The guest has read this: the terminal had shown it when it was typed, if it does."""
        if self._attributes()[_LFLAG] & termios.ECHO:
            self.wrote(b"".join(map(_echo, data)))

    def _fold(self) -> None:
        data = b"".join(self._log)
        self._log.clear()
        self._logged = 0
        if self._translates():
            data = data.replace(b"\n", b"\r\n")
        if self._picture is None:
            flow = self._flow + data
            if FLOWS.fullmatch(flow):
                flow = _last_lines(flow)
                if len(flow) <= _FLOW_MAX:
                    self._flow = flow
                    return
            self._become_picture(*self.size())
            data = flow
        assert self._picture is not None
        self._picture.fit(*self.size())
        self._picture.feed(data)

    def _become_picture(self, columns: int, rows: int) -> None:
        from .picture import Picture  # not needed by most programs

        self._picture = Picture(columns, rows)
        self._flow = b""

    def size(self) -> tuple[int, int]:
        """Columns, rows; 80 and 24 where it does not say."""
        try:
            size = os.get_terminal_size(self.fileno)
        except OSError:  # it hung up
            return 80, 24
        return size.columns or 80, size.lines or 24

    def modes(self) -> list[str]:
        """Names of the termios flags that are set, of those that are saved."""
        with self._lock:
            return self._modes()

    def change(self, flags: dict[str, bool]) -> None:
        """Set or clear these; ``leave`` gives the user back what he had."""
        with self._lock:
            modes = {*self._modes()} - flags.keys()
            self._set_modes([*modes, *(name for name, on in flags.items() if on)])

    # -- snapshots --------------------------------------------------------------------------------

    def capture(self) -> TerminalState:
        """What it shows now, and its modes."""
        self._fold()
        columns, rows = self.size()
        picture = self._picture
        painting = self._flow if picture is None else picture.painting()
        return TerminalState(
            columns=columns,
            rows=rows,
            flows=picture is None,
            painting=zlib.compress(painting, 1),
            text=_text(self._flow, rows) if picture is None else picture.text(),
            modes=self._modes(),
        )

    def restore(self, state: TerminalState) -> None:
        """Know what was shown; ``paint`` shows it."""
        painting = zlib.decompress(state.painting)
        if state.flows:
            self._flow = painting
            return
        self._become_picture(state.columns, state.rows)
        assert self._picture is not None
        self._picture.feed(painting)

    def paint(self, modes: list[str]) -> None:
        """Show what is known, and set the modes: the user's terminal becomes the guest's."""
        self._set_modes(modes)
        if self._picture is None:
            self._write(self._flow)
            return
        columns, rows = self.size()
        self._picture.fit(columns, rows)
        room = b"\x1b[%d;1H" % rows + b"\r\n" * rows + b"\x1b[H"
        self._write(room + self._picture.painting())

    # -- the user's terminal ----------------------------------------------------------------------

    def leave(self) -> None:
        """As the user had it: no alternate screen, no colours, a cursor, his modes. Once."""
        if not self._left:
            self.away()
            self._left = True

    def away(self) -> list[str]:
        """Leave it for a while; gives the modes for ``back``."""
        modes: list[str] = []
        try:
            modes = self._modes()
            with self._lock:
                self._fold()
            if self._picture is not None:
                self._write(self._picture.undoing())
            elif _active(self._flow) or b"\x1b" in self._flow[-32:]:
                self._write(_UNTIL + b"\x1b[m")
            if self._changed:
                self._set(self._users)
        except (OSError, termios.error):
            return modes  # it is gone, and so is what could be wrong with it
        return modes

    def back(self, modes: list[str]) -> None:
        """The user went on: show it again; of flow, the line that the cursor is in."""
        if self._picture is None:
            self._set_modes(modes)
            line = self._flow[self._flow.rfind(b"\n") + 1 :]
            self._write(b"\r" + _active(self._flow[: len(self._flow) - len(line)]) + line)
        else:
            self.paint(modes)

    def _translates(self) -> bool:
        """Whether a newline that is written becomes a return and a newline."""
        flags = termios.OPOST | termios.ONLCR
        return bool(self._attributes()[_OFLAG] & flags == flags)

    def _attributes(self) -> list[Any]:
        try:
            return termios.tcgetattr(self.fileno)
        except termios.error:  # it hung up
            return copy.deepcopy(self._users)

    def _modes(self) -> list[str]:
        attributes = self._attributes()
        return [
            name
            for index, names in _FLAGS.items()
            for name in names
            if attributes[index] & getattr(termios, name)
        ]

    def _set_modes(self, modes: list[str]) -> None:
        if sorted(modes) == sorted(self._modes()):
            return
        attributes = self._attributes()
        for index, names in _FLAGS.items():
            for name in names:
                attributes[index] &= ~getattr(termios, name)
                attributes[index] |= getattr(termios, name) * (name in modes)
        if "ICANON" not in modes:
            attributes[_CC][termios.VMIN], attributes[_CC][termios.VTIME] = b"\1", b"\0"
        self._changed = True
        self._set(attributes)

    def _set(self, attributes: list[Any]) -> None:
        """Also from the background, where SIGTTOU would stop us."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            termios.tcsetattr(self.fileno, termios.TCSADRAIN, attributes)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _write(self, data: bytes) -> None:
        """All of it. ``data`` has the terminal's newline translation behind it."""
        if self._translates():
            data = data.replace(b"\r\n", b"\n")
        view = memoryview(data)
        while view:
            select.select([], [self.fileno], [])
            view = view[os.write(self.fileno, view[:1024]) :]


def _echo(byte: int) -> bytes:
    """What a terminal shows of a byte that is typed."""
    if (byte >= 0x20 and byte != 0x7F) or byte in b"\t\n":
        return bytes([byte])
    return b"^" + bytes([byte ^ 0x40])


def _last_lines(flow: bytes) -> bytes:
    """The last lines, with the colours that were on before them."""
    lines = flow.rsplit(b"\n", LINES_MAX)
    if len(lines) <= LINES_MAX or len(flow) <= 1 << 16:
        return flow
    return _active(lines[0]) + b"\n".join(lines[1:])


def _active(flow: bytes) -> bytes:
    """The sequences that set the colours that are on at the end."""
    active: list[bytes] = []
    for match in _COLOUR.finditer(flow):
        if match[1].strip(b"0;:") == b"":
            active.clear()
        else:
            active.append(match[0])
            del active[:-64]
    return b"".join(active)


def _text(flow: bytes, rows: int) -> list[str]:
    """The last lines without what is no text."""
    lines = flow.rsplit(b"\n", rows)[-rows:]
    plain = (re.sub(rb"\x1b(\[[0-9;:]*[A-Za-z]?)?|[\x07\x08]", b"", line) for line in lines)
    return [line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace") for line in plain]
