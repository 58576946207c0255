"""The tests of the transform keep compiled code in a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A code cache of these tests' own, shared by them."""
    monkeypatch.setenv("WASNAP_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
