"""What the transform does, in text: a function before, the same function after. Read this first.

Numbers are indices of the instrumented module, in which the guest's own come first.
"""

from __future__ import annotations

import pytest

from instrument.disturb import wasm
from wasnap.errors import UnsupportedModule
from wasnap.instrument import Continuations, instrument
from wasnap.wasm.code import instructions
from wasnap.wasm.decode import decode
from wasnap.wasm.module import Body, Module
from wasnap.wasm.types import EMPTY_BLOCK, FUNC

BEFORE = """
(module
  (func $work (import "h" "work") (param i32) (result i32))
  (memory 1)
  (func $leaf (param i32) (result i32)
    (i32.mul (local.get 0) (i32.const 3)))
  (func $sum (param $n i32) (result i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (call $leaf (local.get $n))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (call $work (local.get $sum)) (local.get $sum))))
"""
WORK, LEAF, SUM = 0, 1, 2

SUM_BEFORE = """
loop
  local.get 1
  local.get 0
  call 1
  i32.add
  local.set 1
  local.get 0
  i32.const 1
  i32.sub
  local.tee 0
  br_if 0
end
local.get 1
call 0
local.get 1
i32.add
end
"""

# Memory 1 is the control memory; global 0 the frame pointer, global 1 the stop word that calls
# look at; functions 3 and 4 push a frame. The local 1 is live at both sites, the local 0 only at
# the loop's header; the call's result rides on the branch.
SUM_AFTER = """
block
  block
    block () -> (i32)
      block () -> (i32)
        loop
          i32.const 0
          i32.atomic.load 0 of memory 1
          br_if 3
          local.get 1
          local.get 0
          call 1
          i32.add
          local.set 1
          local.get 0
          i32.const 1
          i32.sub
          local.tee 0
          br_if 0
        end
        local.get 1
        call 0
        global.get 1
        br_if 1
        local.get 1
        i32.add
      end
      return
    end
    i32.const 2
    local.get 1
    call 3
    br 1
  end
  i32.const 0
  local.get 0
  local.get 1
  call 4
end
i32.const 0
end
"""

# (result, site, local 1): the frame is site, size, local 1, result.
PUSH_AFTER_CALL = """
global.get 0
local.get 2
i32.store 8 of memory 1
global.get 0
local.get 0
i32.store 12 of memory 1
i32.const 16
local.get 1
i32.const 0
call 5
end
"""

# What runs instead of $sum when its call of $work is over: local 2 is the frame, local 3 tells
# whether there is an inner frame, whose continuation then is called for the result.
SUM_BEHIND_THE_CALL = """
global.get 0
local.set 2
local.get 2
i32.load 8 of memory 1
local.set 1
local.get 2
i32.load 4 of memory 1
local.set 3
local.get 2
i32.load 0 of memory 1
global.set 0
block
  block () -> (i32)
    block () -> (i32)
      local.get 3
      if () -> (i32)
        local.get 3
        i32.const 1
        i32.sub
        call_indirect 2 0
      else
        local.get 2
        i32.load 12 of memory 1
      end
      local.get 3
      if () -> (i32)
        global.get 1
      else
        i32.const 0
      end
      br_if 1
      local.get 1
      i32.add
    end
    return
  end
  i32.const 2
  local.get 1
  call 2
end
i32.const 0
end
"""


def body(module: Module, function: int) -> Body:
    return module.code[function - module.n_imported(FUNC)]


def listing(module: Module, function: int) -> str:
    """The function's instructions, one a line, indented by blocks."""
    lines = []
    depth = 0
    for _, _, op, args in instructions(body(module, function).code):
        depth -= op.name in ("end", "else")
        words = [op.name]
        if op.immediates == "b":
            block = args[0]
            words += [] if block == EMPTY_BLOCK else [str(module.block_type(block))]
        elif op.immediates == "m":
            words.append(f"{args[1]} of memory {args[2]}")
        else:
            words += map(str, args)
        lines.append("  " * max(depth, 0) + " ".join(words))
        depth += op.name in ("block", "loop", "if", "else", "try_table")
    return "\n".join(lines)


def test_before_and_after() -> None:
    """Polls at the loop's header and behind the call of an import; frames are pushed at the end."""
    before = decode(wasm(BEFORE))
    instrumented = instrument(before)
    after = decode(instrumented.wasm)
    assert listing(before, SUM) == SUM_BEFORE.strip()
    assert listing(after, SUM) == SUM_AFTER.strip()
    assert listing(after, 3) == PUSH_AFTER_CALL.strip()
    assert before == decode(wasm(BEFORE))


def test_a_leaf_stays_byte_for_byte() -> None:
    """It has no loop and calls nothing, so nothing stops in it; its index stays, too."""
    before = decode(wasm(BEFORE))
    after = decode(instrument(before).wasm)
    assert body(after, LEAF) == body(before, LEAF)
    assert after.imports == before.imports
    assert after.types[: len(before.types)] == before.types


def test_a_continuation() -> None:
    """The rest of the function behind one site, with the same site in it."""
    before = decode(wasm(BEFORE))
    continuations = Continuations(before, instrument(before).info)
    site = continuations.site(2)
    assert (site.function, site.kind, site.results, site.results_offset) == (
        SUM,
        "call",
        b"\x7f",
        12,
    )
    module = decode(continuations.module_for(2))
    (resume,) = module.exports
    assert listing(module, resume.index) == SUM_BEHIND_THE_CALL.strip()
    assert module.func_type(resume.index).params == b""


def test_a_call_of_a_leaf_is_no_site() -> None:
    """Numbers are given to all calls and loops, whether they become safepoints or not."""
    before = decode(wasm(BEFORE))
    info = instrument(before).info
    assert info.site_bases == [0, 0, 3]
    assert info.suspends == b"\1\0\1"
    with pytest.raises(ValueError, match="site 1 is not a safepoint"):
        Continuations(before, info).site(1)


@pytest.mark.parametrize("counted", [False, True])
def test_twice_is_refused(counted: bool) -> None:
    """What is instrumented already is not the guest's module."""
    once = instrument(decode(wasm(BEFORE)), counted=counted).wasm
    with pytest.raises(UnsupportedModule, match="instrumented already"):
        instrument(decode(once))
