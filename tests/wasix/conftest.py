"""For tests of WASIX."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Guests that nobody needs again."""
    patch = pytest.MonkeyPatch()
    patch.setenv("WASNAP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
