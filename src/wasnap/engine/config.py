"""The one place that builds the engine's configuration.

``SETTINGS`` is both what is applied and what the code cache's key is made of, so that compiled code
of one configuration is never loaded under another.

Choices:

- Memory never moves and reserves ``MEMORY_BYTES_MAX`` of address space, so that the raw addresses of
  the stop word and of guest memory stay valid for the life of an instance. A 64-bit memory can
  therefore not grow beyond that. It is no more than 16 GiB, because each of a thousand guest threads
  has a control memory that reserves as much, and a process has 128 TiB in all; and only 4 where
  address space is limited (``ulimit -v``).
- The wasm stack is deep (``WASM_STACK`` bytes: CPython's recursion limit, 300,000 frames of small
  functions). The engine aborts the process when ``max_wasm_stack`` exceeds its async stack size,
  which is never used here but must be set first. Guest threads have ``THREAD_STACK`` bytes: what is
  above ``WASM_STACK`` belongs to host calls made from the deepest guest frame.
- The GC proposal is off, but its runtime must stay: exception references live on its heap (with
  ``gc_support`` off the compiler panics at the first ``try_table``).
- Branch hints are read: the transform marks the ways to its cold blocks unlikely.
- Native unwind information is off: only native debuggers and profilers read it.
"""

from __future__ import annotations

import os
import resource
import threading
from typing import Final

from wasnap.engine import ffi

MIB: Final = 1 << 20
WASM_STACK: Final = 256 * MIB
THREAD_STACK: Final = WASM_STACK + 16 * MIB

_UNLIMITED = resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
MEMORY_BYTES_MAX: Final = (16 if _UNLIMITED else 4) << 30

SETTINGS: Final[tuple[tuple[str, bool | int], ...]] = (
    ("wasm_multi_value", True),
    ("wasm_bulk_memory", True),
    ("wasm_reference_types", True),
    ("wasm_simd", True),
    ("wasm_relaxed_simd", True),
    ("wasm_tail_call", True),
    ("wasm_exceptions", True),
    ("wasm_threads", True),
    ("shared_memory", True),
    ("wasm_multi_memory", True),
    ("wasm_memory64", True),
    ("wasm_branch_hinting", True),
    ("wasm_function_references", False),
    ("wasm_gc", False),
    ("wasm_component_model", False),
    ("debug_info", False),
    ("native_unwind_info", False),
    ("signals_based_traps", True),
    ("parallel_compilation", True),
    ("memory_reservation", MEMORY_BYTES_MAX),
    ("memory_may_move", False),
    ("async_stack_size", WASM_STACK + MIB),
    ("max_wasm_stack", WASM_STACK),
)
"""(name in the C API between ``wasmtime_config_`` and ``_set``, value), in the order applied."""

_lock = threading.Lock()
_engine = 0


def engine() -> int:
    """The process's engine (address of a wasm_engine_t), made on first use and never given back."""
    global _engine
    with _lock:
        if not _engine:
            config = ffi.wasm_config_new()
            for name, value in SETTINGS:
                signature = "pb" if isinstance(value, bool) else "pq"
                ffi.declared(f"wasmtime_config_{name}_set", signature)(config, value)
            _engine = ffi.wasm_engine_new_with_config(config)
        return _engine


def fingerprint() -> str:
    """The engine and its configuration, for the cache's key.

    The size of its library stands for its version (looking that up takes 10 ms); should two ever
    agree, the engine still refuses code that another version made.
    """
    return f"wasmtime {os.stat(ffi.filename).st_size} " + " ".join(
        f"{n}={int(v)}" for n, v in SETTINGS
    )
