"""The command on a pseudo-terminal: what the user sees, before and after."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest
from process import wat

from cli.conftest import SOURCE
from wasnap.host.picture import Picture
from wasnap.journal import Journal

SECONDS_MAX = 60
COLUMNS, ROWS = 60, 12
SHELL = b"shell> "


class User:
    """Somebody at a terminal of his own, running one command after the other."""

    def __init__(
        self, directory: Path, cache: Path, columns: int = COLUMNS, rows: int = ROWS
    ) -> None:
        self.columns, self.rows = columns, rows
        self.ours, self._theirs = pty.openpty()
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(self._theirs)
        self.seen = b""
        self._directory = directory
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "WASNAP_CACHE_DIR": str(cache),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *args: str) -> int:
        """Start ``wasnap`` with these, as a shell does: in the foreground. Its process id."""
        return self._start([sys.executable, "-m", "wasnap", *args])

    def elsewhere(self, *args: str) -> None:
        """Run ``wasnap`` with these on no terminal, to its end."""
        command = [sys.executable, "-m", "wasnap", *args]
        subprocess.run(command, check=True, capture_output=True, env=self._environment)

    def shell(self) -> None:
        """Start a shell that controls jobs, and prompts with ``SHELL``."""
        self._environment["PS1"] = SHELL.decode()
        self._start(["bash", "--norc", "--noprofile", "--noediting", "-i"])
        self.sees(SHELL)

    def tells(self, *args: str) -> None:
        """Tell the shell to run ``wasnap`` with these."""
        self.type(shlex.join([sys.executable, "-m", "wasnap", *args]).encode() + b"\n")

    def stops_it(self) -> None:
        """Ctrl-Z: the shell is there, on a sane terminal."""
        prompts = self.seen.count(SHELL)
        self.type(b"\x1a")
        self.sees(b"Stopped")
        self.sees(SHELL, prompts + 1)
        assert self.sane()

    def interrupts_it(self) -> int:
        """Ctrl-C: the exit code. Then the shell ends, too."""
        prompts = self.seen.count(SHELL)
        self.type(b"\x03")
        self.sees(SHELL, prompts + 1)
        assert self.sane()
        self.type(b"exit\n")
        return self.ended()

    def _start(self, command: list[str]) -> int:
        self._process = subprocess.Popen(
            command,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            cwd=self._directory,
            env=self._environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        return self._process.pid

    def no_echo(self) -> None:
        """stty -icanon -echo, and that is how he wants it."""
        self.raw()
        self.modes = termios.tcgetattr(self._theirs)

    def raw(self) -> None:
        """stty -icanon -echo"""
        raw = termios.tcgetattr(self._theirs)
        raw[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(self._theirs, termios.TCSANOW, raw)

    def wholly_raw(self) -> None:
        """stty raw -echo: Ctrl-C is a key, too."""
        tty.setraw(self._theirs)

    def cooked(self) -> None:
        """As it was at first."""
        termios.tcsetattr(self._theirs, termios.TCSANOW, self.modes)

    def type(self, text: bytes) -> None:
        os.write(self.ours, text)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def until(self, holds: Callable[[], bool], seconds: float = SECONDS_MAX) -> None:
        """Read what is shown until that holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.ours], [], [], 0.05)[0]:
                self.seen += os.read(self.ours, 65536)

    def sees(self, text: bytes, times: int = 1) -> None:
        self.until(lambda: self.seen.count(text) >= times)

    def ended(self) -> int:
        """The exit code; all that was shown until then is read."""
        process = self._process
        assert process is not None
        self.until(lambda: process.poll() is not None)
        while select.select([self.ours], [], [], 0)[0]:
            self.seen += os.read(self.ours, 65536)
        return process.returncode

    def screen(self, since: int = 0) -> Picture:
        """The terminal, as it would look if it had been shown only this."""
        picture = Picture(self.columns, self.rows)
        picture.feed(self.seen[since:])
        return picture

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self.ours)
        os.close(self._theirs)

    def sane(self) -> bool:
        """Whether a shell could go on here."""
        assert termios.tcgetattr(self._theirs) == self.modes
        return self.screen().undoing() == b"\x18\x1b[m"


@pytest.fixture
def user(tmp_path: Path, code_cache: Path) -> Iterator[User]:
    made = User(tmp_path, code_cache)
    yield made
    made.close()


