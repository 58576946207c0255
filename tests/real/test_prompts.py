"""Prompts of programs none of us wrote, on a pseudo-terminal: half a session, Ctrl-Z and fg, Ctrl-C,
resumed, scrolled up, gone on with; and a full-screen program in C.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import guests
import pytest
from cli.test_terminal import ROWS, User, stopped

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
pytestmark = [pytest.mark.real, pytest.mark.slow]


class Prompt(NamedTuple):
    """``lines``: what is typed, and what is then seen; ``state`` sets what ``recalls`` shows."""

    args: tuple[str, ...]
    sign: bytes
    state: bytes
    recalls: tuple[bytes, bytes]


PROMPTS = {
    "python312": Prompt(("-i",), b">>> ", b"x = 6 * 7", (b"print('x is', x)", b"x is 42")),
    "sqlite": Prompt((), b"sqlite> ", b"create table t as select 42 x;", (b"select 'x is', x from t;", b"x is|42")),
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
    user.run("run", *options, str(guests.path(name)), *prompt.args)
    user.sees(prompt.sign)
    user.type(prompt.state + b"\n")
    user.sees(prompt.sign, times=2)
    user.signal(signal.SIGTSTP)
    user.until(lambda: stopped(user))
    assert user.sane()
    user.signal(signal.SIGCONT)
    user.sees(prompt.sign, times=3)
    user.type(b"\x03")
    assert user.ended() == 130
    assert user.sane()
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
