"""What safepoints cost: the same work in the plain, the instrumented and the asyncified module.

All three run on the same engine configuration with the same host functions. Asyncify is what one
would use without wasnap: ``wasm-opt --asyncify -O2`` (npm binaryen, run by node). It makes a module
stoppable in host calls only, where the instrumented one can stop in every loop as well.
Modules with exceptions or tail calls are beyond asyncify, and the larger programs take it too long.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import guests
import kernels
import programs

from bench import world
from bench.measure import Sample, Table, geometric_mean, interleaved
from wasnap.engine.code import compile_module
from wasnap.instrument import instrument
from wasnap.wasm.decode import decode

PROGRAMS = ("quickjs", "sqlite", "python311", "ruby", "php", "micropython")
BEYOND_ASYNCIFY = {"jumps", "exceptions", "tail", "python311", "ruby", "php", "micropython"}
ASYNCIFY_SECONDS_MAX = 600
FEATURES = (
    "bulk-memory",
    "mutable-globals",
    "nontrapping-float-to-int",
    "sign-ext",
    "simd",
    "reference-types",
    "multivalue",
)

SetUp = Callable[[Path], tuple[Sequence[str], dict[str, Path]]]


def measure() -> Table:
    """Kernels, their geometric mean, then interpreters and SQLite."""
    table = Table(
        "runtime",
        "Run time, plain = 1",
        ("module", "plain s", "instrumented", "asyncify", "wasm size", "code size", "asyncify's"),
    )
    ours, theirs = [], []
    for name in kernels.KERNELS:
        mine, other = compare(table, name, kernels.build(name), kernel(name))
        ours.append(mine)
        theirs += [other] if other else []
    beside = f"{geometric_mean(theirs):.2f}"
    table.add("**kernels, mean**", "", f"**{geometric_mean(ours):.3f}**", beside, "", "", "")
    for name in PROGRAMS:
        compare(table, name, guests.path(programs.PROGRAMS[name].guest), program(name))
    table.notes += [
        "Run times are processor seconds, minima over the plain module's minimum; sizes are over "
        "the plain module's: "
        "of the wasm, of the machine code, and of the asyncified wasm.",
        "The mean is geometric; asyncify's is that of the kernels it can process.",
        "Asyncify leaves alone what cannot reach a host call, so most kernels cost it nothing: "
        "and they cannot be stopped then. The instrumented module stops in every loop and call.",
    ]
    return table


def kernel(name: str) -> SetUp:
    """A kernel's big size; it needs no files."""
    return lambda directory: (kernels.KERNELS[name].big, {})


def program(name: str) -> SetUp:
    """A program of tests/programs in a fresh directory."""

    def set_up(directory: Path) -> tuple[Sequence[str], dict[str, Path]]:
        setting = programs.set_up(name, directory)
        return setting.args, setting.dirs

    return set_up


def compare(table: Table, name: str, path: Path, set_up: SetUp) -> tuple[float, float | None]:
    """Add one module's row; the ratios of the run times (ours, asyncify's)."""
    wasm = path.read_bytes()
    module = decode(wasm)
    types = world.function_imports(module)
    variants = {"plain": wasm, "instrumented": instrument(module).wasm}
    if name not in BEYOND_ASYNCIFY:
        variants["asyncify"] = asyncified(path)
    compiled = {k: world.Runnable(compile_module(v), types) for k, v in variants.items()}

    def side(program: world.Runnable) -> Callable[[], float]:
        def run() -> float:
            with tempfile.TemporaryDirectory() as directory:
                args, dirs = set_up(Path(directory) / "run")
                return world.run_seconds(program, args, dirs)

        return run

    samples: dict[str, Sample] = interleaved({k: side(v) for k, v in compiled.items()})
    plain = samples["plain"].minimum
    ratios = {k: sample.minimum / plain for k, sample in samples.items()}
    code = world.code_bytes(compiled["instrumented"].module) / world.code_bytes(
        compiled["plain"].module
    )
    table.add(
        name,
        f"{plain:.2f}",
        f"{ratios['instrumented']:.3f}",
        f"{ratios['asyncify']:.2f}" if "asyncify" in ratios else "–",
        f"{len(variants['instrumented']) / len(wasm):.2f}",
        f"{code:.2f}",
        f"{len(variants['asyncify']) / len(wasm):.2f}" if "asyncify" in variants else "–",
    )
    return ratios["instrumented"], ratios.get("asyncify")


def asyncified(path: Path) -> bytes:
    """The module after ``wasm-opt --asyncify -O2``; kept in the cache of guests."""
    tool = guests.package("binaryen") / "package" / "bin" / "wasm-opt"

    def optimise(into: Path) -> None:
        command = [guests.node(), str(tool), str(path), "-o", str(into / "out.wasm")]
        command += ["--asyncify", "-O2", *(f"--enable-{feature}" for feature in FEATURES)]
        subprocess.run(command, check=True, timeout=ASYNCIFY_SECONDS_MAX)

    target = guests.built(f"asyncify {guests.PACKAGES['binaryen'].version}", path)
    return (guests.once(target, optimise) / "out.wasm").read_bytes()