def session() -> bytes:
    """Prints ``ready``, and each line it reads after ``> ``; ``q`` ends it, ``t`` traps."""
    return wat.wasm("""
      (data (i32.const 40) "you said ")
      (func (export "_start") (local $n i32)
        (call $ready)
        (loop $next
          (i32.store (i32.const 0) (i32.const 256))
          (i32.store (i32.const 4) (i32.const 64))
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (local.set $n (i32.load (i32.const 8)))
          (if (i32.eq (i32.load8_u (i32.const 256)) (i32.const 0x71))
            (then (call $exit (i32.const 7))))
          (if (i32.eq (i32.load8_u (i32.const 256)) (i32.const 0x74)) (then (unreachable)))
          (call $print (i32.const 40) (i32.const 9))
          (call $print (i32.const 256) (local.get $n))
          (br $next)))""")


def full_screen() -> bytes:
    """Takes the alternate screen, hides the cursor, draws, and then is as ``session``; ``u``: it prints
    ``ready`` again and cannot be stopped any more."""
    text = r"before\n\1b[?1049h\1b[?25l\1b[2;4H\1b[1;31mTITLE\1b[m\1b[5;1Hbody"
    size = len(b"before\n\x1b[?1049h\x1b[?25l\x1b[2;4H\x1b[1;31mTITLE\x1b[m\x1b[5;1Hbody")
    return wat.wasm(f"""
      (data (i32.const 512) "{text}")
      (func $spin (param $alive externref)  ;; a value that cannot be saved
        (call $ready)
        (loop $for_ever (br_if $for_ever (ref.is_null (local.get $alive)))))
      (func (export "_start")
        (call $print (i32.const 512) (i32.const {size}))
        (call $ready)
        (loop $next
          (i32.store (i32.const 0) (i32.const 256))
          (i32.store (i32.const 4) (i32.const 64))
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (if (i32.eq (i32.load8_u (i32.const 256)) (i32.const 0x71))
            (then (call $exit (i32.const 7))))
          (if (i32.eq (i32.load8_u (i32.const 256)) (i32.const 0x74)) (then (unreachable)))
          (if (i32.eq (i32.load8_u (i32.const 256)) (i32.const 0x75))
            (then (call $spin (ref.null extern))))
          (br $next)))""")


def test_half_a_session(user: User, tmp_path: Path) -> None:
    """What was typed and said is there again, in order; and goes on. Three times."""
    (tmp_path / "m.wasm").write_bytes(session())
    user.run("run", "--quiet", "--journal", "j", "m.wasm")
    user.sees(b"ready")
    lines = ["ready"]
    for i in range(3):
        user.type(b"line %d\n" % i)
        user.sees(b"you said line %d" % i)
        lines += [f"line {i}", f"you said line {i}"]
        user.type(b"\x03")
        assert user.ended() == 130
        assert user.sane()
        since = len(user.seen)
        user.run("resume", "--quiet", "j")
        user.until(lambda i=i, since=since: b"you said line %d" % i in user.seen[since:])  # type: ignore[misc]
        assert user.screen(since).text() == lines
    user.type(b"q\n")
    assert user.ended() == 7


def test_scrolling_up(user: User, tmp_path: Path) -> None:
    """More lines than the screen has: they are above it."""
    (tmp_path / "m.wasm").write_bytes(session())
    user.run("run", "--quiet", "--journal", "j", "m.wasm")
    user.sees(b"ready")
    for i in range(20):
        user.type(b"%d\n" % i)
        user.sees(b"you said %d\r\n" % i)
    user.type(b"\x03")
    assert user.ended() == 130
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    user.until(lambda: b"you said 19\r" in user.seen[since:])
    screen = user.screen(since)
    shown = [*screen.scrollback, *screen.text()]
    assert shown == ["ready", *(line for i in range(20) for line in (str(i), f"you said {i}"))]


@pytest.mark.parametrize(
    ("how", "code"),
    [("exit", 7), ("trap", 134), ("SIGINT", 130), ("SIGTERM", 143), ("stop", 0), ("grace", 143),
     ("SIGHUP", -1), ("SIGQUIT", -3), ("SIGALRM", -14)],
)  # fmt: skip
def test_the_terminal_is_left_sane(user: User, tmp_path: Path, how: str, code: int) -> None:
    """After a full-screen program, however it ends."""
    (tmp_path / "m.wasm").write_bytes(full_screen())
    options = ["--grace", "0.2"] if how == "grace" else []
    number = user.run("run", "--quiet", "--journal", "j", *options, "m.wasm")
    user.sees(b"ready")
    if how.startswith("SIG"):
        user.signal(signal.Signals[how])
    elif how == "stop":
        user.elsewhere("stop", str(number))
    elif how == "grace":
        user.type(b"u\n")
        user.sees(b"ready", times=2)
        user.signal(signal.SIGTERM)
    else:
        user.type(b"q\n" if how == "exit" else b"t\n")
    assert user.ended() == code
    assert user.sane()
    assert user.screen().text()[0] == "before"


