"""The real programs that snapshots must not disturb, and what each is given to do.

Each computes for a few seconds, prints as it goes, and ends with a line that depends on all it
did; ``last_line`` is what it printed on plain wasmtime. Most write files too, which are compared.
The scripts stand beside this file; the interpreters and compilers come from ``tests/guests.py``.

``set_up(name, directory)`` puts a program's input files into a fresh directory and says how to
run it there. A program that works on another's output (nextpnr places what yosys made) gets it
from a run of that one on plain wasmtime, once, kept in the cache of guests.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import guests
import plain

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Program:
    """One job for one guest; paths in ``args`` are the guest's, which has its files in /work."""

    guest: str
    args: tuple[str, ...]
    inputs: tuple[str, ...] = ()  # files of this directory, copied into /work
    outputs: tuple[str, ...] = ()  # files in /work to be compared afterwards
    roots: Mapping[str, str] = field(default_factory=dict)  # guest path -> guest with a root
    needs: str = ""  # the program whose outputs are inputs here
    last_line: str = ""  # of stdout; empty: it prints nothing


class Setting(NamedTuple):
    """A program made ready to run. ``dirs`` maps guest paths to host directories."""

    module: Path
    args: tuple[str, ...]  # without the program's name
    dirs: dict[str, Path]
    outputs: tuple[Path, ...]
    last_line: str


_LLD = "-L/usr/lib/wasm32-wasip1 /usr/lib/wasm32-wasip1/crt1-command.o /work/hello.o -lc"
_BUILTINS = "/usr/lib/wasm32-unknown-wasip1/libclang_rt.builtins.a"
_YOSYS = "read_verilog /work/design.v; synth_ice40 -top top -json /work/design.json"
_NEXTPNR = "--quiet --hx1k --package tq144 --seed 1 --json /work/design.json"

_PYTHON = Program(
    "python311",
    ("/work/work.py", "200", "/work"),
    ("work.py",),
    ("lines.txt",),
    {"/usr": "python311/usr"},
    last_line="done 21b0beb3fe7ea32fb9640143ddfe85f68eee18af6bc7bd9e42c8ceaf2debba07",
)

PROGRAMS: Mapping[str, Program] = {
    "python311": _PYTHON,
    "python312": replace(_PYTHON, guest="python312", roots={}),
    "ruby": Program(
        "ruby",
        ("/work/work.rb", "100", "/work"),
        ("work.rb",),
        ("lines.txt",),
        last_line="done 828a3d61ccf7c2cc",
    ),
    "php": Program(
        "php",
        ("-q", "/work/work.php", "300", "/work"),
        ("work.php",),
        ("lines.txt",),
        last_line="done d5317e43271c16d667afd100c5e3776f95bbcbae554338b0833a609f8ef6deb9",
    ),
    "quickjs": Program(
        "quickjs",
        ("/work/work.js", "700"),
        ("work.js",),
        last_line="done ea747c7cc8d53281",
    ),
    "micropython": Program(
        "micropython",
        ("-X", "heapsize=16M", "/work/micro.py", "2000", "/work"),
        ("micro.py",),
        ("lines.txt",),
        last_line="done d35742868fb1463360473a8ffb8ee4d340f89136e64ca4d8033f5051f013b57f",
    ),
    "sqlite": Program(
        "sqlite",
        ("/work/work.db", ".read /work/work.sql"),
        ("work.sql",),
        ("work.db",),
        last_line="names|item 100002,item 100001,item 100000",
    ),
    "go": Program(
        "go",
        ("3000",),
        last_line="all 3000 d2a2ace264f383c495adae75334cbca526e564150399519c08d7a683767e8a40 true",
    ),
    "clang22": Program(
        "clang22",
        ("clang", "-O3", "-c", "/work/hello.c", "-o", "/work/hello.o"),
        ("hello.c",),
        ("hello.o",),
        {"/usr": "clang22"},
    ),
    "lld22": Program(
        "clang22",
        ("wasm-ld", *_LLD.split(), _BUILTINS, "-o", "/work/hello.wasm"),
        (),
        ("hello.wasm",),
        {"/usr": "clang22"},
        needs="clang22",
    ),
    "yosys": Program(
        "yosys", ("-q", "-p", _YOSYS), ("design.v",), ("design.json",), {"/share": "yosys"}
    ),
    "nextpnr": Program(
        "nextpnr",
        (*_NEXTPNR.split(), "--pcf", "/work/pins.pcf", "--asc", "/work/design.asc"),
        ("pins.pcf",),
        ("design.asc",),
        {"/share": "nextpnr"},
        needs="yosys",
    ),
}


def set_up(name: str, directory: Path) -> Setting:
    """Make ``directory`` (new or empty) the world of one run of the program ``name``."""
    program = PROGRAMS[name]
    module = guests.path(program.guest)
    work, temporary = directory / "work", directory / "tmp"
    work.mkdir(parents=True)
    temporary.mkdir()
    for file in program.inputs:
        shutil.copy(HERE / file, work)
    if program.needs:
        for output in _outputs(program.needs):
            shutil.copy(output, work)
    dirs = {"/work": work, "/tmp": temporary}
    for place, origin in program.roots.items():
        guest, _, below = origin.partition("/")
        dirs[place] = guests.root(guest) / below
    outputs = tuple(work / file for file in program.outputs)
    return Setting(module, program.args, dirs, outputs, program.last_line)


def _outputs(name: str) -> list[Path]:
    """What the program ``name`` writes, from one run on plain wasmtime."""
    program = PROGRAMS[name]
    digest = hashlib.sha256(repr((program, guests.path(program.guest))).encode())
    for file in program.inputs:
        digest.update((HERE / file).read_bytes())

    def run(into: Path) -> None:
        setting = set_up(name, into / "run")
        done = plain.run(setting.module, setting.args, setting.dirs)
        assert done.returncode == 0, done.stderr
        for output in setting.outputs:
            output.rename(into / output.name)
        shutil.rmtree(into / "run")

    kept = guests.cache() / "outputs" / f"{name}-{digest.hexdigest()[:16]}"
    return sorted(guests.once(kept, run).iterdir())
