"""A directory with a host over it, and a way to do without the kernel's path resolution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wasnap.host import Host, HostConfig, Mapping, beneath, directory, root
from wasnap.host.tree import lower

from .fakes import Guest
from .inside import Inside

MakeGuest = Callable[..., Guest]


@pytest.fixture
def make_guest() -> Iterator[MakeGuest]:
    """``make_guest(*mappings, **config)``: a guest whose standard streams are /dev/null."""
    hosts = []
    null = os.open(os.devnull, os.O_RDWR)

    def make(*dirs: Mapping, **config: object) -> Guest:
        streams = {"stdin": null, "stdout": null, "stderr": null}
        host = Host(HostConfig(dirs=dirs, **{**streams, **config}))  # type: ignore[arg-type]
        hosts.append(host)
        return Guest(host)

    yield make
    for host in hosts:
        host.close()
    os.close(null)


def mapping(kind: str, path: Path, *, readonly: bool = False) -> Mapping:
    """The directory as /dir, in one of three ways."""
    if kind == "tmp":
        return Mapping("", "/dir", readonly, "tmp")
    return Mapping(str(path), "/dir", readonly, "overlay" if kind == "overlay" else "dir")


@pytest.fixture(params=["dir", "tmp", "overlay"])
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of mapping."""
    return str(request.param)


@pytest.fixture
def guest(tmp_path: Path, make_guest: MakeGuest, kind: str) -> Guest:
    """A guest with tmp_path/dir mapped as /dir, descriptor 3. tmp_path/secret is outside."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "secret").write_text("secret")
    return make_guest(mapping(kind, tmp_path / "dir"))


@pytest.fixture
def inside(guest: Guest, tmp_path: Path, kind: str) -> Inside:
    """What lies in /dir."""
    return Inside(guest, tmp_path / "dir", kind)


@pytest.fixture(params=["kernel", "walk"])
def resolution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of resolving paths: the kernel's (where there is one) and ours."""
    if request.param == "walk":
        for module in (beneath, directory, root, lower):
            monkeypatch.setattr(module, "open_beneath", beneath.walk)
    elif beneath.open_beneath is beneath.walk:
        pytest.skip("this kernel has no openat2")
    return str(request.param)
