"""wasmtime-py's own classes, with the settings of our engine: what ours is compared with."""

from __future__ import annotations

from functools import cache

import wasmtime

from wasnap.engine.config import SETTINGS


@cache
def engine() -> wasmtime.Engine:
    """An engine configured like ours."""
    config = wasmtime.Config()
    for name, value in SETTINGS:
        getattr(wasmtime._ffi, f"wasmtime_config_{name}_set")(config.ptr(), value)
    return wasmtime.Engine(config)
