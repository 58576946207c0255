"""Interpreters' main loops are recognised: their continuations can be made before they are wanted."""

from __future__ import annotations

import pytest

from instrument.disturb import sites, wasm
from wasnap.instrument import likely

STEPS = 100


def interpreter(*, loops: int, size: int, host_calls: int = STEPS) -> bytes:
    """Calls the host again and again, in so many loops around each other, in about so many bytes."""
    call = "(call $step)" + "(local.set 0 (i32.xor (local.get 0) (i32.const 12345)))" * (
        size // STEPS // 10
    )
    code = call * host_calls
    for number in range(loops):
        code = f"(loop $l{number} {code} (br_if $l{number} (local.get 0)))"
    return wasm(f"""(module (import "host" "tick" (func $step))
      (func (export "_start") (local i32) (call $step) {code}))""")


def test_the_loops_around_nearly_all_calls() -> None:
    """All of them, the outermost first: what goes on within one is handed over to the next."""
    info, found = sites(interpreter(loops=2, size=20_000))
    assert info.likely == [site.number for site in found if site.kind == "loop"]
    assert len(info.likely) == 2


@pytest.mark.parametrize(
    "module",
    [
        interpreter(loops=0, size=20_000),
        interpreter(loops=1, size=4_000),
        interpreter(loops=1, size=20_000, host_calls=30),
    ],
    ids=["no loop", "small", "few calls"],
)
def test_others(module: bytes) -> None:
    """What is no interpreter, or quickly compiled, has none."""
    assert sites(module)[0].likely == []


def test_no_more_than_a_second_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest functions' come first, as far as there is time for whole ones."""
    monkeypatch.setattr(likely, "TOTAL_MAX", 30_000)
    assert sites(interpreter(loops=2, size=20_000))[0].likely == []
    assert len(sites(interpreter(loops=1, size=20_000))[0].likely) == 1
