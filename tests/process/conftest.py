"""Fixtures for tests of whole processes: files for the standard streams, a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wasnap.process import Process


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled code of these tests goes to a directory of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WASNAP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


class Run:
    """One process under test, with files or pipes as its standard streams."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "journal"
        self._directory = directory
        self._open: list[int] = []

    def process(self, module: bytes | Path | None, args: Any = (), **options: Any) -> Process:
        """A ``Process`` whose output ``output`` tells; no snapshots but those asked for."""
        stdout = self._descriptor(self._directory / "stdout", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        null = self._descriptor(Path(os.devnull), os.O_RDWR)
        defaults: dict[str, Any] = {"stdin": null, "stdout": stdout, "stderr": null}
        if "journal" in options:
            defaults["snapshot_on"] = ["explicit"]
        return Process(module, args, **(defaults | options))

    @property
    def output(self) -> bytes:
        """All that the last process printed."""
        return (self._directory / "stdout").read_bytes()

    def pipe(self) -> tuple[int, int]:
        """A pipe: its reading and its writing end; closed after the test."""
        ends = os.pipe()
        self._open += ends
        return ends

    def close(self) -> None:
        for fd in self._open:
            os.close(fd)

    def _descriptor(self, path: Path, flags: int) -> int:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self._open.append(fd)
        return fd


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Processes of one test."""
    made = Run(tmp_path)
    yield made
    made.close()
