"""A terminal's screen, kept by pyte, and the bytes that paint it again.

pyte's ``Screen`` knows cells, cursor, colours, margins and modes. Added here: the alternate screen,
a bounded scrollback, a parser that passes over what it does not know, faster drawing of plain text,
and the way back, ``painting``: fed to another ``Picture`` of the same size it makes the same one.
"""

from __future__ import annotations

import codecs
import copy
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from pyte import graphics, modes
from pyte.charsets import LAT1_MAP, MAPS, VT100_MAP
from pyte.screens import Char, Screen
from wcwidth import wcwidth

from .terminal import FLOWS, LINES_MAX

_PRIVATE = 5
"""pyte keeps DEC's private modes shifted by so many bits."""

_ALTERNATE = (47, 1047, 1049)
_IGNORED = (3, 40, 2026)
"""132 columns (terminals ask the user first), and updates that are shown at once."""

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b\[(?P<mark>[<-?]?)(?P<numbers>[0-9;:]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1b(?P<set>[()])(?P<charset>.)"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[#%*+ ].|\x1b(?P<escape>[0-OQ-WYZ\\`-~])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])",
    re.DOTALL,
)
_REST_MAX = 4096

_CSI = {
    "@": "insert_characters",
    "A": "cursor_up",
    "B": "cursor_down",
    "C": "cursor_forward",
    "D": "cursor_back",
    "E": "cursor_down1",
    "F": "cursor_up1",
    "G": "cursor_to_column",
    "H": "cursor_position",
    "J": "erase_in_display",
    "K": "erase_in_line",
    "L": "insert_lines",
    "M": "delete_lines",
    "P": "delete_characters",
    "X": "erase_characters",
    "`": "cursor_to_column",
    "a": "cursor_forward",
    "d": "cursor_to_line",
    "e": "cursor_down",
    "f": "cursor_position",
    "g": "clear_tab_stop",
    "h": "set_mode",
    "l": "reset_mode",
    "m": "select_graphic_rendition",
    "r": "set_margins",
    "s": "save_cursor",
    "u": "restore_cursor",
}
_MOST = {"H": 2, "f": 2, "r": 2, "h": 99, "l": 99, "m": 99, "s": 0, "u": 0}
"""How many numbers they take at most; the others one."""

_ESCAPE = {
    "c": "reset",
    "D": "index",
    "M": "reverse_index",
    "H": "set_tab_stop",
    "7": "save_cursor",
    "8": "restore_cursor",
}
_CONTROL = {
    "\x08": "backspace",
    "\t": "tab",
    "\n": "linefeed",
    "\x0b": "linefeed",
    "\x0c": "linefeed",
    "\r": "carriage_return",
    "\x0e": "shift_out",
    "\x0f": "shift_in",
}
_BLANK = Char(" ")
_FLAGS = (("bold", 1), ("italics", 3), ("underscore", 4), ("blink", 5), ("reverse", 7))


def _numbers() -> dict[tuple[bool, str], str]:
    """(background, pyte's name) -> what sets the colour."""
    tables = (
        (False, graphics.FG_ANSI),
        (False, graphics.FG_AIXTERM),
        (True, graphics.BG_ANSI),
        (True, graphics.BG_AIXTERM),
    )
    return {(back, name): str(number) for back, table in tables for number, name in table.items()}


_COLOURS = _numbers()


class _Cells(dict[str, Char]):
    """Character -> cell, all with the same attributes."""

    def __init__(self, attributes: Char) -> None:
        self._attributes = attributes

    def __missing__(self, text: str) -> Char:
        self[text] = cell = self._attributes._replace(data=text)
        return cell


class Picture(Screen):
    """A screen of ``columns`` and ``rows``. ``scrollback``: lines as they are painted."""

    def __init__(self, columns: int, rows: int) -> None:
        self.scrollback: deque[str] = deque(maxlen=LINES_MAX)
        self._main: tuple[Any, ...] | None = None  # while the alternate screen is shown
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._last = " "
        self._cells: dict[Char, _Cells] = {}
        super().__init__(columns, rows)

    @property
    def default_char(self) -> Char:
        """Reverse video (DECSCNM) is a mode of the terminal, not of cells."""
        return _BLANK

    # -- feeding ----------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Show it."""
        if len(data) > 4 * self.lines * self.columns and self._only_flows(data):
            lines = data.split(b"\r\n")
            if len(lines) > 3 * self.lines:
                self._feed(b"\r\n".join([*lines[: self.lines], b""]))
                self._pass_by(lines[self.lines : -self.lines])
                data = b"\r\n".join(lines[-self.lines :])
        self._feed(data)

    def _only_flows(self, data: bytes) -> bool:
        plain = self._main is None and self.margins is None and not self._rest
        return plain and modes.DECAWM in self.mode and FLOWS.fullmatch(data) is not None

    def _pass_by(self, lines: list[bytes]) -> None:
        """Lines of a flow that nobody sees but in the scrollback."""
        for y in range(self.cursor.y):
            self.scrollback.append(self._row(y))
        self.scrollback.extend(line.decode(errors="replace") for line in lines[-LINES_MAX:])
        self.buffer.clear()
        self.cursor.x = self.cursor.y = 0
        for colour in re.findall(rb"\x1b\[[0-9;:]*m", b"".join(lines))[-64:]:
            self._feed(colour)

    def _feed(self, data: bytes) -> None:
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                if len(text) - at < _REST_MAX and text[at] == "\x1b":
                    self._rest = text[at:]  # the end is not there yet
                    return
                at += 1
                continue
            at = match.end()
            if match["text"]:
                self.draw(match["text"])
                self._last = match["text"][-1]
            elif match["final"]:
                self._sequence(match["mark"], match["numbers"], match["between"], match["final"])
            elif match["control"]:
                self._do(_CONTROL.get(match["control"]))
            elif match["escape"]:
                self._escape(match["escape"])
            elif match["set"] and match["charset"] in MAPS:
                self.define_charset(match["charset"], match["set"])

    def _do(self, name: str | None, *numbers: int) -> None:
        if name is not None:
            method: Callable[..., None] = getattr(self, name)
            method(*numbers)

    def _escape(self, final: str) -> None:
        if final == "E":
            self.carriage_return()
            self.linefeed()
        elif final in "=>":
            change = self.set_mode if final == "=" else self.reset_mode
            change(66, private=True)
        else:
            self._do(_ESCAPE.get(final))

    def _sequence(self, mark: str, text: str, between: str, final: str) -> None:
        numbers = [min(int(n or 0), 9999) for n in re.split("[;:]", text)] if text else []
        if between or mark not in ("", "?"):
            return
        if mark == "?":
            if final in "hl":
                change = self.set_mode if final == "h" else self.reset_mode
                change(*numbers, private=True)
        elif final == "J" and numbers == [3]:
            self.scrollback.clear()
        elif final == "b":
            self.draw(self._last * min((numbers or [1])[0] or 1, self.columns * self.lines))
        elif final in "ST":
            self._scroll((numbers or [1])[0] or 1, up=final == "S")
        elif final in "JK" and numbers and numbers[0] > 2:
            return
        elif final == "d" and modes.DECOM in self.mode and self.margins is None:
            self.cursor_position((numbers or [1])[0], self.cursor.x + 1)
        else:
            self._do(_CSI.get(final), *numbers[: _MOST.get(final, 1)])

    def _scroll(self, count: int, *, up: bool) -> None:
        x, y = self.cursor.x, self.cursor.y
        top, bottom = self.margins or (0, self.lines - 1)
        for _ in range(min(count, self.lines)):
            self.cursor.y = bottom if up else top
            self.index() if up else self.reverse_index()
        self.cursor.x, self.cursor.y = x, y

    # -- what pyte does otherwise, or not at all --------------------------------------------------

    def draw(self, data: str) -> None:
        """Plain text at once, all else by pyte."""
        plain = data.isascii() and self.charset == 0 and self.g0_charset is LAT1_MAP
        if not plain or modes.IRM in self.mode or modes.DECAWM not in self.mode:
            super().draw(data)
            return
        cursor = self.cursor
        if len(self._cells) > 256:
            self._cells.clear()
        cells = self._cells.setdefault(cursor.attrs, _Cells(cursor.attrs))
        at = 0
        while at < len(data):
            if cursor.x == self.columns:
                self.carriage_return()
                self.linefeed()
            line = self.buffer[cursor.y]
            part = data[at : at + self.columns - cursor.x]
            for x, text in enumerate(part, cursor.x):
                line[x] = cells[text]
            cursor.x += len(part)
            at += len(part)

    def index(self) -> None:
        """Lines that leave the main screen at its top are kept."""
        top, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and self._main is None:
            self.scrollback.append(self._row(0))
        super().index()

    def reset(self) -> None:
        """RIS."""
        self._main = None
        self.savepoints = []
        super().reset()

    def save_cursor(self) -> None:
        """There is one place for it."""
        self.savepoints.clear()
        super().save_cursor()
        cursor = self.savepoints[-1].cursor
        cursor.x = min(cursor.x, self.columns - 1)

    def restore_cursor(self) -> None:
        """It stays saved."""
        saved = self.savepoints[:]
        super().restore_cursor()
        self.cursor = copy.copy(self.cursor)
        self.savepoints = saved

    def set_mode(self, *numbers: int, **kwargs: Any) -> None:
        """Also the alternate screen."""
        self._change(super().set_mode, True, numbers, **kwargs)

    def reset_mode(self, *numbers: int, **kwargs: Any) -> None:
        """Also the alternate screen."""
        self._change(super().reset_mode, False, numbers, **kwargs)

    def _change(
        self, change: Callable[..., None], on: bool, numbers: tuple[int, ...], private: bool = False
    ) -> None:
        if not private:
            change(*numbers)
            return
        for number in numbers:
            if number in _ALTERNATE:
                self._switch(on, cursor=number == 1049)
            elif number == 1048:
                self.save_cursor() if on else self.restore_cursor()
            elif number == 5:  # of the whole terminal; pyte would change all cells
                (self.mode.add if on else self.mode.discard)(5 << _PRIVATE)
            elif number not in _IGNORED:
                change(number, private=True)

    def _switch(self, on: bool, *, cursor: bool) -> None:
        if on == (self._main is not None):
            return
        if on:
            if cursor:
                self.save_cursor()
            self._main = (self.buffer, self.savepoints)
            self.buffer, self.savepoints = copy.copy(self.buffer), []
            self.buffer.clear()
        elif self._main is not None:
            self.buffer, self.savepoints = self._main
            self._main = None
            if cursor:
                self.restore_cursor()

    def fit(self, columns: int, rows: int) -> None:
        """Another size: what is above the cursor goes up, what is to the right is lost."""
        if (columns, rows) == (self.columns, self.lines):
            return
        up = max(0, self.cursor.y - rows + 1)
        if self._main is None:
            self.scrollback.extend(self._row(y) for y in range(up))
        for buffer in (self.buffer, self._main[0] if self._main else {}):
            kept = {y - up: line for y, line in buffer.items() if up <= y < up + rows}
            buffer.clear()
            buffer.update(kept)
            for line in kept.values():
                for x in [x for x in line if x >= columns]:
                    del line[x]
        self.columns, self.lines, self.margins = columns, rows, None
        self.cursor.y -= up
        self.cursor.x = min(self.cursor.x, columns - 1)
        self.tabstops = set(range(8, columns, 8))

    # -- painting ---------------------------------------------------------------------------------

    def text(self) -> list[str]:
        """The lines of the screen."""
        rows = (self._line(y, self.buffer) for y in range(self.lines))
        lines = ["".join(cell.data for cell in row).rstrip() for row in rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def painting(self) -> bytes:
        """What shows all this on an empty terminal of the same size."""
        out = "".join(f"{line}\x1b[m\r\n" for line in self.scrollback)
        if self._main is None:
            out += self._screen(self.buffer)
            saved = self.savepoints
        else:
            out += self._screen(self._main[0])
            if self._main[1]:
                cursor = self._main[1][-1].cursor
                out += _at(cursor.y, cursor.x) + _sgr(cursor.attrs)
            out += "\x1b[?1049h\x1b[m\x1b[H" + self._screen(self.buffer)
            saved = self.savepoints
        if self.margins is not None:
            out += f"\x1b[{self.margins.top + 1};{self.margins.bottom + 1}r"
        if saved:
            cursor = saved[-1].cursor
            out += _at(cursor.y, cursor.x) + _sgr(cursor.attrs) + "\x1b7"
        y = self.cursor.y
        for mode in sorted(self.mode | {modes.DECAWM, modes.DECTCEM}):
            on = "h" if mode in self.mode else "l"
            if mode == 66 << _PRIVATE:
                out += "\x1b="
            elif mode < 1 << _PRIVATE:
                out += f"\x1b[{mode}{on}"
            elif mode not in (modes.DECAWM, modes.DECTCEM) or on == "l":
                out += f"\x1b[?{mode >> _PRIVATE}{on}"
        if modes.DECOM in self.mode and self.margins is not None:
            y -= self.margins.top
        if self.cursor.x == self.columns:  # it waits behind the last column
            cell = self.buffer[self.cursor.y][self.columns - 1]
            out += _at(y, self.columns - 1) + _sgr(cell) + (cell.data or " ")
        else:
            out += _at(y, self.cursor.x)
        for mark, charset in (("(", self.g0_charset), (")", self.g1_charset)):
            if charset is VT100_MAP and mark == "(":
                out += "\x1b(0"
        out += "\x0e" if self.charset else ""
        out += _sgr(self.cursor.attrs) + self._rest
        return out.encode() + self._decoder.getstate()[0]

    def _screen(self, buffer: dict[int, Any]) -> str:
        return "\r\n".join(self._row(y, buffer) for y in range(self.lines)) + "\x1b[m"

    def _row(self, y: int, buffer: dict[int, Any] | None = None) -> str:
        out, attributes = "", _BLANK
        for cell in self._line(y, self.buffer if buffer is None else buffer):
            if cell[1:] != attributes[1:]:
                out += _sgr(cell)
                attributes = cell
            out += cell.data
        return out if attributes[1:] == _BLANK[1:] else out + "\x1b[m"

    def _line(self, y: int, buffer: dict[int, Any]) -> list[Char]:
        """Its cells but for blank ones at the end. A half of a wide character is blank."""
        line: dict[int, Char] = buffer.get(y, {})
        end = max(
            (x for x, cell in line.items() if cell != _BLANK and x < self.columns), default=-1
        )
        cells = [line.get(x, _BLANK) for x in range(end + 1)]
        for x, cell in enumerate(cells):
            wide = wcwidth(cell.data[:1]) == 2
            lonely = wide and not (x + 1 < len(cells) and cells[x + 1].data == "")
            stray = cell.data == "" and not (x > 0 and wcwidth(cells[x - 1].data[:1]) == 2)
            if lonely or stray:
                cells[x] = cell._replace(data=" ")
        while cells and cells[-1] == _BLANK:
            cells.pop()
        return cells

    def undoing(self) -> bytes:
        """What makes a terminal that shows this one that a shell can use."""
        out = "\x18\x1b[m"
        if self.margins is not None or modes.DECOM in self.mode:
            out += f"\x1b[?6l\x1b[r{_at(self.cursor.y, min(self.cursor.x, self.columns - 1))}"
        for mode in sorted(self.mode ^ {modes.DECAWM, modes.DECTCEM}):
            on = "l" if mode in self.mode else "h"
            if mode == 66 << _PRIVATE:
                out += "\x1b>"
            elif mode < 1 << _PRIVATE:
                out += f"\x1b[{mode}{on}"
            elif mode != modes.DECOM:
                out += f"\x1b[?{mode >> _PRIVATE}{on}"
        if self.charset or self.g0_charset is not LAT1_MAP:
            out += "\x0f\x1b(B"
        return (out + "\x1b[?1049l" * (self._main is not None)).encode()


def _at(y: int, x: int) -> str:
    return f"\x1b[{y + 1};{x + 1}H"


def _sgr(cell: Char) -> str:
    numbers = ["0"] + [str(n) for name, n in _FLAGS if getattr(cell, name)]
    numbers += ["9"] if cell.strikethrough else []
    for back, colour in ((False, cell.fg), (True, cell.bg)):
        if (back, colour) in _COLOURS:
            numbers += [] if colour == "default" else [_COLOURS[back, colour]]
        else:
            red, green, blue = bytes.fromhex(colour)
            numbers.append(f"{48 if back else 38};2;{red};{green};{blue}")
    return f"\x1b[{';'.join(numbers)}m"
