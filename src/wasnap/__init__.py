"""wasnap: snapshots of running WebAssembly processes.

::

    errors                what can go wrong, and its exit code
    wasm, instrument      a module, and the module that can be stopped anywhere
    engine                runs it, on a thread of its own
    host                  what it calls, and what it holds
    journal               where snapshots are
    snapshot              the order in which all of that is saved and restored
    triggers, process     when; and the story: start, (stop, capture, commit, continue)*, exit
    launch                what is to be run, and with which rights
    harness, cli          the save-anywhere test, and the command

    process = wasnap.Process("app.wasm", dirs={"/data": "data"}, journal="app.journal")
    process.run()                              # process.snapshot() from another thread
    wasnap.resume("app.journal", at=3).run()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasnap.errors import (
    CannotResume,
    GuestTrap,
    InvalidModule,
    JournalError,
    ProcessEnded,
    UnsupportedModule,
    WasnapError,
)
from wasnap.version import VERSION

if TYPE_CHECKING:
    from wasnap.host import Mapping
    from wasnap.process import Process, resume

__version__ = VERSION

__all__ = [
    "CannotResume",
    "GuestTrap",
    "InvalidModule",
    "JournalError",
    "Mapping",
    "Process",
    "ProcessEnded",
    "UnsupportedModule",
    "WasnapError",
    "__version__",
    "resume",
]


def __getattr__(name: str) -> Any:
    """What needs the engine is imported when it is used: a journal can be read without it."""
    if name in ("Process", "resume"):
        from wasnap import process

        return getattr(process, name)
    if name == "Mapping":
        from wasnap.host import Mapping

        return Mapping
    raise AttributeError(f"module 'wasnap' has no attribute {name!r}")
