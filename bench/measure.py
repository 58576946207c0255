"""How everything here is measured: sides take turns, and only ratios are to be trusted.

The machine may be busy with other things. So each repetition runs every side once, in turn, and a
side is told by its median and its minimum; a ratio is that of the minima unless a bench says
otherwise, because noise only ever adds.
"""

from __future__ import annotations

import datetime
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

REPETITIONS = int(os.environ.get("BENCH_REPETITIONS", "5"))
FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"


@dataclass(frozen=True)
class Sample:
    """What one side took, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    @property
    def maximum(self) -> float:
        return max(self.seconds)


def interleaved(
    sides: Mapping[str, Callable[[], float]], repetitions: int = REPETITIONS
) -> dict[str, Sample]:
    """Run every side ``repetitions`` times, taking turns; a side returns its own seconds."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, side in sides.items():
            taken[name].append(side())
    return {name: Sample(tuple(seconds)) for name, seconds in taken.items()}


def users_environment() -> dict[str, str]:
    """For processes of ours that are timed: Python keeps what it compiled, as it does for users.
    Compiling wasnap's own source again takes three times as long as all the rest of a start."""
    return {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}


_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean that is the same whichever side is the numerator."""
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(statistics.fmean(logarithms)) if logarithms else math.nan


@dataclass
class Table:
    """A table of figures; ``notes`` say what the numbers are, and how much they may be trusted."""

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row, and show it at once: a bench may take minutes."""
        assert len(cells) == len(self.columns)
        self.rows.append(cells)
        print(" | ".join(cells), flush=True)

    def markdown(self) -> str:
        """The table with the circumstances under which it was made."""
        lines = [f"# {self.title}", ""]
        lines += [
            f"`python -m bench {self.name}`, {datetime.date.today()}, wasmtime "
            f"{version('wasmtime')}, Python {platform.python_version()}, {os.cpu_count()} cores "
            f"({platform.machine()}), {REPETITIONS} interleaved repetitions, load average "
            f"{os.getloadavg()[1]:.1f} at the end.",
            "",
        ]
        lines += [" | ".join(("", *self.columns, "")).strip()]
        lines += ["|" + "---|" * len(self.columns)]
        lines += [" | ".join(("", *row, "")).strip() for row in self.rows]
        lines += [""] + [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def write(self) -> Path:
        """Keep it in docs/figures."""
        FIGURES.mkdir(parents=True, exist_ok=True)
        file = FIGURES / f"{self.name}.md"
        file.write_text(self.markdown(), encoding="utf-8")
        return file
