"""``python -m bench NAME...``: run benches and keep their tables in docs/figures.

runtime      instrumented over plain, beside asyncify: kernels and real programs; sizes
instrument   time to instrument over time to compile; the second start
hostcall     a host call through our edge, beside wasmtime.Func
wasi         WASI calls on our host, over wasmtime's own
latency      from the stop to the last frame captured
threads      two threads over one; starting them; stopping them
start        a resume: a whole process, and to the first instruction
prompt       CPython's prompt, fresh and resumed
snapshot     pauses of snapshots
journal      growth, memory and throughput of snapshots; a resume of what is scattered
sockets      a web server's latency with snapshots every 100 ms, over without; and taken over
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

NAMES = (
    "runtime",
    "instrument",
    "hostcall",
    "wasi",
    "latency",
    "threads",
    "start",
    "prompt",
    "snapshot",
    "journal",
    "sockets",
)


def main(names: list[str]) -> int:
    if not names or not set(names) <= {*NAMES, "all"}:
        print(__doc__)
        return 2
    tests = Path(__file__).resolve().parent.parent / "tests"
    sys.path.insert(0, str(tests))  # the guests are there
    for name in NAMES if "all" in names else names:
        table = importlib.import_module(f"bench.{name}").measure()
        print(f"\n{table.markdown()}\n{table.write()}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
