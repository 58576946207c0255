"""A 64-bit memory of more than 4 GiB, stopped, captured, written, mapped: offsets have more than 32 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from process import wat

from wasnap.harness import Job, differential

LARGE = wat.wasm("""
  (memory $large i64 1 100000)
  (func (export "_start") (local $i i64) (local $at i64) (local $x i64)
    (if (i64.ne (memory.grow $large (i64.const 66000)) (i64.const 1)) (then (unreachable)))
    (call $ready)
    (loop $more
      (local.set $at
        (i64.and (i64.mul (local.get $i) (i64.const 2654435761)) (i64.const 0x3fff8)))
      (i64.store $large offset=0x100000000 (local.get $at)
        (i64.add (local.get $i)
          (i64.mul (i64.const 3) (i64.load $large offset=0x100000000 (local.get $at)))))
      (i64.store $large (local.get $at) (local.get $i))
      (br_if $more
        (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (i64.const 200000))))
    (local.set $i (i64.const 0))
    (loop $sum
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 31))
        (i64.load $large offset=0x100000000 (local.get $i))))
      (br_if $sum
        (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 8))) (i64.const 0x40000))))
    (call $number (i32.wrap_i64 (local.get $x))))""")


def test_a_memory_beyond_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows there, and comes back with what it held on both sides of the boundary."""
    monkeypatch.setenv("WASNAP_CACHE_DIR", str(tmp_path / "cache"))
    module = tmp_path / "large.wasm"
    module.write_bytes(LARGE)
    report = differential(
        lambda world: Job(module), tmp_path / "work", seed=3, snapshots=2, modes=["safepoints"]
    )
    assert (report.snapshots, report.resumed) == (2, 2)
