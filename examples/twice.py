"""From Python: run a program, snapshot it from another thread, and let it end twice.

    python examples/twice.py MODULE [ARG]...

The process is stopped after the snapshot; then two processes go on from it, one after the other.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import wasnap


def main(module: str, args: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory) / "twice.journal"
        process = wasnap.Process(module, args, journal=journal, snapshot_on=["explicit"])

        def snapshot_and_stop() -> None:
            try:
                print("snapshot", process.snapshot("in the middle"), file=sys.stderr)
            except wasnap.ProcessEnded:
                print("it was over before the snapshot", file=sys.stderr)
            process.stop(0)

        timer = threading.Timer(1.0, snapshot_and_stop)
        timer.start()
        code = process.run()
        timer.cancel()
        timer.join()
        if count(journal):
            code = wasnap.resume(journal, at=1).run()
            code = wasnap.resume(journal, at=1).run()
        return code


def count(journal: Path) -> int:
    """How many snapshots a journal holds."""
    from wasnap.journal import Journal

    with Journal.open(journal) as opened:
        return len(opened.snapshots)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
