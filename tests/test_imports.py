"""Proof that the rooms of the house depend on each other in one direction only.

Every import counts, also those inside functions and under ``TYPE_CHECKING``: a cycle that only
the type checker sees is a cycle for the reader too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "wasnap"

# From docs/architecture.md: a room imports only rooms of a lower rank, and itself.
RANKS = {
    "errors": 0,
    "version": 0,
    "wasm": 1,
    "instrument": 2,
    "journal": 3,
    "host": 4,
    "engine": 5,
    "layers": 5,
    "snapshot": 6,
    "triggers": 6,
    "launch": 7,
    "control": 7,
    "process": 8,
    "harness": 9,
    "cli": 9,
    "__init__": 10,
    "__main__": 10,
}
# What the order alone would allow, and is not wanted all the same.
FORBIDDEN = {"journal": {"wasm", "instrument"}}
ENGINE_ONLY = "wasmtime"


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(file: Path) -> str:
    """The dotted name: wasnap.engine.guest, wasnap.engine (its __init__), wasnap.errors."""
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """errors, wasm, instrument ...; __init__ for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything a file imports, wherever in it."""
    package = name_of(file).split(".")
    if file.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def complaints(file: Path) -> list[str]:
    """What is wrong with one file's imports, a line each."""
    room = room_of(name_of(file))
    found = []
    for line, imported in imports_of(file):
        where = f"{file.relative_to(SOURCE.parent)}:{line}: {room} imports {imported}"
        top = imported.split(".")[0]
        if top == ENGINE_ONLY and room != "engine":
            found.append(f"{where}: only engine knows {ENGINE_ONLY}")
        if top != "wasnap":
            continue
        other = room_of(imported)
        if other not in RANKS:  # `from wasnap import Process`: the package itself
            other = "__init__"
        if other == room:
            continue
        if RANKS[other] >= RANKS[room]:
            found.append(f"{where}: {other} does not stand before {room}")
        elif other in FORBIDDEN.get(room, ()):
            found.append(f"{where}: {room} needs no {other}")
    return found


@pytest.mark.parametrize("file", modules(), ids=name_of)
def test_imports_point_one_way(file: Path) -> None:
    """No file imports a room that stands after its own."""
    assert room_of(name_of(file)) in RANKS, "a new room needs a place in docs/architecture.md"
    assert complaints(file) == []


@pytest.mark.parametrize(
    ("room", "statement", "right"),
    [
        ("engine", "import wasmtime", True),
        ("host", "def f():\n    import wasmtime", False),
        (
            "host",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..engine import x",
            False,
        ),
        ("journal", "from ..errors import JournalError", True),
        ("journal", "from wasnap.host import Host", False),
        ("journal", "from .. import wasm", False),
        ("triggers", "from ..snapshot import take", False),
        ("cli", "from ..process import Process", True),
        ("harness", "from ..cli import main", False),
        ("instrument", "from . import liveness", True),
    ],
)
def test_the_proof_sees_what_it_should(
    room: str, statement: str, right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker itself: each way to import wrongly is noticed, each right one let through."""
    package = tmp_path / "wasnap" / room
    package.mkdir(parents=True)
    file = package / "module.py"
    file.write_text(statement + "\n")
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path / "wasnap")
    assert (complaints(file) == []) is right
