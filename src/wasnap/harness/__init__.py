"""The save-anywhere harness: whatever a program does, stopping it must not change it.

    instance.py       any export of any module, stopped at every n-th safepoint
    job.py            what a run is given, what came of it, how two of them differ
    differential.py   a program, disturbed at random moments and resumed, against an undisturbed run
    kills.py          the same, killed by SIGKILL while snapshots are written
    commands.py       jobs as commands, in processes of their own
    later.py          a snapshot resumed in the directory that the program left behind later
    everywhere.py     a program, stopped at chosen safepoints, or at all of them
    fixture.py        the same for pytest
    __main__.py       ``python -m wasnap.harness MODULE [ARG]...``

A seed names a run: a failing seed is the bug report.
"""

from wasnap.harness.differential import (
    MODES,
    chain,
    differential,
    undisturbed,
)
from wasnap.harness.everywhere import Everywhere, everywhere
from wasnap.harness.instance import (
    Global,
    Import,
    Imports,
    Instance,
    Memory,
    Table,
    invoke,
)
from wasnap.harness.job import Difference, Job, Make, Outcome, Reference, Report
from wasnap.harness.kills import killed
from wasnap.harness.later import later

__all__ = [
    "MODES",
    "Difference",
    "Everywhere",
    "Global",
    "Import",
    "Imports",
    "Instance",
    "Job",
    "Make",
    "Memory",
    "Outcome",
    "Reference",
    "Report",
    "Table",
    "chain",
    "differential",
    "everywhere",
    "invoke",
    "killed",
    "later",
    "undisturbed",
]
