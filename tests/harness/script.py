"""Runs the specification's test scripts (as ``tests/wast.py`` converts them) under the harness.

What cannot be run is skipped by name: ``skipped`` counts commands by reason. All else must be as
the script says.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from wasnap.engine import Cache
from wasnap.errors import GuestTrap, UnknownImport, UnsupportedModule
from wasnap.harness import Global, Instance, Memory, Table
from wasnap.wasm.decode import decode
from wasnap.wasm.encode import encode
from wasnap.wasm.types import EXTERNREF, FUNCREF

FUNCTION, TAG = 0, 4
KINDS = ("function", "table", "memory", "global", "tag")
LANE_BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}
EXPONENT = {32: 0x7F800000, 64: 0x7FF0000000000000}
QUIET = {32: 0x00400000, 64: 0x0008000000000000}

SPECTEST: dict[str, Any] = {
    "global_i32": Global(666),
    "global_i64": Global(666),
    "global_f32": Global(struct.unpack("<I", struct.pack("<f", 666.6))[0]),
    "global_f64": Global(struct.unpack("<Q", struct.pack("<d", 666.6))[0]),
    "table": Table(10, 20),
    "memory": Memory(1, 2),
    **{
        f"print{suffix}": lambda *_: None
        for suffix in ("", "_i32", "_i64", "_f32", "_f64", "_i32_f32", "_f64_f64")
    },
}
"""interpreter/README.md, "Spectest"."""


class Skip(Exception):
    """This command cannot be run here, for the reason given."""


class Script:
    """One script. ``run`` it; ``ran`` and ``skipped`` tell what of it could be run."""

    def __init__(self, path: Path, *, stop_every: int, fresh: bool = False) -> None:
        self.folder = path.parent
        self.commands = json.loads(path.read_text())["commands"]
        self.ran = 0
        self.stops = 0
        self.skipped: Counter[str] = Counter()
        self._every = stop_every
        self._fresh = fresh
        self._named: dict[str, Instance | str] = {}
        self._registered: dict[str, Instance | str] = {}
        self._definitions: dict[str, dict[str, Any]] = {}
        self._all: list[Instance] = []
        self._tainted: set[int] = set()
        self._current: Instance | str = "there is no module"

    def run(self) -> list[str]:
        """All commands; what was not as it should be, by line."""
        wrong = []
        try:
            for command in self.commands:
                handle = getattr(self, f"_{command['type']}", None)
                if handle is None:
                    continue  # about validity or linking alone: not the harness's business
                try:
                    handle(command)
                    self.ran += 1
                except Skip as skip:
                    self.skipped[str(skip)] += 1
                except AssertionError as error:
                    wrong.append(f"line {command['line']}: {error}")
                except Exception as error:
                    wrong.append(f"line {command['line']}: {type(error).__name__}: {error}")
        finally:
            for instance in self._all:
                self.stops += instance.stops
                instance.close()
        return wrong

    # -- commands ------------------------------------------------------------------------------

    def _module(self, command: dict[str, Any]) -> None:
        self._current = "its module does not assemble"
        try:
            self._current = self._instance(command)
        except Skip as skip:
            self._current = str(skip)
            raise
        finally:
            if "name" in command:
                self._named[command["name"]] = self._current

    def _module_definition(self, command: dict[str, Any]) -> None:
        self._definitions[command.get("name", "")] = command

    def _module_instance(self, command: dict[str, Any]) -> None:
        definition = dict(self._definitions[command.get("module", "")])
        definition.pop("name", None)
        self._module(definition | ({"name": command["name"]} if "name" in command else {}))

    def _register(self, command: dict[str, Any]) -> None:
        self._registered[command["as"]] = (
            self._named.get(command["name"], "no such module")
            if "name" in command
            else self._current
        )

    def _action(self, command: dict[str, Any]) -> None:
        self._act(command["action"])

    def _assert_return(self, command: dict[str, Any]) -> None:
        found = self._act(command["action"])
        expected = command["expected"]
        assert len(found) == len(expected), f"{len(found)} results, not {len(expected)}"
        for value, wanted in zip(found, expected, strict=True):
            assert matches(value, wanted), f"{value:#x} is not {wanted}"

    def _assert_trap(self, command: dict[str, Any]) -> None:
        try:
            found = self._act(command["action"])
        except GuestTrap:
            return
        raise AssertionError(f"{found} and no trap ({command['text']})")

    _assert_exhaustion = _assert_trap
    _assert_exception = _assert_trap

    def _assert_uninstantiable(self, command: dict[str, Any]) -> None:
        try:
            self._instance(command)
        except GuestTrap:
            return
        raise AssertionError(f"no trap ({command['text']})")

    # -- their means ---------------------------------------------------------------------------

    def _act(self, action: dict[str, Any]) -> list[int]:
        name = action.get("module")
        instance = self._named.get(name, "no such module") if name else self._current
        if isinstance(instance, str):
            raise Skip(instance)
        if id(instance) in self._tainted:
            raise Skip("what could not be run would have changed it")
        if action["type"] == "get":
            return [instance.get(action["field"], raw=True)]  # type: ignore[list-item]
        try:
            args = [constant(argument) for argument in action["args"]]
        except Skip:
            self._tainted.add(id(instance))
            raise
        result: Any = instance.invoke(action["field"], args, raw=True)
        if result is None:
            return []
        return list(result) if isinstance(result, tuple) else [result]

    def _instance(self, command: dict[str, Any]) -> Instance:
        if "filename" not in command:
            raise Skip(f"does not assemble: {command.get('error', '')}")
        data = (self.folder / command["filename"]).read_bytes()
        try:
            instance = Instance(
                with_own_tags(data),
                self._imports(data),
                stop_every=self._every,
                fresh=self._fresh,
                cache=Cache(None),
            )
        except (UnsupportedModule, UnknownImport) as error:
            raise Skip(error.message.split(": used at")[0].split(", used at")[0]) from None
        self._all.append(instance)
        return instance

    def _imports(self, data: bytes) -> dict[tuple[str, str], Any]:
        found: dict[tuple[str, str], Any] = {}
        for entry in decode(data).imports:
            key = (entry.module, entry.name)
            if entry.module == "spectest":
                if entry.name in SPECTEST:
                    found[key] = SPECTEST[entry.name]
                continue
            owner = self._registered.get(entry.module, "imports from no module")
            if isinstance(owner, str):
                raise Skip(owner)
            if entry.kind == TAG:
                continue  # it gets a tag of its own
            if entry.kind != FUNCTION:
                self._tainted.add(id(owner))
                raise Skip(f"shares a {KINDS[entry.kind]} with another module")
            found[key] = self._link(owner, entry.name)
        return found

    def _link(self, owner: Instance, name: str) -> Any:
        type_ = owner.signature(name)
        if set(type_.params + type_.results) & {FUNCREF, EXTERNREF}:
            raise Skip("shares references with another module")

        def call(*args: Any) -> Any:
            try:
                return owner.invoke(name, args)
            except GuestTrap as trap:
                if trap.message != "uncaught exception":
                    raise
                raise Skip("throws into another module") from None

        return call


def with_own_tags(data: bytes) -> bytes:
    """The module with tags of its own in place of those it imports, which only throwing to and
    fro between modules can tell.
    """
    module = decode(data)
    imported = [entry for entry in module.imports if entry.kind == TAG]
    if not imported:
        return data
    module.imports = [entry for entry in module.imports if entry.kind != TAG]
    types = [entry.type for entry in imported if isinstance(entry.type, int)]
    module.tags = [*types, *module.tags]
    return encode(module)


def constant(argument: dict[str, Any]) -> int:
    """A CONST as raw bits."""
    value: Any = argument.get("value")
    if argument["type"] == "v128":
        width = LANE_BITS[argument["lane_type"]]
        return sum(int(lane) << width * i for i, lane in enumerate(value))
    if argument["type"] in ("i32", "i64", "f32", "f64"):
        return int(value)
    if value == "null":
        return 0
    raise Skip("passes a reference of the host's")


def matches(raw: int, wanted: dict[str, Any]) -> bool:
    """Whether the raw value is what a script expects."""
    type_: str = wanted["type"]
    value: Any = wanted.get("value")
    if type_ == "either":
        return any(matches(raw, each) for each in wanted["values"])
    if type_ == "v128":
        width = LANE_BITS[wanted["lane_type"]]
        mask = (1 << width) - 1
        return all(lane(raw >> width * i & mask, width, v) for i, v in enumerate(value))
    if type_ in ("i32", "i64", "f32", "f64"):
        return lane(raw, LANE_BITS[type_], value)
    if value == "null":
        return raw == 0
    if value is not None:
        raise Skip("passes a reference of the host's")
    return raw != 0


def lane(raw: int, width: int, value: str) -> bool:
    """One number: its bits, or a kind of NaN."""
    if value == "nan:canonical":
        return raw & ~(1 << width - 1) == EXPONENT[width] | QUIET[width]
    if value == "nan:arithmetic":
        return raw & (EXPONENT[width] | QUIET[width]) == EXPONENT[width] | QUIET[width]
    return raw == int(value)
