"""The save-anywhere harness: whatever a program does, stopping it must not change it.

instance.py       any export of any module, stopped at every n-th safepoint
differential.py   a program, disturbed at random moments and resumed, against an undisturbed run
__main__.py       ``python -m wasnap.harness MODULE [ARGS]``

A seed names a run: a failing seed is the bug report.
"""

from wasnap.harness.differential import Difference, Guest, Run, differential
from wasnap.harness.instance import Global, Instance, Memory, Table, invoke

__all__ = [
    "Difference",
    "Global",
    "Guest",
    "Instance",
    "Memory",
    "Run",
    "Table",
    "differential",
    "invoke",
]
