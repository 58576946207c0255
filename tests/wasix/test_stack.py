"""Going back to a copied call stack: setjmp and longjmp by stack_checkpoint and stack_restore."""

from __future__ import annotations

import pytest
from threads import World

from wasnap.engine import Exited, Failed, Finished
from wasnap.errors import GuestTrap

from .test_signals import BODY, HUP, IMPORTS, outcome

HEAD = f"""
  {IMPORTS}
  (import "wasix_32v1" "stack_checkpoint" (func $checkpoint (param i32 i32) (result i32)))
  (import "wasix_32v1" "stack_restore" (func $restore (param i32 i64)))
  {BODY}
  (global $sp (export "__stack_pointer") (mut i32) (i32.const 40000))
  (func $setjmp (param $buf i32) (result i32)
    (call $ok (call $checkpoint (local.get $buf) (i32.const 400)))
    (i32.wrap_i64 (i64.load (i32.const 400))))
"""

LOOP = f"""
  {HEAD}
  (func $deep (param $n i32) (param $val i64)
    (global.set $sp (i32.sub (global.get $sp) (i32.const 32)))
    (if (local.get $n)
      (then (call $deep (i32.sub (local.get $n) (i32.const 1)) (local.get $val)))
      (else (call $restore (i32.const 300) (local.get $val))))
    unreachable)
  (func (export "_start") (local $r i32) (local $kept i32)
    (local.set $kept (i32.const 11))
    (local.set $r (i32.add (i32.const 1000) (call $setjmp (i32.const 300))))
    (if (i32.ne (local.get $kept) (i32.const 11)) (then unreachable))
    (local.set $kept (i32.const 12))
    (if (i32.ne (global.get $sp) (i32.const 40000)) (then unreachable))
    (call $say (i32.sub (local.get $r) (i32.const 1000)))
    (if (i32.lt_u (local.get $r) (i32.const 1005))
      (then ;; 0 comes back as 1
        (call $deep
          (i32.const 5)
          (i64.mul (i64.extend_i32_u (i32.sub (local.get $r) (i32.const 1000))) (i64.const 2))))))"""


@pytest.mark.parametrize("every", [0, 1, 3, 10])
def test_back_and_back_again(every: int) -> None:
    """Out of calls, with what the locals and the stack pointer were then; the operand stack, too."""
    assert outcome(LOOP, every, Finished(())) == bytes([0, 1, 2, 4, 8])


OUT = f"""
  {HEAD}
  (func (export "__wasm_signal") (param $n i32)
    (call $say (local.get $n))
    (if (i32.eqz (i32.load (i32.const 0)))
      (then
        (i32.store (i32.const 0) (i32.const 1))
        (drop (call $setjmp (i32.const 330)))
        (call $restore (i32.const 300) (i64.const 7))))
    (call $say (i32.const 99)))
  (func (export "_start")
    (call $listen)
    (call $say (call $setjmp (i32.const 300)))
    (call $ok (call $raise (i32.const {HUP})))
    (call $say (i32.const 50))
    (if (i32.load (i32.const 4)) (then (call $restore (i32.const 330) (i64.const 1)))))"""


@pytest.mark.parametrize("every", [0, 1, 2, 5])
def test_out_of_a_handler(every: int) -> None:
    """It is over then, and its signal may come again."""
    found = outcome(OUT, every, Finished(()))
    assert found == bytes([0, HUP, 7, HUP, 99, 50])


@pytest.mark.parametrize(
    "last",
    [
        "(i32.store (i32.const 4) (i32.const 1))",
        "(drop (call $setjmp (i32.const 300))) (i64.store (i32.const 316) (i64.const 77))"
        "(call $restore (i32.const 300) (i64.const 1))",
    ],
)
def test_a_stack_that_is_not_kept(last: str) -> None:
    """One of a handler that is over, one that was replaced: the guest ends, by name."""
    text = OUT.replace(
        "(call $say (call $setjmp (i32.const 300)))",
        f"{last} (call $say (call $setjmp (i32.const 300)))",
        1,
    )
    with World(text) as world:
        world.guest.start()
        event = world.guest.wait(30)
        assert isinstance(event, Failed)
        assert isinstance(event.error, GuestTrap)
        assert "stack_restore" in event.error.message


def test_one_copy_for_each_record_however_often_it_is_made() -> None:
    text = f"""
      {HEAD}
      (func (export "_start") (local $i i32)
        (loop $l
          (drop (call $setjmp (i32.add (i32.const 300) (i32.and (local.get $i) (i32.const 24)))))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300))))
        (call $exit (i32.const 3)))"""
    with World(text) as world:
        world.guest.start()
        assert world.guest.wait(30) == Exited(3)
        assert len(world.host.stacks.capture().kept) == 4
