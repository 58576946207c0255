"""The code cache: a directory of compiled code, addressed by what it was compiled from.

An entry is one file, ``<directory>/<key[:2]>/<key>``::

    code | meta | footer

``code`` comes first and the file can be mapped as it is: the engine does not mind what follows.
The footer (little-endian, ``FOOTER``): magic, length of code, length of meta, CRC-32 of code and
meta, CRC-32 of the footer before it.

An entry is used if and only if: the file is exactly as long as its footer says, the magic is right,
and both checksums are. Anything else is as good as absent: it is rebuilt and replaced. (CRC-32 by
vectors takes 4 ms for 50 MB, zlib's 19, blake2b 40.)

Writing goes to a temporary file, then one rename: two processes may fill an entry at once, and a
reader sees one or the other. There is no fsync: an entry torn by a crash fails its checksum.

Compiled code is as good as a program: a directory that others own or may write to is not used. The
cache is never needed; when the directory cannot be used the program runs without, and says so once.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import stat
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from wasnap.journal.checksum import crc32

log = logging.getLogger(__name__)

MAGIC: Final = b"wasnapc1"
FOOTER: Final = Struct("<8sQQII")
_FOOTER_CRC_AT: Final = FOOTER.size - 4

_said: set[str] = set()


class Found(NamedTuple):
    """An intact entry: the file (the code is at its start) and its meta."""

    path: Path
    meta: bytes


def default_directory() -> Path:
    """``$WASNAP_CACHE_DIR``, else ``wasnap`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get("WASNAP_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wasnap"


class Cache:
    """A cache directory. ``Cache.default()`` for the user's, ``Cache(None)`` for none at all."""

    def __init__(self, directory: Path | str | None) -> None:
        self.directory = None if directory is None else Path(directory)
        self.usable = self.directory is not None and self._prepare(self.directory)

    @classmethod
    def default(cls) -> Cache:
        """The user's cache."""
        try:
            return cls(default_directory())
        except RuntimeError:  # no home directory can be found
            _say_once("", "there is no home directory: running without a code cache")
            return cls(None)

    def _prepare(self, directory: Path) -> bool:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = directory.stat()
        except OSError as error:
            _say_once(str(directory), f"running without a code cache: {error}")
            return False
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            reason = "others own it or may write to it"
            _say_once(str(directory), f"running without a code cache: {directory}: {reason}")
            return False
        return True

    def _path(self, key: str) -> Path:
        assert self.directory is not None
        return self.directory / key[:2] / key

    def find(self, key: str) -> Found | None:
        """The entry, if it is there and intact."""
        if not self.usable:
            return None
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                meta = _verified(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            _say_once(str(self.directory), f"the code cache cannot be read: {error}")
            return None
        if meta is None:
            log.info("a damaged entry of the code cache is rebuilt: %s", path)
            return None
        return Found(path, meta)

    def store(self, key: str, code: bytes, meta: bytes) -> None:
        """Put an entry there, in place of what may be there. Never raises."""
        if not self.usable:
            return
        import tempfile  # a program that is found here needs none

        path = self._path(key)
        head = FOOTER.pack(MAGIC, len(code), len(meta), crc32(meta, crc32(code)), 0)
        head = head[:_FOOTER_CRC_AT]
        footer = head + crc32(head).to_bytes(4, "little")
        temporary = None
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                temporary = file.name
                file.write(code)
                file.write(meta)
                file.write(footer)
            os.replace(temporary, path)
        except OSError as error:
            _say_once(str(self.directory), f"the code cache cannot be written: {error}")
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)


def _verified(fd: int) -> bytes | None:
    """The meta of an intact entry, or None."""
    size = os.fstat(fd).st_size
    if size < FOOTER.size:
        return None
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as data:
        footer = bytes(data[size - FOOTER.size :])
        magic, code_length, meta_length, crc, footer_crc = FOOTER.unpack(footer)
        if magic != MAGIC or code_length + meta_length + FOOTER.size != size:
            return None
        with data[: code_length + meta_length] as body:
            if crc32(footer[:_FOOTER_CRC_AT]) != footer_crc or crc32(body) != crc:
                return None
        return bytes(data[code_length : code_length + meta_length])


def _say_once(about: str, message: str) -> None:
    if about not in _said:
        _said.add(about)
        log.warning(message)
