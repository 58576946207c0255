"""The emulator: what it paints makes it again; floods; nonsense."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wasnap.host.picture import Picture
from wasnap.host.terminal import LINES_MAX

ATOMS = [
    b"hello ", b"wide \xe4\xb8\xad\xe6\x96\x87", b"caf\xc3\xa9", b"\r\n", b"\n", b"\t", b"\b", b"\r",
    b"\x1b[H", b"\x1b[2J", b"\x1b[K", b"\x1b[1K", b"\x1b[5;7H", b"\x1b[3A", b"\x1b[2B", b"\x1b[4C",
    b"\x1b[2D", b"\x1b[31m", b"\x1b[1;4;44m", b"\x1b[38;5;200m", b"\x1b[48;2;1;2;3m", b"\x1b[m",
    b"\x1b[95;7m", b"\x1b[2;6r", b"\x1b[r", b"\x1b[3L", b"\x1b[2M", b"\x1b[2P", b"\x1b[3@", b"\x1b[4X",
    b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?1h", b"\x1b=", b"\x1b>",
    b"\x1b7", b"\x1b8", b"\x1bM", b"\x1bD", b"\x1bE", b"\x1b[2S", b"\x1b[T", b"\x1b[7b", b"x" * 45,
    b"\x1b[?2004h", b"\x1b[?1006l", b"\x1b[4h", b"\x1b[4l", b"\x1b[?7l", b"\x1b[?7h", b"\x1b(0", b"\x1b(B",
    b"\x1b]0;title\x07", b"\x1bPq\x1b\\", b"\x1b[>4;2m", b"\x1b[4:3m", b"\x1b[3J", b"\x1b[?6h", b"\x1b[?6l",
]  # fmt: skip


def state(picture: Picture) -> dict[str, Any]:
    """All that can be seen, or will have an effect."""
    shown = picture.painting()
    cursor = picture.cursor
    return {
        "painting": shown,
        "text": picture.text(),
        "cursor": (cursor.x, cursor.y, cursor.attrs),
        "modes": picture.mode,
        "margins": picture.margins,
        "scrollback": list(picture.scrollback),
    }


@pytest.mark.parametrize("seed", range(40))
def test_a_painting_makes_the_same_picture(seed: int) -> None:
    """From random output; and once more, from what the other paints."""
    chosen = random.Random(seed)
    data = b"".join(chosen.choices(ATOMS, k=150))
    first = Picture(20, 8)
    first.feed(data)
    second = Picture(20, 8)
    second.feed(first.painting())
    assert state(second) == state(first), data


@pytest.mark.parametrize("seed", range(10))
def test_in_any_pieces(seed: int) -> None:
    """Sequences and characters may be cut anywhere."""
    chosen = random.Random(seed)
    data = b"".join(chosen.choices(ATOMS, k=80))
    whole, pieces = Picture(20, 8), Picture(20, 8)
    whole.feed(data)
    for i in range(len(data)):
        pieces.feed(data[i : i + 1])
    assert state(pieces) == state(whole)


@pytest.mark.parametrize("seed", range(10))
def test_nonsense_is_survived(seed: int) -> None:
    """Any bytes; also in another size."""
    chosen = random.Random(seed)
    picture = Picture(20, 8)
    for _ in range(50):
        picture.feed(bytes(chosen.choices(b"\x1b[]?;:0123456789hlmHrJKLMPX@AB\x80\xff\x9b ", k=40)))
        picture.fit(chosen.randint(1, 30), chosen.randint(1, 12))
        picture.painting()
        picture.undoing()


def test_a_flood_of_lines() -> None:
    """Passed by quickly, it leaves what it would have left line by line."""
    lines = b"".join(b"line %d\r\n" % i for i in range(5000)) + b"prompt> "
    quick, slow = Picture(20, 8), Picture(20, 8)
    for picture in (quick, slow):
        picture.feed(b"\x1b[2J\x1b[Hbefore\r\n")
    quick.feed(lines)
    for line in lines.splitlines(keepends=True):
        slow.feed(line)
    assert state(quick) == state(slow)
    assert len(quick.scrollback) == LINES_MAX


def test_undoing_makes_it_a_terminal_for_a_shell() -> None:
    picture = Picture(20, 8)
    picture.feed(
        b"shell\r\n\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[2;5r\x1b[31mfull screen\x1b[4h\x1b=\x1b(0"
    )
    picture.feed(picture.undoing())
    assert picture.undoing() == b"\x18\x1b[m"
    assert picture.text() == ["shell"]
