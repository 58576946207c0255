"""Where something open lies beneath a mapped directory, by what the kernel says of it; and where a
history lies."""

from __future__ import annotations

import os
from pathlib import Path

_SUFFIX = ".files"


def directory_of(journal: Path) -> Path:
    """Where the history of a journal's files lies."""
    return journal.with_name(f"{journal.name}{_SUFFIX}")


def journal_of(history: Path) -> Path:
    """The journal whose history of files lies there."""
    return history.with_name(history.name.removesuffix(_SUFFIX))


def path_of(base: int, fileno: int) -> bytes | None:
    """The path of an open file or directory beneath the open directory ``base``, without symbolic
    links (``.`` for itself); None: it has none, or none that is known.

    Believed only if the very same file (device and inode) is found there.
    """
    path = kernels_path(base, fileno)
    if path is None:
        return None
    try:
        found = os.stat(path, dir_fd=base, follow_symlinks=False)
    except OSError:  # removed, or moved away
        return None
    return path if os.path.samestat(found, os.fstat(fileno)) else None


def kernels_path(base: int, fileno: int) -> bytes | None:
    """What the kernel calls it; it may not be there any more."""
    try:
        root = os.readlink(b"/proc/self/fd/%d" % base)
        path = os.readlink(b"/proc/self/fd/%d" % fileno)
    except OSError:  # no /proc here
        return None
    if path == root:
        return b"."
    root = root.rstrip(b"/") + b"/"
    return path[len(root) :] if path.startswith(root) else None


def join(directory: bytes, name: bytes) -> bytes:
    """The path of what is called ``name`` in ``directory``."""
    return name if directory == b"." else b"%s/%s" % (directory, name)
