"""``wasnap run`` and ``wasnap resume``: streams, exit codes, signals, death."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import wasmtime
from process import wat

from cli.conftest import SELDOM, Command
from wasnap.journal import Journal

HELD = wat.counter(60, 1_000_000, code=7, held=True)
"""Computes for about half a second, and does not end before it may."""
ASKING = wat.asking_counter(4)
"""Its snapshots are where it asks for them, and not where a timer runs out."""


def test_streams_and_exit_code_are_the_guests(wasnap: Command) -> None:
    """What the guest prints, reads and returns passes through, and nothing of ours with it."""
    module = wasnap.write("echo.wasm", wat.echo())
    done = wasnap("run", module, stdin=b"hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\nhello\n", b"")
    module = wasnap.write("counter.wasm", wat.counter(2, 10, code=42))
    done = wasnap("run", module)
    assert (done.returncode, done.stdout, done.stderr) == (42, wat.counted(2, 10), b"")


def test_all_behind_the_module_is_the_guests(wasnap: Command) -> None:
    """Options behind MODULE, ``--`` and ``--help`` reach the guest untouched."""
    module = wasnap.write("args.wasm", ARGS)
    done = wasnap("run", "--env", "A=b=c", module, "--help", "--", "-x", "--journal", "é")
    assert done.stderr == b""
    assert done.stdout == "args.wasm\0--help\0--\0-x\0--journal\0é\0A=b=c\0".encode()


@pytest.mark.parametrize(("given", "code"), [(255, 255), (0xFFFFFFFF, 255), (0x80000003, 3)])
def test_a_code_of_more_than_eight_bits(wasnap: Command, given: int, code: int) -> None:
    """``exit(-1)`` ends as it does everywhere."""
    module = wat.wasm(f'(func (export "_start") (call $exit (i32.const {given})))')
    done = wasnap("run", wasnap.write("exit.wasm", module))
    assert (done.returncode, done.stderr) == (code, b"")


def test_the_memory_that_is_exported_is_wasis(wasnap: Command) -> None:
    """Where there are several, pointers are for the one exported as ``memory``: also those that the
    engine's own answers write to."""
    done = wasnap("run", wasnap.write("two.wasm", bytes(wasmtime.wat2wasm(TWO_MEMORIES))))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\n", b"")


def test_a_trap(wasnap: Command) -> None:
    """Exit code 134, the trap and the functions it happened in, no traceback."""
    done = wasnap("run", wasnap.write("bad.wasm", wat.trapper()))
    assert done.returncode == 134
    assert done.stderr.decode().splitlines()[:3] == [
        "wasnap: error: the guest trapped: integer divide by zero",
        "wasnap:   in bad",
        "wasnap:   in worse",
    ]


@pytest.mark.parametrize("command", ["run", "resume"])
def test_killed_and_resumed(wasnap: Command, command: str) -> None:
    """SIGKILL, then ``resume``, or the same ``run`` again: the rest of the output."""
    module = wasnap.write("slow.wasm", HELD)
    run = ["run", "--journal", "j", "--snapshot-timer", "0.02", module]
    started = wasnap.start(*run)
    until_snapshot(wasnap.directory / "j")
    started.signal(signal.SIGKILL)
    code, before, _ = started.end()
    assert code == -signal.SIGKILL
    resumed = wasnap(*run) if command == "run" else wasnap("resume", "j")
    assert resumed.returncode == 7
    whole = wat.counted(60, 1_000_000)
    assert whole.startswith(before)
    assert whole.endswith(resumed.stdout)
    assert len(before) + len(resumed.stdout) >= len(whole)


def until_snapshot(path: Path) -> None:
    """Wait until the journal holds one."""
    while True:
        if path.exists() and path.stat().st_size:
            with Journal.open(path) as journal:
                if journal.snapshots:
                    return


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize(
    "module",
    [wat.endless(), wat.echo(), wat.sleeper(3600), wat.diver(20_000, 2_000_000_000)],
    ids=["computing", "reading", "sleeping", "deep"],
)
@pytest.mark.parametrize("journal", [True, False], ids=["journal", "none"])
def test_signals(
    wasnap: Command, module: bytes, number: signal.Signals, code: int, journal: bool
) -> None:
    """Each reaches the guest wherever it is, and ends it; with a journal, after a snapshot."""
    name = wasnap.write("guest.wasm", module)
    started = wasnap.start("run", *(["--journal", "j", *SELDOM] if journal else []), name)
    started.signal(number)
    ended, printed, stderr = started.end()
    assert (ended, printed, stderr) == (code, b"ready\n", "")
    if journal:
        with Journal.open(wasnap.directory / "j") as opened:
            (snapshot,) = opened.snapshots
        assert snapshot.trigger == f"sig{number.name[3:].lower()}"


