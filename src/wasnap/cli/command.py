"""The command itself: its subcommands by name, its errors, its exit code.

What is ours goes to stderr: errors as ``wasnap: error: ...`` with a ``hint``, never a traceback for
what a user can do something about; notices as ``wasnap: ...``. Standard input and output are the
guest's alone. The exit code is the guest's, or one of ``wasnap.errors``.
"""

from __future__ import annotations

import os
import signal as signals  # there is a subcommand of that name
import sys
from types import FrameType
from typing import NoReturn

import click

from wasnap.cli import notices
from wasnap.cli.lazy import Lazy
from wasnap.errors import GuestTrap, WasnapError
from wasnap.version import VERSION

_COMMANDS = {
    "run": "Run a program; resume it where its journal says.",
    "resume": "Go on with a process from its journal.",
    "ps": "Show the processes that are running.",
    "snapshot": "Have a running process take a snapshot.",
    "signal": "Send a running process a signal.",
    "stop": "Have a running process take a snapshot and end.",
    "journal": "Look at journals, and work on them.",
    "doctor": "Show what this machine has of what wasnap can use.",
    "instrument": "Write the module that is really run.",
}


@click.command(
    cls=Lazy,
    room="wasnap.cli",
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
def wasnap() -> None:
    """Run WebAssembly programs, snapshot them anywhere, resume them from their journal.

    \b
      wasnap run --journal job.journal job.wasm ARGS...     run it; a snapshot every 10 s
      wasnap run --journal job.journal job.wasm ARGS...     again, after a crash: goes on
      wasnap journal inspect job.journal                    what is in there?
      wasnap resume job.journal --at 3                      go on from snapshot 3
      wasnap ps                                             what is running?

    The module is an ordinary .wasm file (WASI preview1, WASIX). It needs no preparation.

    \b
    Exit codes: the guest's own, or
        2  the command line is wrong
       64  an option or argument makes no sense
       65  not a valid core module
       66  no such file, snapshot or process
       69  the module needs what wasnap cannot run or save
       70  a value that cannot be saved, a process that ended, an error of ours
       71  an address to listen on that is taken
       74  the journal could not be written
       75  another process is writing to the journal
       76  not a journal, a damaged one, or one of another module
       78  directories, files or rights are not as the snapshot needs them
      130  ended by SIGINT (Ctrl-C), after a snapshot
      134  the guest trapped
      143  ended by SIGTERM, after a snapshot
    """


def main() -> NoReturn:
    """The command: runs a subcommand and leaves with its exit code."""
    for number in (signals.SIGINT, signals.SIGTERM):  # where no trigger has taken them over
        signals.signal(number, _ended)
    try:
        code = wasnap.main(prog_name="wasnap", standalone_mode=False)
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        of = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        code = error.exit_code
        message = " ".join(error.format_message().split())  # click lists choices a line each
        notices.complain(message, f"{of} --help" if of else "", code=code)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except WasnapError as error:
        _complain(error)
        code = error.exit_code
    except BrokenPipeError:  # whoever reads what we print has read enough
        code = 128 + signals.SIGPIPE
    _leave(code or 0)


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _complain(error: WasnapError) -> None:
    message = error.message
    frames: tuple[str, ...] = ()
    if isinstance(error, GuestTrap):
        message, frames = f"the guest trapped: {error.message}", error.frames
    notices.complain(message, error.hint, code=error.exit_code, frames=frames)


def _leave(code: int) -> NoReturn:
    """Leave at once: a guest thread that hangs in a host call cannot be waited for. A guest's code has
    32 bits, of which the system takes 8: ``exit(-1)`` is 255."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1  # nobody reads what we print
    os._exit(code & 0xFF)
