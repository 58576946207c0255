"""Everything wasnap itself can complain about, and the exit code each complaint has.

The guest's own exit code is passed through untouched, so ours live where programs seldom go:
the codes of BSD's ``sysexits.h``, the shell's 128 + signal, and click's 2 for a wrong command line.

::

    WasnapError                      message, hint, exit_code
    +-- UsageError               64  a wrong option or argument                  (the user)
    +-- InvalidModule            65  the bytes are not a valid core module       (the module)
    +-- UnsupportedModule        69  valid, but something in it cannot be run or saved, by name
    |   +-- UnknownImport        69  the module imports what no one here provides
    +-- MissingFile              66  a file that was named is not there or not readable
    +-- JournalError             76  the journal is none, of a newer version, or damaged beyond use
    |   +-- NoSuchSnapshot       66  --at names a snapshot that is not there
    |   +-- WrongModule          76  the journal belongs to another module
    |   +-- JournalLocked        75  another process writes to it
    |   +-- JournalWriteFailed   74  the disk is full, or the like: the program goes on
    +-- ProcessEnded             70  a snapshot was asked for of a process that is over
    +-- Unsaveable               70  a live value that cannot be saved (named)
    +-- CannotResume             78  the world around a snapshot is not as it was (files, rights)
    +-- GuestTrap               134  the guest trapped: message and guest backtrace

Guest errors are errno values at the ABI's edge and never exceptions from here.
"""

from __future__ import annotations


class WasnapError(Exception):
    """Base of all errors that are shown to a user as one line, without a traceback.

    ``message`` says what is wrong, ``hint`` (may be empty) what to do next.
    """

    exit_code = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(WasnapError):
    """The user gave an option or argument that makes no sense: correct the command line."""

    exit_code = 64


class InvalidModule(WasnapError):
    """The bytes are no valid core WebAssembly module: ``offset`` is where, in bytes (or None)."""

    exit_code = 65

    def __init__(self, message: str, hint: str = "", offset: int | None = None) -> None:
        at = "" if offset is None else f" at byte {offset} (0x{offset:x})"
        super().__init__(f"{message}{at}", hint)
        self.offset = offset


class UnsupportedModule(WasnapError):
    """A valid module that uses what wasnap cannot run or save; the message names it."""

    exit_code = 69


class UnknownImport(UnsupportedModule):
    """The module imports a function, memory, table or global that nobody provides."""


class MissingFile(WasnapError):
    """A file or directory the user named is not there, or may not be read."""

    exit_code = 66


class JournalError(WasnapError):
    """The file is not a journal, is of a newer version, or is damaged beyond use."""

    exit_code = 76


class NoSuchSnapshot(JournalError):
    """The journal holds no such snapshot."""

    exit_code = 66


class WrongModule(JournalError):
    """The journal belongs to another module than the one given."""


class JournalLocked(JournalError):
    """Another process is writing to this journal."""

    exit_code = 75


class JournalWriteFailed(JournalError):
    """A snapshot could not be written; those committed before it are untouched."""

    exit_code = 74


class ProcessEnded(WasnapError):
    """The process is over: there is nothing to take a snapshot of."""


class Unsaveable(WasnapError):
    """The process holds, right now, a value that cannot be saved; the message names it."""


class CannotListen(WasnapError):
    """An address that the guest is to listen on cannot be had: taken, not ours, not allowed."""

    exit_code = 71


class CannotResume(WasnapError):
    """What the snapshot needs around it (files, directories, rights) is not there."""

    exit_code = 78


class GuestTrap(WasnapError):
    """The guest trapped. ``frames``: function names, innermost first."""

    exit_code = 134

    def __init__(self, message: str, frames: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.frames = frames
