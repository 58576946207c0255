"""Reads the specification's test scripts (.wast): text -> commands as plain data, and modules.

The core testsuite is the judge of the decoder, and of the transform: ``convert`` splits a script
into its commands and has each module put into binary form. The commands have the shape that
WABT's ``wast2json`` made common, so one who knows that knows this:

    {"type": "module", "line": 3, "name": "$M", "filename": "a.0.wasm"}
    {"type": "assert_return", "line": 9,
     "action": {"type": "invoke", "module": "$M", "field": "f", "args": [CONST, ...]},
     "expected": [CONST, ...]}

Beyond it: ``module_definition`` (not to be instantiated), ``module_instance`` (``name`` of
``module``), a CONST of type ``either`` with ``values``, and ``error`` instead of ``filename`` where
the assembler refused the text of a module.

A CONST is ``{"type": T, "value": V}``: V is a decimal string, integers and the bits of floats
without sign, or 'nan:canonical' or 'nan:arithmetic'; for a v128 a list of such, with
``lane_type``; for a reference 'null', a number, or absent (any but null). The text formats are
those of the specification's reference interpreter (interpreter/README.md, "Scripts").

As a program: ``python wast.py SOURCE TARGET`` converts a tree of scripts.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

Assembler = Callable[[str], bytes]

_TOKEN = re.compile(
    r"""(?P<space>\s+|;;[^\n]*)|(?P<comment>\(;)|(?P<open>\()|(?P<close>\))
      |(?P<word>(?:"(?:[^"\\]|\\.)*"|[^\s()";]|;(?!;))+)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"\(;|;\)")
_ESCAPE = re.compile(rb"\\(?:u\{([0-9a-fA-F_]+)\}|([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTER_ESCAPES = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class Node(NamedTuple):
    """A parenthesised expression: its items, and where it stands in the text."""

    items: list[Any]  # Node | str
    start: int
    end: int

    @property
    def head(self) -> str:
        return self.items[0] if self.items and isinstance(self.items[0], str) else ""


def parse(text: str) -> list[Node]:
    """The top-level expressions of a script, without comments and annotations."""
    stack: list[tuple[int, list[Any]]] = [(0, [])]
    pos = 0
    while pos < len(text):
        match = _TOKEN.match(text, pos)
        if match is None:
            raise ValueError(f"cannot read the script at character {pos}: {text[pos : pos + 20]!r}")
        pos = match.end()
        if match["comment"]:
            pos = _skip_comment(text, pos)
        elif match["open"]:
            stack.append((match.start(), []))
        elif match["close"]:
            start, items = stack.pop()
            node = Node(items, start, pos)
            if not node.head.startswith("@"):  # an annotation
                stack[-1][1].append(node)
        elif match["word"]:
            stack[-1][1].append(match["word"])
    (_, nodes), *unclosed = stack
    if unclosed:
        raise ValueError("the script ends inside an expression")
    return nodes


def _skip_comment(text: str, pos: int) -> int:
    depth = 1
    while depth:
        match = _COMMENT.search(text, pos)
        if match is None:
            raise ValueError("the script ends inside a comment")
        depth += 1 if match[0] == "(;" else -1
        pos = match.end()
    return pos


def string(words: list[str]) -> bytes:
    """The bytes of string literals, joined."""

    def unescape(match: re.Match[bytes]) -> bytes:
        code, byte, letter = match.groups()
        if code is not None:
            return chr(int(code.replace(b"_", b""), 16)).encode("utf-8", "surrogatepass")
        if byte is not None:
            return bytes((int(byte, 16),))
        return _LETTER_ESCAPES.get(letter, letter)

    return b"".join(_ESCAPE.sub(unescape, word[1:-1].encode("utf-8")) for word in words)


def float_bits(text: str, exponent_bits: int, fraction_bits: int) -> int:
    """The bits of a float literal, rounded to nearest even, exactly."""
    sign = text.startswith("-")
    text = text.lstrip("+-").replace("_", "")
    top = ((1 << exponent_bits) - 1) << fraction_bits
    if text == "inf":
        bits = top
    elif text.startswith("nan"):
        bits = top | (int(text[4:], 16) if ":" in text else 1 << fraction_bits - 1)
    else:
        bits = min(top, _magnitude_bits(_rational(text), exponent_bits, fraction_bits))
    return bits | sign << exponent_bits + fraction_bits


def _rational(text: str) -> Fraction:
    if not text.lower().startswith("0x"):
        return Fraction(text)
    mantissa, _, exponent = text[2:].lower().partition("p")
    whole, _, fraction = mantissa.partition(".")
    return Fraction(int(whole + fraction, 16), 16 ** len(fraction)) * Fraction(2) ** int(
        exponent or 0
    )


def _magnitude_bits(value: Fraction, exponent_bits: int, fraction_bits: int) -> int:
    if not value:
        return 0
    exponent_min = 2 - (1 << exponent_bits - 1)
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if value < Fraction(2) ** exponent:
        exponent -= 1
    exponent = max(exponent, exponent_min)
    # Rounding up may carry into the exponent: the addition below does just that.
    fraction = round(value / Fraction(2) ** (exponent - fraction_bits))
    return (exponent - exponent_min << fraction_bits) + fraction


# --- constants and actions ---

_WIDTHS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64}
_FLOATS = {"f32": (8, 23), "f64": (11, 52)}
_HEAP_TYPES = {"func": "funcref", "extern": "externref", "exn": "exnref"}


