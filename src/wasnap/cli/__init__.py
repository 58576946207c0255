"""The command ``wasnap``: one file a subcommand, no logic in any of them.

::

    command.py    the command itself, its errors and its exit code
    lazy.py       groups whose subcommands are imported one by one
    options.py    options that several subcommands have
    notices.py    our own messages
    run.py, resume.py, journal/ ...     the subcommands

A short program's resume is mostly imports. So a subcommand's file is imported only when that
subcommand is used, and it imports what it needs only when it runs: ``wasnap --help`` and ``wasnap
journal inspect`` never load the engine. Below that each room imports what a process needs to run at
its top, and what only some need (to compile, to be controlled from outside, to take a snapshot)
where it is needed; ``tests/cli/test_start.py`` says what a plain resume must not import.
"""

from __future__ import annotations

import gc
from typing import NoReturn

_GARBAGE = 50_000
"""New objects from which on cycles among them are looked for. With Python's own 700 that is half
of what the imports take, and they leave no garbage."""


def main() -> NoReturn:
    """The command: runs a subcommand and leaves with its exit code."""
    gc.set_threshold(_GARBAGE, *gc.get_threshold()[1:])
    from wasnap.cli import command

    command.main()
