"""Prompts of programs none of us wrote, on a pseudo-terminal: half a session, Ctrl-Z and fg, Ctrl-C,
resumed, scrolled up, gone on with; and full-screen programs: an editor from PyPI, a pager in C.

No registry has a QuickJS for WASI that brings its own prompt: this one's loop is ``prompt.js``, the
reading of lines and their evaluation are QuickJS's.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import guests
import pyte
import pytest
from cli.test_terminal import COLUMNS, ROWS, User
from triggers.conftest import until_taken

from wasnap.host.picture import Picture

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
JS = f"{PROGRAMS}::/js:ro"
pytestmark = [pytest.mark.real, pytest.mark.slow]


class Prompt(NamedTuple):
    """``lines``: what is typed, and what is then seen; ``state`` sets what ``recalls`` shows."""

    args: tuple[str, ...]
    sign: bytes
    state: bytes
    recalls: tuple[bytes, bytes]
    dirs: tuple[str, ...] = ()


PROMPTS = {
    "python312": Prompt(("-i",), b">>> ", b"x = 6 * 7", (b"print('x is', x)", b"x is 42")),
    "sqlite": Prompt((), b"sqlite> ", b"create table t as select 42 x;", (b"select 'x is', x from t;", b"x is|42")),
    "quickjs": Prompt(("/js/prompt.js",), b"qjs > ", b"var x = 6 * 7", (b"'x is ' + x", b"x is 42"), (JS,)),
}  # fmt: skip


@pytest.fixture
def user(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    made = User(tmp_path, guests.cache() / "compiled")
    yield made
    made.close()


@pytest.mark.parametrize("name", PROMPTS)
def test_half_a_session(user: User, name: str) -> None:
    prompt = PROMPTS[name]
    options = ["--quiet", "--journal", "j", "--snapshot-on", "sigtstp", "--snapshot-on", "sigint"]
    options += [f"--dir={mapped}" for mapped in prompt.dirs]
    user.shell()
    user.tells("run", *options, str(guests.path(name)), *prompt.args)
    user.sees(prompt.sign)
    user.type(prompt.state + b"\n")
    user.sees(prompt.sign, times=2)
    user.stops_it()
    user.type(b"fg\n")
    user.sees(prompt.sign, times=3)
    assert user.interrupts_it() == 130
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    user.until(lambda: user.seen[since:].count(prompt.sign) == 2)
    screen = user.screen(since)
    shown = "\n".join([*screen.scrollback, *screen.text()])
    assert (prompt.sign + prompt.state).decode() in shown
    asked, answer = prompt.recalls
    for i in range(ROWS):
        user.type(asked + b"\n")
        user.until(lambda i=i: user.seen[since:].count(answer + b"\r\n") > i)  # type: ignore[misc]
    user.type(b"\x03")
    assert user.ended() == 130
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    user.until(lambda: user.seen[since:].count(answer + b"\r\n") == ROWS)
    user.type(b"\x03")
    assert user.ended() == 130
    assert user.sane()


EDITOR = """
from picotui.editor import Editor

editor = Editor(width=60, height=11)
editor.wr("\\x1b[?1049h")
editor.enable_mouse()
editor.attr_color(3, 4)
editor.cls()
with open("/text/text") as file:
    editor.set_lines(file.read().splitlines())
editor.loop()
with open("/text/text", "w") as file:
    print(*editor.content, sep="\\n", file=file)
editor.disable_mouse()
editor.wr("\\x1b[m\\x1b[?1049l")
"""
KILLED = -signal.SIGKILL


def shown_by_pyte(seen: bytes, columns: int, rows: int) -> list[str]:
    """By pyte as it is: what stands on the alternate screen that was entered last."""
    plain = pyte.Screen(columns, rows)
    pyte.ByteStream(plain).feed(seen.rpartition(b"\x1b[?1049h")[2])
    return [line.rstrip() for line in plain.display]


def standing(picture: Picture) -> tuple[list[str], set[int], int, int]:
    """Text, modes (the mouse's among them), and where the cursor is."""
    return picture.text(), picture.mode, picture.cursor.x, picture.cursor.y


def test_an_editor(user: User, tmp_path: Path) -> None:
    """picotui's, run by CPython: killed, and resumed on another terminal, larger and in line mode,
    it stands there as it stood, reads keys as it did, and saves what was typed on both.
    """
    text = [f"line {i} of the text" for i in range(100)]
    (tmp_path / "text").write_text("\n".join(text))
    user.wholly_raw()
    library = guests.package("picotui") / "picotui-1.2.1"
    mapped = [f"--dir={library}::/lib/picotui:ro", f"--dir={tmp_path}::/text"]
    options = ["--journal", "j", "--snapshot-on", "stdin:every:0", "--env=PYTHONPATH=/lib/picotui"]
    module = str(guests.path("python312"))
    user.run("run", "--quiet", *options, *mapped, module, "-c", EDITOR)
    user.sees(b"line 10 of the text")
    for presses, key in enumerate([b"\x1b[6~", b"\x1b[6~", b"\x1b[B", b"\x1b[C", b"Z", b"y"], 2):
        until_taken(tmp_path / "j", presses - 1)
        user.type(key)
    until_taken(tmp_path / "j", presses)
    user.sees(b"Zy")
    user.signal(signal.SIGKILL)
    assert user.ended() == KILLED
    before = user.screen()
    where = next(y for y, line in enumerate(before.text()) if "Zy" in line)
    assert before.text()[where].startswith("lZy")
    other = User(tmp_path, guests.cache() / "compiled", columns=90, rows=30)
    try:
        other.run("resume", "--quiet", "--snapshot-on", "stdin:every:0", "j")
        other.until(lambda: standing(other.screen()) == standing(before))
        again = other.screen()
        for y in range(ROWS):
            for x in range(COLUMNS):
                assert again.buffer[y][x] == before.buffer[y][x], (x, y)
        assert shown_by_pyte(other.seen, 90, 30)[:ROWS] == shown_by_pyte(user.seen, 60, 12)
        other.type(b"!")
        other.sees(b"Zy!")
        other.type(b"\x03")
        assert other.ended() == 0
        assert other.sane()
    finally:
        other.close()
    (number,) = {int(line.split()[1]) for line in before.text() if "Zy" in line}
    text[number] = f"lZy!{text[number][1:]}"
    assert (tmp_path / "text").read_text().splitlines() == text


def test_a_pager(user: User, tmp_path: Path) -> None:
    """Our own, in C: it is repainted where it was scrolled to, on a raw terminal, and goes on."""
    (tmp_path / "text").write_text("".join(f"\x1b[3{i % 8}mline {i}\x1b[m\n" for i in range(100)))
    user.raw()
    user.run(
        "run", "--quiet", "--journal", "j", "--dir", ".", str(guests.zig(PROGRAMS / "pager.c"))
    )
    user.sees(b"line 1 of 100")
    user.type(b" jj")
    user.sees(b"line 14 of 100")
    before = user.screen()
    user.signal(signal.SIGTERM)
    assert user.ended() == 143
    user.cooked()
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    user.until(lambda: b"line 14 of 100" in user.seen[since:])
    user.until(lambda: user.screen(since).text() == before.text())
    alternate = b"\x1b[?1049h"
    assert (
        user.screen(since).painting().split(alternate)[1] == before.painting().split(alternate)[1]
    )
    user.type(b"k")
    user.sees(b"line 13 of 100", times=2)
    user.type(b"q")
    assert user.ended() == 0
    assert user.sane()