def test_a_full_screen_program_is_repainted(user: User, tmp_path: Path) -> None:
    """Screen, colours, cursor, modes; also after Ctrl-Z and fg."""
    (tmp_path / "m.wasm").write_bytes(full_screen())
    user.run("run", "--quiet", "--journal", "j", "--snapshot-on", "sigint", "m.wasm")
    user.sees(b"ready\r\n")
    before = user.screen()
    user.type(b"\x03")
    assert user.ended() == 130
    since = len(user.seen)
    user.run("resume", "--quiet", "--snapshot-on", "sigtstp", "j")
    user.until(lambda: b"ready" in user.seen[since:])
    user.until(lambda: user.screen(since).text() == before.text())
    again = user.screen(since)
    assert (again.text(), again.mode) == (before.text(), before.mode)
    alternate = b"\x1b[?1049h"
    assert again.painting().split(alternate)[1] == before.painting().split(alternate)[1]
    since = len(user.seen)
    user.signal(signal.SIGTSTP)
    user.until(lambda: b"\x1b[?1049l" in user.seen[since:])
    user.until(lambda: stopped(user))
    assert user.sane()
    since = len(user.seen)
    user.signal(signal.SIGCONT)
    user.until(lambda: b"body" in user.seen[since:])
    user.type(b"q\n")
    assert user.ended() == 7
    assert user.sane()
    assert user.screen(since).text()[0] == "before"


@pytest.mark.parametrize("options", [(), ("--journal", "j", "--snapshot-on", "sigtstp")])
def test_a_job_of_a_shell(user: User, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Ctrl-Z gives the shell a sane terminal, fg paints the program's again, Ctrl-C ends it."""
    (tmp_path / "m.wasm").write_bytes(full_screen())
    user.shell()
    user.tells("run", "--quiet", *options, "m.wasm")
    user.sees(b"ready\r\n")
    before = user.screen()
    user.stops_it()
    user.type(b"fg\n")
    user.until(lambda: user.screen().text() == before.text())
    assert user.screen().mode == before.mode
    assert user.interrupts_it() == 130
    if not options:
        return
    with Journal.open(tmp_path / "j") as opened:
        assert [snapshot.trigger for snapshot in opened.snapshots] == ["sigtstp"]


def stopped(user: User) -> bool:
    assert user._process is not None
    status = Path(f"/proc/{user._process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def test_modes(user: User, tmp_path: Path) -> None:
    """Saved on a raw terminal, it goes on on one; the user gets his own back."""
    (tmp_path / "m.wasm").write_bytes(session())
    user.raw()
    user.run("run", "--quiet", "--journal", "j", "m.wasm")
    user.sees(b"ready")
    user.type(b"k")
    user.sees(b"you said k")
    user.signal(signal.SIGINT)
    assert user.ended() == 130
    user.cooked()
    since = len(user.seen)
    user.run("resume", "--quiet", "j")
    user.until(lambda: b"you said k" in user.seen[since:])
    user.type(b"m")
    user.sees(b"you said m")
    user.type(b"q")
    assert user.ended() == 7
    assert user.sane()


def test_not_on_a_terminal_nothing_is_repeated(user: User, tmp_path: Path) -> None:
    (tmp_path / "m.wasm").write_bytes(session())
    user.run("run", "--quiet", "--journal", "j", "m.wasm")
    user.sees(b"ready")
    user.type(b"\x03")
    assert user.ended() == 130
    done = subprocess.run(
        [sys.executable, "-m", "wasnap", "resume", "j"],
        input=b"q\n",
        capture_output=True,
        cwd=tmp_path,
        env=user._environment,
        timeout=SECONDS_MAX,
    )
    assert (done.returncode, done.stdout) == (7, b"")


def test_the_emulator_is_loaded_only_when_it_is_needed() -> None:
    code = "import sys, wasnap.process; sys.exit('pyte' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    assert pyte
