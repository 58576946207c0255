"""What lies in the guest's directory, for a test that prepares it or looks at what became of it,
whatever kind of mapping it is.

Preparing: a host directory and the lower directory of an overlay are written to as such (before the
guest has looked); one in memory is written to from inside. Looking is always from inside, as the
guest sees it, through a directory descriptor of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from wasnap.host.descriptors import Status
from wasnap.host.mapped import Directory, Want
from wasnap.host.protocol import Call

from .fakes import FakeCall, FakeMemory, Guest


class Inside:
    """``path``: the host directory; ``kind``: of the mapping, which is /dir."""

    def __init__(self, guest: Guest, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self._guest = guest
        self._call = cast(Call, FakeCall(FakeMemory(0)))

    @contextmanager
    def _top(self) -> Iterator[Directory]:
        top = self._guest.host._roots["/dir"].preopen()
        yield top
        top.close()

    # -- preparing --------------------------------------------------------------------------

    def write(self, name: str | bytes, data: bytes = b"") -> None:
        """A file with this content."""
        if self.kind != "tmp":
            path = self.path / os.fsdecode(name)
            if data:
                path.write_bytes(data)
            else:
                os.mknod(path)
            return
        want = Want(create=True, truncate=True, writable=True)
        with self._top() as top:
            file = top.open(os.fsencode(name), want)
            assert not data or file.write(self._call, [memoryview(data)]) == len(data)
            file.close()

    def mkdir(self, name: str) -> None:
        """A directory, and those it lies in."""
        if self.kind != "tmp":
            (self.path / name).mkdir(parents=True, exist_ok=True)
            return
        parts = name.split("/")
        for i in range(len(parts)):
            path = "/".join(parts[: i + 1])
            if not self.exists(path):
                with self._top() as top:
                    top.make_directory(path.encode())

    def symlink(self, target: str, name: str) -> None:
        """A symbolic link to ``target``."""
        if self.kind != "tmp":
            os.symlink(target, self.path / name)
        else:
            with self._top() as top:
                top.symlink(target.encode(), name.encode())

    def utime(self, name: str, ns: tuple[int, int]) -> None:
        """Times."""
        if self.kind != "tmp":
            os.utime(self.path / name, ns=ns)
        else:
            with self._top() as top:
                top.set_times_at(name.encode(), *ns, follow=True)

    # -- looking ----------------------------------------------------------------------------

    def stat(self, name: str = ".", *, follow: bool = True) -> Status:
        """Attributes."""
        with self._top() as top:
            return top.stat_at(name.encode(), follow=follow)

    def exists(self, name: str) -> bool:
        """Whether there is such a name, of anything."""
        try:
            self.stat(name, follow=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str | bytes) -> bytes:
        """A file's content."""
        with self._top() as top:
            file = top.open(os.fsencode(name), Want())
            data = bytearray(file.stat().st_size)
            assert file.read_at([memoryview(data)], 0) == len(data)
            file.close()
            return bytes(data)

    def names(self, name: str = ".") -> list[bytes]:
        """All in a directory, sorted."""
        with self._top() as top:
            directory = top.open(name.encode(), Want(directory=True))
            assert isinstance(directory, Directory)
            found = [entry[0] for entry in directory.entries(0)][2:]
            directory.close()
            return found