def _number(type: str, text: str) -> str:
    if type in _FLOATS:
        return (
            text
            if text in ("nan:canonical", "nan:arithmetic")
            else str(float_bits(text, *_FLOATS[type]))
        )
    base = 16 if "x" in text else 10
    return str(int(text.replace("_", ""), base) % (1 << _WIDTHS[type]))


def _constant(node: Node) -> dict[str, Any]:
    head, *rest = node.items
    if head == "either":
        return {"type": "either", "values": [_constant(item) for item in rest]}
    if head == "v128.const":
        lane = rest[0].partition("x")[0]
        values = [_number(lane, text) for text in rest[1:]]
        return {"type": "v128", "lane_type": lane, "value": values}
    type, _, kind = head.partition(".")
    if kind == "const":
        return {"type": type, "value": _number(type, rest[0])}
    if head == "ref.null":
        heap = rest[0] if rest else ""
        return {"type": _HEAP_TYPES.get(heap, heap or "ref"), "value": "null"}
    # ref.extern N, ref.host N, and in results any reference of a kind: ref.func, ref.extern ...
    constant = {"type": _HEAP_TYPES.get(kind, kind)}
    if rest:
        constant["value"] = rest[0]
    return constant


def _action(node: Node) -> dict[str, Any]:
    kind, *rest = node.items
    action: dict[str, Any] = {"type": kind}
    if rest[0].startswith("$"):
        action["module"] = rest.pop(0)
    action["field"] = string([rest[0]]).decode()
    if kind == "invoke":
        action["args"] = [_constant(item) for item in rest[1:]]
    return action


# --- commands ---

_ACTIONS = ("invoke", "get")
_ASSERT_MODULE = (
    "assert_malformed",
    "assert_invalid",
    "assert_unlinkable",
    "assert_malformed_custom",
    "assert_invalid_custom",
)
_ASSERT_ACTION = ("assert_return", "assert_trap", "assert_exhaustion", "assert_exception")
_COMMANDS = ("module", "register", *_ACTIONS, *_ASSERT_MODULE, *_ASSERT_ACTION)


class Script(NamedTuple):
    """``modules`` by file name; ``commands`` as said above, which name these files."""

    commands: list[dict[str, Any]]
    modules: dict[str, bytes]


def convert(text: str, assemble: Assembler, stem: str = "script") -> Script:
    """The commands of a script; ``assemble`` makes a binary of a module's text or raises."""
    script = Script([], {})
    nodes = parse(text)
    if nodes and not any(node.head in _COMMANDS for node in nodes):
        text = f"(module {text})"  # a script may be the fields of one module
        nodes = [Node(["module"], 0, len(text))]
    for node in nodes:
        command = _command(node, text, assemble)
        command["line"] = text.count("\n", 0, node.start) + 1
        wasm = command.pop("wasm", None)
        if wasm is not None:
            name = f"{stem}.{len(script.modules)}.wasm"
            script.modules[name] = wasm
            command["filename"] = name
        script.commands.append(command)
    return script