def test_a_signal_then_resume(wasnap: Command) -> None:
    """What Ctrl-C saved goes on where it was: in a read that another process now answers."""
    started = wasnap.start("run", "--journal", "j", wasnap.write("echo.wasm", wat.echo()))
    started.signal(signal.SIGINT)
    assert started.end()[0] == 130
    done = wasnap("resume", "j", stdin=b"again\n")
    assert (done.returncode, done.stdout) == (0, b"again\n")


def test_a_trigger_that_was_not_asked_for(wasnap: Command) -> None:
    """With ``--snapshot-on timer`` alone, SIGTERM just ends it."""
    module = wasnap.write("endless.wasm", wat.endless())
    started = wasnap.start("run", "--journal", "j", "--snapshot-on", "timer", *SELDOM, module)
    started.signal(signal.SIGTERM)
    assert started.end()[0] == 143
    with Journal.open(wasnap.directory / "j") as opened:
        assert opened.snapshots == []


def test_stop_after_snapshot(wasnap: Command) -> None:
    """The first snapshot ends it, with 0; ``resume`` goes on, and can do the same."""
    module = wasnap.write("m.wasm", ASKING)
    options = ["--snapshot-on", "explicit", "--stop-after-snapshot"]
    first = wasnap("run", "--journal", "j", *options, module)
    assert (first.returncode, first.stdout) == (0, b"ready\n")
    for line in (b"1\n", b"2\n"):
        again = wasnap("resume", *options, "j")
        assert (again.returncode, again.stdout) == (0, line)
    last = wasnap("resume", "--snapshot-on", "explicit", "j")
    assert (last.returncode, last.stdout) == (7, b"3\n4\n")
    with Journal.open(wasnap.directory / "j") as opened:
        assert len(opened.snapshots) == 4


def test_stop_after_a_snapshot_of_the_timer(wasnap: Command) -> None:
    module = wasnap.write("endless.wasm", wat.endless())
    options = ["--snapshot-timer", "0.02", "--stop-after-snapshot"]
    first = wasnap("run", "--journal", "j", *options, module)
    assert (first.returncode, first.stdout) == (0, b"ready\n")
    again = wasnap("resume", *options, "j")
    assert (again.returncode, again.stdout) == (0, b"")


def test_at(wasnap: Command) -> None:
    """``--at N`` goes back to an earlier snapshot."""
    module = wasnap.write("m.wasm", ASKING)
    wasnap("run", "--journal", "j", "--durability", "process", module)
    outputs = [wasnap("resume", "j", "--at", str(n)).stdout for n in (1, 2)]
    assert outputs == [b"1\n2\n3\n4\n", b"2\n3\n4\n"]


def test_labels(wasnap: Command) -> None:
    """A branch with a name: its newest snapshot is resumed by it; one that is given later, too."""
    module = wasnap.write("m.wasm", ASKING)
    wasnap("run", "--journal", "j", "--durability", "process", "--snapshot-on", "explicit", module)
    options = ["--snapshot-on", "explicit", "--stop-after-snapshot"]
    branch = wasnap("resume", "j", "--at", "1", "--label", "other", *options)
    assert branch.returncode == 0
    assert wasnap("journal", "label", "j", "3", "third").returncode == 0
    with Journal.open(wasnap.directory / "j") as opened:
        newest = opened.snapshots[-1]
        assert (newest.id, newest.parent, newest.label) == (5, 1, "other")
    for name, number, rest in (("third", 3, b"3\n4\n"), ("other", 5, b"2\n3\n4\n")):
        shown = wasnap("journal", "inspect", "j", "--at", name).stdout.decode()
        assert shown.startswith(f"snapshot {number} of j\n")
        again = wasnap("resume", "j", "--at", name, "--snapshot-on", "explicit")
        assert (again.returncode, again.stdout) == (7, rest)


def test_verbose_and_quiet(wasnap: Command) -> None:
    """Notices go to stderr, are ours by name, and can be silenced; errors cannot."""
    module = wasnap.write("m.wasm", ASKING)
    options = ["--journal", "j", "--durability", "process"]
    told = wasnap("run", "--verbose", *options, module).stderr.decode().splitlines()
    assert told
    assert all(line.startswith("wasnap: ") for line in told)
    quiet = wasnap("run", "--quiet", "--fresh", *options, module)
    assert (quiet.returncode, quiet.stderr) == (7, b"")
    assert wasnap("run", "--quiet", "nowhere.wasm").stderr.startswith(b"wasnap: error: ")


