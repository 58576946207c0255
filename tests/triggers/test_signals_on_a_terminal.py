"""A thousand signals at random moments, from another process, to a full-screen program on a
pseudo-terminal: what is seen in the end is what it drew, and so it is after a resume.

``WASNAP_SIGNALS``: how many (1000); ``WASNAP_SEEDS``: how many rounds (1).
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.test_terminal import COLUMNS, ROWS, User
from process import wat

from triggers.conftest import taken
from triggers.test_many_signals import COUNT, RESUMED, SEEDS, TESTS, moment
from wasnap.host.picture import Picture
from wasnap.journal import Journal

pytestmark = pytest.mark.slow

ENTER = b"before\n\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[2;4H\x1b[1;31mTITLE\x1b[m"
FIRST, SECOND, END = b"\x1b[4;1H", b"\x1b[9;20H\x1b[44m", b"\x1b[m\x1b[11;1HEND"
LEAVE = b"\x1b[?1000l\x1b[?25h\x1b[?1049l"


def drawer() -> bytes:
    """Draws a screen with a growing number in two places, until a line is typed; then ``END``, and at
    the next line it leaves the screen as it should and ends with 7."""
    texts = {1024: ENTER, 1152: FIRST, 1184: SECOND, 1216: b"\x1b[m", 1248: END, 1280: LEAVE}
    data = "\n".join(
        f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in text)}")'
        for at, text in texts.items()
    )

    def show(at: int) -> str:
        return f"(call $print (i32.const {at}) (i32.const {len(texts[at])}))"

    read = """(i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const 64))
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    return wat.wasm(f"""{data}
      (func (export "_start") (local $i i32)
        {show(1024)}
        (i32.store8 (i32.const 264) (i32.const 0))  ;; a clock that has run out
        (i32.store (i32.const 272) (i32.const 1))
        (i64.store (i32.const 304) (i64.const 1))   ;; and stdin
        (i32.store8 (i32.const 312) (i32.const 1))
        (loop $again
          (drop (call $work (i32.const 1) (i32.const 3000000)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          {show(1152)} (call $number (local.get $i))
          {show(1184)} (call $number (local.get $i)) {show(1216)}
          (drop (call $poll (i32.const 256) (i32.const 512) (i32.const 2) (i32.const 700)))
          (br_if $again (i32.and
            (i32.eq (i32.load (i32.const 700)) (i32.const 1))
            (i64.eqz (i64.load (i32.const 512))))))
        {read} {show(1248)}
        {read} {show(1280)}
        (call $exit (i32.const 7)))""")


def drawn(number: int) -> Picture:
    """The screen when it has counted so far and was told to end; nobody has disturbed it."""
    counted = b"%d\n" % number
    picture = Picture(COLUMNS, ROWS)
    shown = ENTER + FIRST + counted + SECOND + counted + b"\x1b[m" + END
    picture.feed(shown.replace(b"\n", b"\r\n"))
    return picture


def ends_as_drawn(user: User, since: int) -> None:
    """It is told to end: the screen is what an undisturbed program would have drawn, the terminal is
    as it was, and so is what stood on it before.
    """
    looked_at = -1

    def is_drawn() -> bool:
        """Looked at when there is something new, and it does not stand still."""
        nonlocal looked_at
        user.signal(signal.SIGCONT)
        if END not in user.seen[since:] or looked_at == len(user.seen):
            return False
        looked_at = len(user.seen)
        screen = user.screen(since)
        text = screen.text()
        if len(text) < 4 or not text[3].isdigit():
            return False
        wanted = drawn(int(text[3]))
        same = all(
            screen.buffer[y][x] == wanted.buffer[y][x] for y in range(ROWS) for x in range(COLUMNS)
        )
        return same and (text, screen.mode) == (wanted.text(), wanted.mode)

    user.type(b"\n")
    user.until(is_drawn)
    user.type(b"\n")
    assert user.ended() == 7
    assert user.sane()
    assert user.screen(since).text()[0] == "before"


@pytest.fixture
def user(tmp_path: Path, code_cache: Path) -> Iterator[User]:
    made = User(tmp_path, code_cache)
    made.no_echo()
    yield made
    made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thousand_signals_on_a_terminal(user: User, tmp_path: Path, seed: int) -> None:
    """SIGALRM, SIGTSTP and SIGCONT: none is lost, and neither is a cell of the screen."""
    (tmp_path / "m.wasm").write_bytes(drawer())
    on = ("--snapshot-on", "sigalrm", "--snapshot-on", "sigtstp", "--durability", "process")
    pid = user.run("run", "--quiet", "--journal", "j", *on, "m.wasm")
    user.sees(FIRST)
    command = [sys.executable, "-m", "triggers.sender", str(pid), str(seed), str(COUNT)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE) as sender:
        user.until(lambda: sender.poll() is not None, seconds=600)
        assert sender.stdout is not None
        last = max(map(int, sender.stdout.read().split()))

    def heard() -> bool:
        user.signal(signal.SIGCONT)  # it may stand still, or be about to
        return moment(tmp_path / "j") >= last

    user.until(heard)
    ends_as_drawn(user, 0)
    with Journal.open(tmp_path / "j") as opened:
        assert opened.gaps == []
    chance = random.Random(seed)
    ids = range(1, len(taken(tmp_path / "j")) + 1)
    for snapshot in chance.sample(ids, min(RESUMED, len(ids))):
        since = len(user.seen)
        user.run("resume", "--quiet", "j", "--at", str(snapshot), "--snapshot-on", "explicit")
        user.until(lambda since=since: SECOND in user.seen[since:])  # type: ignore[misc]
        ends_as_drawn(user, since)