def _command(node: Node, text: str, assemble: Assembler) -> dict[str, Any]:
    head = node.head
    if head == "module":
        return _module(node, text, assemble)
    if head == "register":
        command = {"type": head, "as": string([node.items[1]]).decode()}
        return command | ({"name": node.items[2]} if len(node.items) > 2 else {})
    if head in _ACTIONS:
        return {"type": "action", "action": _action(node)}
    subject, *rest = node.items[1:]
    if head in _ASSERT_MODULE or subject.head == "module":
        command = _module(subject, text, assemble)
        if head == "assert_trap":
            head = "assert_uninstantiable"
        return command | {"type": head, "text": string(rest).decode()}
    if head in ("assert_trap", "assert_exhaustion"):
        return {"type": head, "action": _action(subject), "text": string(rest).decode()}
    if head in _ASSERT_ACTION:
        expected = [_constant(item) for item in rest]
        return {"type": head, "action": _action(subject), "expected": expected}
    raise ValueError(f"unknown command {head!r}")


_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u206f]")  # "confusing", says the assembler


def _escape(match: re.Match[str]) -> str:
    return f"\\u{{{ord(match[0]):x}}}"


def _module(node: Node, text: str, assemble: Assembler) -> dict[str, Any]:
    items = node.items[1:]
    command: dict[str, Any] = {"type": "module", "module_type": "text"}
    if items and items[0] in ("definition", "instance"):
        command["type"] = f"module_{items.pop(0)}"
    if items and isinstance(items[0], str) and items[0].startswith("$"):
        command["name"] = items.pop(0)
    if command["type"] == "module_instance":
        return {**command, "module": items[0]} if items else command
    if items and items[0] == "binary":
        return command | {"module_type": "binary", "wasm": string(items[1:])}
    if items and items[0] == "quote":
        command["module_type"] = "quote"
        source = string(items[1:]).decode("utf-8", "surrogateescape")
        if not source.lstrip().startswith("(module"):
            source = f"(module {source})"
    else:
        source = text[node.start : node.end].replace("(module definition", "(module", 1)
    try:
        return command | {"wasm": assemble(_BIDIRECTIONAL.sub(_escape, source))}
    except Exception as error:  # the assembler is not ours: whatever it says is the result
        return command | {"error": str(error).splitlines()[0]}


SPECTEST = """
(module
  (global (export "global_i32") i32 (i32.const 666))
  (global (export "global_i64") i64 (i64.const 666))
  (global (export "global_f32") f32 (f32.const 666.6))
  (global (export "global_f64") f64 (f64.const 666.6))
  (table (export "table") 10 20 funcref)
  (table (export "table64") i64 10 20 funcref)
  (memory (export "memory") 1 2)
  (memory (export "shared_memory") 1 2 shared)
  (func (export "print"))
  (func (export "print_i32") (param i32))
  (func (export "print_i64") (param i64))
  (func (export "print_f32") (param f32))
  (func (export "print_f64") (param f64))
  (func (export "print_i32_f32") (param i32 f32))
  (func (export "print_f64_f64") (param f64 f64)))
"""
"""The module ``spectest`` that the scripts import from (interpreter/README.md, "Spectest")."""


def convert_tree(source: Path, target: Path, assemble: Assembler) -> None:
    """Converts every script below ``source``: ``a/b.wast`` -> ``a/b/b.json`` and its modules."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "spectest.wasm").write_bytes(assemble(SPECTEST))
    for path in sorted(source.rglob("*.wast")):
        script = convert(path.read_text("utf-8", "surrogateescape"), assemble, path.stem)
        folder = target / path.relative_to(source).with_suffix("")
        folder.mkdir(parents=True, exist_ok=True)
        for name, wasm in script.modules.items():
            (folder / name).write_bytes(wasm)
        commands = {"source_filename": path.name, "commands": script.commands}
        (folder / f"{path.stem}.json").write_text(json.dumps(commands, indent=1))


if __name__ == "__main__":
    import wasmtime

    convert_tree(Path(sys.argv[1]), Path(sys.argv[2]), lambda text: bytes(wasmtime.wat2wasm(text)))
