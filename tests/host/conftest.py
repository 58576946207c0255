"""Directories of every kind with a host over them, and a way to do without the kernel's path
resolution."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wasnap.host import Host, HostConfig, Mapping, beneath

from .fakes import Guest, UnstableGuest

MakeGuest = Callable[..., Guest]


class Noted(Mapping, frozen=True):
    """A host directory; changes are noted, so that they can be undone, in NAME.files beside it."""


KINDS: dict[str, Callable[[Path, str, bool], Mapping]] = {
    "dir": lambda host, guest, readonly: Mapping(str(host), guest, readonly),
    "dir noted": lambda host, guest, readonly: Noted(str(host), guest, readonly),
    "dir by walk": lambda host, guest, readonly: Mapping(str(host), guest, readonly),
    "dir, unstable": lambda host, guest, readonly: Mapping(str(host), guest, readonly),
    "tmp": lambda host, guest, readonly: Mapping("", guest, readonly, "tmp"),
    "overlay": lambda host, guest, readonly: Mapping(str(host), guest, readonly, "overlay"),
    "overlay by walk": lambda host, guest, readonly: Mapping(str(host), guest, readonly, "overlay"),
}
"""Kinds of mapped directories: (an empty host directory, guest path, read-only) -> the mapping.

By walk: as on a kernel without openat2. Unstable: called through wasi_unstable.
"""


@pytest.fixture
def make_guest(request: pytest.FixtureRequest) -> Iterator[MakeGuest]:
    """``make_guest(*mappings, **config)``: a guest whose standard streams are /dev/null."""
    old = "kind" in request.fixturenames and "unstable" in request.getfixturevalue("kind")
    hosts = []
    null = os.open(os.devnull, os.O_RDWR)

    def make(*dirs: Mapping, **config: object) -> Guest:
        streams = {"stdin": null, "stdout": null, "stderr": null}
        host = Host(HostConfig(dirs=dirs, **{**streams, **config}))  # type: ignore[arg-type]
        hosts.append(host)
        made = UnstableGuest(host) if old else Guest(host)
        for mapping in dirs:
            if isinstance(mapping, Noted) and made.history is None:
                made.history = Path(f"{mapping.host}.files")
                if not made.history.exists():
                    host.note_changes(made.history, sync=False)
        return made

    yield make
    for host in hosts:
        host.close()
    os.close(null)


@pytest.fixture
def guest(tmp_path: Path, make_guest: MakeGuest) -> Guest:
    """A guest with tmp_path/dir mapped as /dir, descriptor 3. tmp_path/secret is outside."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "secret").write_text("secret")
    return make_guest(Mapping(str(tmp_path / "dir"), "/dir"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of mapping in turn."""
    if "walk" in request.param:
        use_walk(monkeypatch)
    elif request.param != "tmp" and beneath.open_beneath is beneath.walk:
        pytest.skip("this kernel has no openat2")
    return str(request.param)


@pytest.fixture
def share(kind: str) -> int:
    """Divides large numbers: kinds that differ only in how paths are resolved or functions called
    need no more than a tenth."""
    return 10 if "walk" in kind or "unstable" in kind else 1


@pytest.fixture
def anywhere(kind: str, tmp_path: Path, make_guest: MakeGuest) -> Guest:
    """A guest with an empty directory of each kind mapped as /dir, descriptor 3.

    For tests that say what a directory is like, whatever is behind it: they look at it through the
    guest only.
    """
    (tmp_path / "dir").mkdir()
    return make_guest(KINDS[kind](tmp_path / "dir", "/dir", False))


def use_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel without openat2."""
    for name, module in list(sys.modules.items()):
        if name.startswith("wasnap.host.") and hasattr(module, "open_beneath"):
            monkeypatch.setattr(module, "open_beneath", beneath.walk)
