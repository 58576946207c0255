"""``wasnap run --invoke``: a function of a library, its arguments, its results, saved and resumed."""

from __future__ import annotations

import pytest
from process import wat

from cli.conftest import Command
from wasnap.journal import Journal

LIBRARY = wat.wasm("""
  (global $initialised (mut i64) (i64.const 0))
  (func (export "_initialize") (global.set $initialised (i64.const 1000)))
  (func (export "count") (param $lines i32) (param $from i64) (result i64 f32)
    (local $x i32)
    (call $ready)
    (loop $more
      (if (i32.eq (local.get $lines) (i32.const 1)) (then (call $hold)))
      (local.set $x (call $work (local.get $x) (i32.const 1000000)))
      (call $number (local.get $x))
      (br_if $more (local.tee $lines (i32.sub (local.get $lines) (i32.const 1)))))
    (i64.add (global.get $initialised) (local.get $from))
    (f32.const 0.1))
  (func (export "echo") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3))
  (func (export "vector") (param v128) (result v128) (local.get 0))
  (func (export "reference") (param funcref))
  (func (export "null") (result funcref externref) (ref.null func) (ref.null extern))
  (func (export "fails") (unreachable))""")


@pytest.mark.parametrize(
    ("args", "prints"),
    [
        (["echo", "-1", "0x10", "0.1", "1e400"], "-1 16 0.1 inf"),
        (
            ["echo", "4294967295", "-9223372036854775808", "nan", "-0.5"],
            "-1 -9223372036854775808 nan -0.5",
        ),
        (["echo", "1", "2", "16777217", "3", "and", "more"], "1 2 16777216 3"),
        (["echo", "0", "0", "3.4028235e38", "5e-324"], "0 0 3.4028235e+38 5e-324"),
        (["vector", "0x0102030405060708090a0b0c0d0e0f10"], str(0x0102030405060708090A0B0C0D0E0F10)),
        (["null"], "<funcref> <externref>"),
        (["_initialize"], ""),
    ],
)
def test_arguments_and_results(wasnap: Command, args: list[str], prints: str) -> None:
    """The first words behind the module are its arguments; each result is a line."""
    name, *words = args
    done = wasnap("run", "--invoke", name, wasnap.write("m.wasm", LIBRARY), *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().split() == prints.split()


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["echo", "1"], 64, "too few"),
        (["echo", "x", "1", "1", "1"], 64, "x is none"),
        (["echo", "4294967296", "1", "1", "1"], 64, "4294967296 is none"),
        (["reference", "1"], 69, "funcref"),
        (["nosuch"], 69, "there are: count, echo"),
        (["fails"], 134, "unreachable"),
    ],
)
def test_what_cannot_be_invoked(wasnap: Command, args: list[str], code: int, says: str) -> None:
    """It is said why, and no journal is made (but by what ran and trapped)."""
    name, *words = args
    module = wasnap.write("m.wasm", LIBRARY)
    done = wasnap("run", "--journal", "j", "--invoke", name, module, *words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert says in done.stderr.decode()
    assert (wasnap.directory / "j").exists() == (code == 134)


def test_a_library_is_told_from_a_program(wasnap: Command) -> None:
    """Without --invoke its functions are named."""
    done = wasnap("run", wasnap.write("m.wasm", LIBRARY))
    assert done.returncode == 69
    assert "no function '_start'" in done.stderr.decode()
    assert "--invoke NAME: count, echo, fails" in done.stderr.decode()


def test_saved_and_resumed(wasnap: Command) -> None:
    """The resumed function has its arguments, its library is not initialised again, and what it
    returns is printed by whoever resumes.
    """
    module = wasnap.write("m.wasm", LIBRARY)
    whole = wasnap("run", "--invoke", "count", module, "50", "-7")
    assert whole.stdout.endswith(b"\n993\n0.1\n")
    options = ["--snapshot-timer", "0.01", "--stop-after-snapshot"]
    first = wasnap.start("run", "--journal", "j", *options, "--invoke", "count", module, "50", "-7")
    code, printed, _ = first.end()
    with Journal.open(wasnap.directory / "j") as journal:
        assert len(journal.snapshots) == 1
    second = wasnap("resume", "j")
    assert code == second.returncode == 0
    assert printed + second.stdout == whole.stdout
