"""Random programs, in text: every seed is one, valid, and comes to an end.

A program is a few functions that call each other at random, directly, through a table and by tail
calls, with loops, branches to every label, operands left below blocks, and exceptions. What a value
was is told by folding it into the global ``$h``; the entry ``run`` returns that. All that repeats
takes from ``$fuel``: when there is none left, loops end and functions return at once.

No arithmetic is done on floats, since the bits of a NaN may then differ from run to run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

NUMBERS = ("i32", "i64", "f32", "f64", "v128")
REFERENCES = ("funcref", "exnref")
ZERO = {
    "funcref": "ref.null func",
    "exnref": "ref.null exn",
    "v128": "v128.const i64x2 0 0",
}


class Signature(NamedTuple):
    params: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(
            f"({word} {' '.join(types)})"
            for word, types in (("param", self.params), ("result", self.results))
            if types
        )


class Label(NamedTuple):
    """What a branch to it takes; ``loop``: it goes back, and must take fuel."""

    types: tuple[str, ...]
    loop: bool


PRELUDE = """
  (import "h" "see" (func $see (param i32) (result i32)))
  (global $h (mut i64) (i64.const 7)) (global $fuel (mut i32) (i32.const {fuel}))
  (global $g (mut funcref) (ref.null func)) (global $x (mut f64) (f64.const 1.5))
  (tag $t0) (tag $t1 (param i32)) (tag $t2 (param f64 i64)) (tag $t3 (param funcref v128))
  (memory 1)
  (func $tick (result i32)
    (global.set $fuel (i32.sub (global.get $fuel) (i32.const 1)))
    (i32.gt_s (global.get $fuel) (i32.const 0)))
  (func $chance (result i32)
    (i32.wrap_i64 (i64.shr_u (i64.mul (global.get $h) (i64.const 0x9E3779B97F4A7C15))
                             (i64.const 43))))
  (func $i64 (param i64)
    (global.set $h (i64.add (i64.mul (global.get $h) (i64.const 6364136223846793005))
                            (i64.add (local.get 0) (i64.const 1442695040888963407))))
    (i64.store (i32.and (i32.wrap_i64 (global.get $h)) (i32.const 1023)) (global.get $h)))
  (func $i32 (param i32) (call $i64 (i64.extend_i32_u (local.get 0))))
  (func $f32 (param f32) (call $i32 (i32.reinterpret_f32 (local.get 0))))
  (func $f64 (param f64) (call $i64 (i64.reinterpret_f64 (local.get 0))))
  (func $v128 (param v128)
    (call $i64 (i64x2.extract_lane 0 (local.get 0)))
    (call $i64 (i64x2.extract_lane 1 (local.get 0))))
  (func $funcref (param funcref) (call $i32 (ref.is_null (local.get 0))))
  (func $exnref (param exnref) (call $i32 (ref.is_null (local.get 0))))
