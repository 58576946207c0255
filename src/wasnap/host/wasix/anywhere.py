"""A directory from which absolute paths lead where they say.

Preview1 refuses these. The reference runtime of WASIX has one root, and older libcs name everything
from there, whatever the descriptor: ``/dev/null``, ``/tmp/x`` below descriptor 3. So for programs of
WASIX an absolute path is one in the mapping that it lies in; ``..`` is taken out of it first. Any
other path is below the descriptor, as always; but for a libc that names everything so (that of dash
and bash), where one below a mapped directory is a path from the working directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..descriptors import Descriptor, Status
from ..mapped import Directory, Want
from ..world import Host


class Anywhere:
    """What ``path_*`` needs of a ``Directory``, which see."""

    def __init__(self, host: Host, directory: Directory) -> None:
        self._host = host
        self._directory = directory
        self.rights = directory.rights
        self.inheriting = directory.inheriting

    @contextmanager
    def at(self, path: bytes) -> Iterator[tuple[Directory, bytes]]:
        """The directory that a path is to be looked for in, and the path from there. ENOENT."""
        host = self._host
        here = host.signals.old_style and self._directory.preopen and host.cwd != b"/"
        if path.startswith(b"/") or (here and path):
            with self._host.above(self._host.absolute(path)) as found:
                yield found
        else:
            yield self._directory, path

    def open(self, path: bytes, want: Want) -> Descriptor:
        with self.at(path) as (directory, name):
            return directory.open(name, want)

    def stat_at(self, path: bytes, *, follow: bool) -> Status:
        with self.at(path) as (directory, name):
            return directory.stat_at(name, follow=follow)

    def make_directory(self, path: bytes) -> None:
        with self.at(path) as (directory, name):
            directory.make_directory(name)

    def remove_directory(self, path: bytes) -> None:
        with self.at(path) as (directory, name):
            directory.remove_directory(name)

    def unlink(self, path: bytes) -> None:
        with self.at(path) as (directory, name):
            directory.unlink(name)

    def rename(self, old: bytes, to: Anywhere, new: bytes) -> None:
        with self.at(old) as (directory, name), to.at(new) as (target, new_name):
            directory.rename(name, target, new_name)

    def link(self, old: bytes, to: Anywhere, new: bytes) -> None:
        with self.at(old) as (directory, name), to.at(new) as (target, new_name):
            directory.link(name, target, new_name)

    def symlink(self, target: bytes, path: bytes) -> None:
        with self.at(path) as (directory, name):
            directory.symlink(target, name)

    def read_link(self, path: bytes) -> bytes:
        with self.at(path) as (directory, name):
            return directory.read_link(name)

    def set_times_at(
        self, path: bytes, access: int | None, modification: int | None, *, follow: bool
    ) -> None:
        with self.at(path) as (directory, name):
            directory.set_times_at(name, access, modification, follow=follow)