def test_instrument(wasnap: Command) -> None:
    """``wasnap instrument`` writes a module that an engine takes."""
    import wasmtime

    module = wasnap.write("m.wasm", ASKING)
    assert wasnap("instrument", module, "-o", "out.wasm").returncode == 0
    written = (wasnap.directory / "out.wasm").read_bytes()
    config = wasmtime.Config()
    config.wasm_multi_memory = True
    config.wasm_threads = True
    exports = [e.name for e in wasmtime.Module(wasmtime.Engine(config), written).exports]
    assert "_start" in exports
    assert "wasnap.control" in exports


@pytest.mark.parametrize(
    "command",
    [
        *[[], ["run"], ["resume"], ["instrument"], ["journal"]],
        *[["journal", name] for name in ("inspect", "verify", "diff", "export", "import", "label")],
    ],
)
def test_help_teaches_by_example(wasnap: Command, command: list[str]) -> None:
    """``--help`` of everything shows command lines one can copy."""
    done = wasnap(*command, "--help")
    assert done.returncode == 0
    assert b"\n    wasnap " in done.stdout


def test_directories(wasnap: Command) -> None:
    """The guest finds a directory under its own name, and a resume finds it again."""
    (wasnap.directory / "data").mkdir()
    module = wasnap.write("preopen.wasm", PREOPEN)
    assert wasnap("run", "--dir", "data", module).stdout == b"data\0"
    assert wasnap("run", "--dir", "data::/mnt:ro", module).stdout == b"/mnt\0"


def test_a_full_disk(wasnap: Command) -> None:
    """The program goes on and ends as it would, the user is told, once; the journal stays valid."""
    module = wasnap.write("big.wasm", BIG)
    wasnap("run", module)  # compiled, and in the cache
    options = ["--journal", "j", "--snapshot-timer", "0.02"]
    started = wasnap.start("run", *options, module, file_size_max=300_000)
    started.complaint()
    code, printed, stderr = started.end(b"\n")
    assert (code, printed) == (7, wat.counted(60, 1_000_000))
    (told,) = stderr.splitlines()
    assert "File too large" in told
    assert "the program goes on" in told
    with Journal.open(wasnap.directory / "j") as journal:
        assert journal.snapshots == []
        assert journal.gaps == []
    assert wasnap("run", "--journal", "j", module).stdout == wat.counted(60, 1_000_000)


ARGS = wat.wasm(
    """  (func (export "_start")
    (drop (call $args (i32.const 200) (i32.const 204)))
    (drop (call $args_get (i32.const 300) (i32.const 1000)))
    (call $print (i32.const 1000) (i32.load (i32.const 204)))
    (drop (call $env (i32.const 200) (i32.const 204)))
    (drop (call $env_get (i32.const 300) (i32.const 1000)))
    (call $print (i32.const 1000) (i32.load (i32.const 204))))""",
    imports="""
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))""",
)

TWO_MEMORIES = """(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
  (memory $other 1) (memory $main (export "memory") 1)
  (data (memory $main) (i32.const 0) "\\10\\00\\00\\00\\03\\00\\00\\00")
  (data (memory $main) (i32.const 16) "hi\\0a")
  (func (export "_start")
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 24)))
    (if (i64.eqz (i64.load $main (i32.const 24))) (then (unreachable)))
    (if (i64.ne (i64.load $other (i32.const 24)) (i64.const 0)) (then (unreachable)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""

PREOPEN = wat.wasm(
    """  (func (export "_start")
    (drop (call $stat (i32.const 3) (i32.const 200)))
    (drop (call $name (i32.const 3) (i32.const 300) (i32.load (i32.const 204))))
    (call $print (i32.const 300) (i32.add (i32.const 1) (i32.load (i32.const 204)))))""",
    imports="""
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
    (func $name (param i32 i32 i32) (result i32)))""",
)

BIG = wat.wasm("""
  (func $main (export "_start") (local $i i32) (local $x i32)
    (memory.fill (i32.const 65536)  (i32.const 7) (i32.const 65536))
    (drop (memory.grow (i32.const 16)))
    (memory.fill (i32.const 131072) (i32.const 9) (i32.const 1048576))
    (call $ready)
    (loop $lines
      (if (i32.eq (local.get $i) (i32.const 59)) (then (call $hold)))
      (local.set $x (call $work (local.get $x) (i32.const 1000000)))
      (call $number (local.get $x))
      (br_if $lines
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60))))
    (call $exit (i32.const 7)))""")