"""

TAGS: dict[str, tuple[str, ...]] = {
    "$t0": (),
    "$t1": ("i32",),
    "$t2": ("f64", "i64"),
    "$t3": ("funcref", "v128"),
}


class Generator:
    """One program from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        chance = self.random.random
        self.types = NUMBERS + (REFERENCES if chance() < 0.5 else ())
        self.exceptions = chance() < 0.5
        self.many_locals = chance() < 0.3
        self.fuel = self.random.choice((20, 60, 120))
        self.signatures: list[Signature] = []
        self.out: list[str] = []
        self.locals: list[str] = []
        self.function = Signature((), ())

    def program(self) -> str:
        """The module's text."""
        n = self.random.randint(1, 4)
        self.signatures = [Signature(self.some(2), self.some(2)) for _ in range(n)]
        functions = [self.define(i) for i in range(n)]
        names = " ".join(f"$f{i}" for i in range(n))
        first = self.signatures[0]
        arguments = " ".join(f"({self.constant(t)})" for t in first.params)
        sinks = "\n".join(f"call ${t}" for t in reversed(first.results))
        return f"""(module {PRELUDE.format(fuel=self.fuel)}
  (table $table {n + 2} funcref) (elem $table (i32.const 0) func {names})
  {"".join(functions)}
  (func (export "run") (result i64)
    block $caught
      try_table (catch_all $caught)
        {arguments} call $f0
        {sinks}
      end
    end
    global.get $h))"""

    def some(self, most: int) -> tuple[str, ...]:
        count = self.random.randint(0, most)
        return tuple(self.random.choice(self.types) for _ in range(count))

    def define(self, index: int) -> str:
        signature = self.function = self.signatures[index]
        extra = [t for t in self.types for _ in range(self.random.randint(1, 2))]
        if self.many_locals:
            extra += [self.random.choice(NUMBERS) for _ in range(25)]
        self.locals = [*signature.params, *extra]
        self.out = []
        self.emit("call $tick", "i32.eqz", "if")
        for t in signature.results:
            self.emit(self.constant(t))
        self.emit("return", "end")
        for i in range(len(signature.params), len(self.locals)):
            if self.locals[i] not in REFERENCES:
                self.emit(self.constant(self.locals[i]), f"local.set {i}")
        self.sequence([], signature.results, 12, [Label(signature.results, False)], last=True)
        body = "\n    ".join(self.out)
        return f"(func $f{index} {signature} (local {' '.join(extra)})\n    {body})\n  "

    # --- pieces ---

    def emit(self, *instructions: str) -> None:
        self.out += instructions

    def constant(self, t: str) -> str:
        if t in ZERO and t != "v128":
            return ZERO[t]
        bits = self.random.getrandbits
        match t:
            case "i32":
                return f"i32.const {bits(32)}"
            case "i64":
                return f"i64.const {bits(64)}"
            case "f32":
                return self.random.choice(("f32.const -0", "f32.const 1.5", "f32.const -nan:0x21"))
            case "f64":
                return self.random.choice(("f64.const 3", "f64.const -0", "f64.const nan:0x123"))
        return f"v128.const i64x2 {bits(64)} {bits(64)}"

    def value(self, t: str) -> None:
        """Push any value of the type."""
        known = [i for i, local in enumerate(self.locals) if local == t]
        if known and self.random.random() < 0.6:
            self.emit(f"local.get {self.random.choice(known)}")
        elif t == "funcref" and self.random.random() < 0.7:
            f = self.random.choice(["$see", *(f"$f{i}" for i in range(len(self.signatures)))])
            self.emit(
                "global.get $g" if self.random.random() < 0.3 or f == "$see" else f"ref.func {f}"
            )
        elif t == "i32" and self.random.random() < 0.3:
            self.emit("call $chance")
        elif t == "f64" and self.random.random() < 0.3:
            self.emit("global.get $x")
        else:
            self.emit(self.constant(t))

    def consume(self, t: str) -> None:
        """Pop a value of the type: into a local, a global, or the sum."""
        known = [i for i, local in enumerate(self.locals) if local == t]
        if known and self.random.random() < 0.4:
            self.emit(f"local.set {self.random.choice(known)}")
        elif t == "funcref" and self.random.random() < 0.5:
            self.emit("global.set $g")
        elif t == "f64" and self.random.random() < 0.3:
            self.emit("global.set $x")
        else:
            self.emit(f"call ${t}")

    def arrange(self, stack: list[str], wanted: Sequence[str], keep: int = 0) -> None:
        """Have the wanted values on top, above at least ``keep`` operands that are left alone."""
        common = len(wanted)
        while common and (
            len(stack) - common < keep or tuple(stack[len(stack) - common :]) != wanted[:common]
        ):
            common -= 1
        for t in wanted[common:]:
            self.value(t)
            stack.append(t)

    def exactly(self, stack: list[str], wanted: Sequence[str]) -> None:
        """Have the wanted values on the stack, and no others."""
        while stack and tuple(stack) != tuple(wanted[: len(stack)]):
            self.consume(stack.pop())
        for t in wanted[len(stack) :]:
            self.value(t)
            stack.append(t)

    def sequence(
        self, stack: list[str], wanted: tuple[str, ...], budget: int, labels: list[Label],
        *, last: bool = False,
    ) -> None:  # fmt: skip
        """Instructions from a block's parameters to its results; ends where a branch leaves."""
        for _ in range(self.random.randint(1, max(1, budget))):
            if self.step(stack, budget - 2, labels):
                if self.random.random() < 0.3:
                    self.emit("call $tick", "drop")
                return
        if last:
            for i, t in enumerate(self.locals):
                self.emit(f"local.get {i}", f"call ${t}")
        self.exactly(stack, wanted)

    def step(self, stack: list[str], budget: int, labels: list[Label]) -> bool:
        """One thing at random; True if what follows is not reached."""
        pick = self.random.random
        choices = [self.push, self.push, self.pop, self.see, self.call, self.call_indirect]
        if budget > 0:
            choices += [self.block, self.loop, self.loop, self.either]
            if self.exceptions:
                choices += [self.attempt, self.attempt]
        if pick() < 0.75:
            self.random.choice(choices)(stack, budget, labels)
            return False
        leaving = [self.br_if, self.br_if, self.br_table, self.tail_call, self.leave]
        if self.exceptions:
            leaving += [self.throw, self.throw_ref]
        return self.random.choice(leaving)(stack, labels)

    def push(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        t = self.random.choice(self.types)
        self.value(t)
        stack.append(t)

    def pop(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        if stack:
            self.consume(stack.pop())

    def see(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        self.arrange(stack, ("i32",))
        self.emit("call $see")

    def call(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        index = self.random.randrange(len(self.signatures))
        signature = self.signatures[index]
        self.arrange(stack, signature.params)
        self.emit(f"call $f{index}")
        self.replace(stack, signature)

    def call_indirect(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        index = self.random.randrange(len(self.signatures))
        signature = self.signatures[index]
        self.arrange(stack, signature.params)
        self.emit(f"i32.const {index}", f"call_indirect $table {signature}")
        self.replace(stack, signature)

    def replace(self, stack: list[str], signature: Signature) -> None:
        if signature.params:
            del stack[-len(signature.params) :]
        stack += signature.results

    def opened(self, stack: list[str]) -> Signature:
        """A block's type, with its parameters on the stack."""
        take = self.random.randint(0, min(3, len(stack)))
        return Signature(tuple(stack[len(stack) - take :]), self.some(3))

    def block(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        type_ = self.opened(stack)
        self.emit(f"block {type_}")
        self.inside(type_, budget, labels, Label(type_.results, False))
        self.emit("end")
        self.replace(stack, type_)

    def loop(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        type_ = self.opened(stack)
        self.emit(f"loop {type_}")
        self.inside(type_, budget, labels, Label(type_.params, True))
        self.emit("end")
        self.replace(stack, type_)

    def either(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        type_ = self.opened(stack)
        self.emit("call $chance", "i32.const 1", "i32.and")
        bare = type_.params == type_.results and self.random.random() < 0.5
        self.emit(f"if {type_}")
        self.inside(type_, budget, labels, Label(type_.results, False))
        if not bare:
            self.emit("else")
            self.inside(type_, budget, labels, Label(type_.results, False))
        self.emit("end")
        self.replace(stack, type_)

    def attempt(self, stack: list[str], budget: int, labels: list[Label]) -> None:
        """block $out  block $handler  try_table .. end  br $out  end  what was caught  end"""
        type_ = self.opened(stack)
        tag = self.random.choice(list(TAGS))
        kind = self.random.choice(("catch", "catch_ref", "catch_all", "catch_all_ref"))
        caught = TAGS[tag] if kind in ("catch", "catch_ref") else ()
        if kind.endswith("ref"):
            caught += ("exnref",)
        clause = kind if kind.startswith("catch_all") else f"{kind} {tag}"
        handler = Signature(type_.params, caught)
        self.emit(f"block {type_}", f"block {handler}", f"try_table {type_} ({clause} 0)")
        out, inner = Label(type_.results, False), Label(caught, False)
        self.inside(type_, budget, [*labels, out, inner], Label(type_.results, False))
        self.emit("end", "br 1", "end")
        self.sequence(list(caught), type_.results, budget, [*labels, out])
        self.emit("end")
        self.replace(stack, type_)

    def inside(self, type_: Signature, budget: int, labels: list[Label], own: Label) -> None:
        self.sequence(list(type_.params), type_.results, budget, [*labels, own])

    def br_if(self, stack: list[str], labels: list[Label]) -> bool:
        depth = self.random.randrange(len(labels))
        label = labels[-1 - depth]
        self.arrange(stack, label.types)
        self.emit("call $chance", "i32.const 3", "i32.and", "i32.eqz")
        if label.loop:
            self.emit("drop", "call $tick")
        self.emit(f"br_if {depth}")
        return False

    def br_table(self, stack: list[str], labels: list[Label]) -> bool:
        depth = self.random.choice([d for d in range(len(labels)) if not labels[-1 - d].loop])
        types = labels[-1 - depth].types
        same = [d for d in range(len(labels)) if labels[-1 - d].types == types]
        targets = [depth, *(self.random.choice(same) for _ in range(self.random.randint(0, 4)))]
        self.arrange(stack, types)
        self.emit("call $chance", f"i32.const {len(targets) + 1}", "i32.rem_u")
        self.emit("call $tick", "i32.mul")  # the first target leads forward
        self.emit(f"br_table {' '.join(map(str, targets))} {depth}")
        return True

    def tail_call(self, stack: list[str], labels: list[Label]) -> bool:
        results = self.function.results
        same = [i for i, s in enumerate(self.signatures) if s.results == results]
        index = self.random.choice(same)
        self.arrange(stack, self.signatures[index].params)
        if self.random.random() < 0.5:
            self.emit(f"return_call $f{index}")
        else:
            self.emit(f"i32.const {index}")
            self.emit(f"return_call_indirect $table {self.signatures[index]}")
        return True

    def leave(self, stack: list[str], labels: list[Label]) -> bool:
        if self.random.random() < 0.3:
            self.arrange(stack, self.function.results)
            self.emit("return")
        else:
            depths = [d for d in range(len(labels)) if not labels[-1 - d].loop]
            depth = self.random.choice(depths)
            self.arrange(stack, labels[-1 - depth].types)
            self.emit(f"br {depth}")
        return True

    def throw(self, stack: list[str], labels: list[Label]) -> bool:
        tag = self.random.choice(list(TAGS))
        self.emit("call $chance", "i32.const 1", "i32.and", "if")
        for t in TAGS[tag]:
            self.value(t)
        self.emit(f"throw {tag}", "end")
        return False

    def throw_ref(self, stack: list[str], labels: list[Label]) -> bool:
        known = [i for i, t in enumerate(self.locals) if t == "exnref"]
        if known:
            local = self.random.choice(known)
            self.emit(f"local.get {local}", "ref.is_null", "i32.eqz", "if")
            self.emit(f"local.get {local}", "throw_ref", "end")
        return False


def program(seed: int) -> str:
    """The text of the program with this seed."""
    return Generator(seed).program()
