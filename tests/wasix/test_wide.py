"""``wasix_64v1``: the same calls with wide pointers. What they write, and whole guests, which do what
they do as guests of ``wasix_32v1`` (``widen.py``)."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import guests
import pytest
from host.fakes import DATA, IOVS, OUT, Guest
from process.conftest import Run, run
from process.test_listen import Server, ask
from threads import HEAD as THREADS_HEAD
from threads import World, wasm

from wasnap.engine import Exited, Finished, Stopped
from wasnap.errors import UnsupportedModule
from wasnap.harness import Job, undisturbed
from wasnap.host import Host, HostConfig, Mapping
from wasnap.host.wasip1 import PREVIEW1
from wasnap.host.wasix import MISSING, OLDER, WITHOUT_RESULT
from wasnap.host.wasix import functions as functions_of
from wasnap.host.widths import LIBC, NARROW, WIDE, Widths
from wasnap.host.world import WASIX, WASIX64
from wasnap.instrument.abi import ImportInfo

from . import wat
from .processes import PRINTED, root
from .steps import in_steps
from .test_signals import ALARM, NESTED, outcome
from .test_stack import LOOP
from .test_stack import OUT as OUT_OF_A_HANDLER
from .test_threads import TEAM
from .widen import FUNCTIONS, for_libc, types, widened
from .widen import WITHOUT_RESULT as NONE

__all__ = ["run"]

I32, I64 = b"\x7f", b"\x7e"
pytestmark = pytest.mark.usefixtures("own_cache")
LINKS = int(os.environ.get("WASNAP_LINKS", "6"))
SEED = int(os.environ.get("WASNAP_SEED", random.randrange(1 << 32)))
MADE = {"reference": lambda text: widened(text, WIDE), "libc": for_libc}


# -- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [NARROW, LIBC, WIDE])
def test_every_function_has_its_counterpart(widths: Widths) -> None:
    """All of the ABI's functions are there, by the types that the definitions give them; those that
    are missing say so by name."""
    host = Host(HostConfig())
    module = WASIX if widths is NARROW else WASIX64
    found = functions_of(host, module, widths)
    assert {n for n in found if not n.endswith(OLDER)} == FUNCTIONS.keys() - MISSING
    for name in FUNCTIONS.keys() - MISSING:
        result = b"" if name in NONE else I32
        assert found[name].module == module
        assert (found[name].params, found[name].results) == (types(name, widths), result), name
    assert set(WITHOUT_RESULT) <= NONE
    host.close()


def new(directory: Path, widths: Widths) -> Guest:
    null = os.open(os.devnull, os.O_RDWR)
    mapping = Mapping(str(directory), "/home", False)
    host = Host(HostConfig(args=("a", "bc"), dirs=(mapping,), stdin=null, stdout=null, stderr=null))
    host.wide = widths
    return Guest(host, WASIX64)


@pytest.fixture(params=[LIBC, WIDE])
def guest(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = new(tmp_path, request.param)
    yield made
    made.host.close()


def size(guest: Guest, n: int) -> bytes:
    return n.to_bytes(guest.host.wide.size, "little")


def iovs(guest: Guest, *lengths: int) -> tuple[int, int]:
    at = DATA
    for i, n in enumerate(lengths):
        guest.memory.write(IOVS + 16 * i, struct.pack("<QQ", at, n))
        at += n
    return IOVS, len(lengths)


def test_buffers_and_sizes(guest: Guest, tmp_path: Path) -> None:
    """And not one byte more is written."""
    fd = guest.open("f", oflags=1)
    guest.memory.write(DATA, b"abcdef")
    buffers = iovs(guest, 2, 4)
    with guest.writes((OUT, size(guest, 6))):
        assert guest("fd_write", fd, *buffers, OUT) == "SUCCESS"
    assert (tmp_path / "f").read_bytes() == b"abcdef"
    buffers = iovs(guest, 1, 2)
    with guest.writes((OUT, size(guest, 3)), (DATA, b"bcd")):
        assert guest("fd_pread", fd, *buffers, 1, OUT) == "SUCCESS"
    assert guest("fd_tell", fd, OUT) == "SUCCESS"
    assert guest.memory.u64(OUT) == 6


def test_strings(guest: Guest) -> None:
    with guest.writes((OUT, size(guest, 2)), (OUT + 8, size(guest, 5))):
        assert guest("args_sizes_get", OUT, OUT + 8) == "SUCCESS"
    pointers = struct.pack("<QQ", DATA, DATA + 2)
    with guest.writes((OUT, pointers), (DATA, b"a\0bc\0")):
        assert guest("args_get", OUT, DATA) == "SUCCESS"


def test_what_is_not_wide(guest: Guest) -> None:
    """Descriptors, prestat, events: as they are."""
    with guest.writes((OUT, struct.pack("<II", 0, 5))):
        assert guest("fd_prestat_get", 3, OUT) == "SUCCESS"
    with guest.writes((OUT, b"/home")):
        assert guest("fd_prestat_dir_name", 3, OUT, 5) == "SUCCESS"
    with guest.writes((OUT, struct.pack("<II", 4, 5))):
        assert guest("fd_pipe", OUT, OUT + 4) == "SUCCESS"
    subscription = struct.pack("<QB7xI4xQQH6x", 77, 0, 1, 0, 0, 0)
    guest.memory.write(DATA, subscription)
    with guest.writes((OUT, size(guest, 1)), (IOVS, struct.pack("<Q24x", 77))):
        assert guest("poll_oneoff", DATA, IOVS, 1, OUT) == "SUCCESS"


def test_lengths_that_are_pointed_to(guest: Guest) -> None:
    """They are lengths in memory: 8 bytes in either."""
    for room, result, path in (
        (1, "SUCCESS", b"/"),
        (0, "RANGE", b""),
        (1 << 33, "SUCCESS", b"/\0"),
    ):
        guest.memory.set_u64(OUT, room)
        with guest.writes((OUT, struct.pack("<Q", 1)), (DATA, path)):
            assert guest("getcwd", DATA, OUT) == result


def test_pointers_that_lead_out(guest: Guest) -> None:
    """Also beyond what a machine can add to an address."""
    fd = guest.open("f", oflags=1)
    end = guest.memory.size
    last = end - guest.host.wide.size
    for pointer in (end, 1 << 32, 1 << 63, (1 << 64) - 1, last + 1):
        assert guest("fd_write", fd, *iovs(guest, 1), pointer) == "FAULT"
    for buffer in ((end, 1), (1 << 63, 1), (0, 1 << 63), ((1 << 64) - 1, 2)):
        guest.memory.write(IOVS, struct.pack("<QQ", *buffer))
        assert guest("fd_write", fd, IOVS, 1, OUT) == "FAULT"
    assert guest("fd_write", fd, IOVS, 1 << 60, OUT) == "FAULT"
    assert guest("path_unlink_file", 3, 0, 1 << 40) == "FAULT"
    assert guest("fd_write", fd, *iovs(guest, 1), last) == "SUCCESS"


def test_which_of_the_definitions(tmp_path: Path) -> None:
    """wasix-libc's, for a program that has preview1's functions with wide pointers."""
    libc = {(PREVIEW1, "fd_write"): (types("fd_write", LIBC), I32)}
    plain = {(PREVIEW1, "fd_close"): (I32, I32)}
    own = {(WASIX64, "thread_parallelism"): (I64, I32)}
    for imports, widths in ((libc | own, LIBC), (plain | own, WIDE), (own, WIDE)):
        host = Host(HostConfig())
        provide = host.provider([ImportInfo(*name, *type_) for name, type_ in imports.items()])
        assert host.wide == widths
        found = provide(WASIX64, "thread_parallelism")
        assert found is not None and found.params == I64
        host.close()


# -- whole guests ---------------------------------------------------------------------------------


def job(name: str, kind: str, directory: Path) -> Job:
    """The programs that it executes are narrow ones: a tree may have both."""
    module = directory / f"{name}.wasm"
    module.write_bytes(wasm(MADE[kind](PRINTED[name][0])))
    return Job(module, dirs={"/": root(directory)})


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("name", PRINTED)
def test_what_it_prints(name: str, kind: str, tmp_path: Path) -> None:
    """Pipes, forks, signals, files, exec and spawn."""
    _, code, printed = PRINTED[name]
    found = undisturbed(lambda d: job(name, kind, d), tmp_path, counted=False).outcome
    assert (found.stdout.decode(), found.code) == (printed, code)


@pytest.mark.parametrize("name", PRINTED)
def test_saved_and_resumed_again_and_again(name: str, tmp_path: Path) -> None:
    """Each snapshot is resumed by the next process, and takes the next soon after."""
    chance = random.Random(f"{SEED} {name}")
    steps = [chance.choice((3, 7, 12, 20)) for _ in range(LINKS)]
    print(f"WASNAP_SEED={SEED}, {name}: {steps}")
    made = job(name, chance.choice([*MADE]), tmp_path)
    _, code, text = PRINTED[name]
    found = in_steps(made, tmp_path, steps)
    assert (found.printed, found.code) == (text, code)
    assert found.taken


@pytest.mark.parametrize("every", [0, 5])
@pytest.mark.parametrize("kind", MADE)
def test_threads(every: int, kind: str) -> None:
    """Five threads wait at a gate, sleep and are joined; stopped at every so-manieth safepoint, and
    each time in a new process."""
    with World(MADE[kind](TEAM), counted=True) as world:
        world.guest.start(countdown=every)
        while (event := world.guest.wait(30)) == Stopped():
            world.again()
            world.guest.proceed(countdown=every)
        assert event == Exited(1 + 2 + 3 + 4 + 5)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(
    ("program", "answers", "code"), [(wat.server, b"AB", 3), (wat.echo, b"??", 7)]
)
def test_sockets(
    program: Callable[..., bytes], answers: bytes, code: int, kind: str, run: Run
) -> None:
    """Servers, one of them with an epoll list: saved while connected, and resumed."""
    server = Server(run, program(0, MADE[kind]), listen=["127.0.0.1:0"]).ready()
    with server.connect() as client:
        assert ask(client) == answers[:1]
        server.process.snapshot()
        assert ask(client) == answers[1:]
        server.stop()
    again = Server(run)
    with again.connect() as client:
        assert ask(client) == answers[1:]
        client.sendall(b"q")
        assert again.running.join() == code


def compiled(module: str, preview1: str, bits: int, size: int) -> Path:
    """wide.c."""
    return guests.zig(
        Path(__file__).with_name("wide.c"),
        *("-mcpu=generic+atomics+bulk_memory", "-ffreestanding", "-nostdlib"),
        *("-Wl,--no-entry", "-Wl,-z,stack-size=16384", "-Wl,--max-memory=1048576"),
        *("-Wl,--shared-memory", "-Wl,--import-memory", "-Wl,--export=_start"),
        *("-Wl,--export=wasi_thread_start", "-Wl,--export=__stack_pointer"),
        *(f'-DWASIX="{module}"', f'-DPREVIEW1="{preview1}"'),
        *(f"-DSIZE=uint{size}_t", f'-DPOINTER="i{bits}"'),
        target=f"wasm{bits}-freestanding",
    )


C = {
    "narrow": (WASIX, PREVIEW1, 32, 32),
    "libc": (WASIX64, PREVIEW1, 64, 32),
    "reference": (WASIX64, WASIX64, 64, 64),
}
C_PRINTS = """
a
aa
abc
b
waited
/home
klmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl
7
/
hi 42
15988889410855856148
16014557615469527380
"""


def c_job(kind: str, directory: Path) -> Job:
    (directory / "root").mkdir()
    arguments = ("b", "a", "abc", "", "aa")
    return Job(compiled(*C[kind]), arguments, dirs={"/home": directory / "root"})


@pytest.mark.parametrize("kind", C)
def test_a_program_in_c(kind: str, tmp_path: Path) -> None:
    """Arguments, waiting, files, a child and a thread: the compiler lays the structures out. Once as
    it is, once saved and resumed."""
    for way in ("whole", "steps"):
        (tmp_path / way).mkdir()
    found = undisturbed(lambda d: c_job(kind, d), tmp_path / "whole", counted=False).outcome
    assert (found.stdout.decode(), found.code) == (C_PRINTS, 9)
    chance = random.Random(f"{SEED} {kind}")
    steps = [chance.randrange(10, 100) for _ in range(LINKS)]
    print(f"WASNAP_SEED={SEED}, {kind}: {steps}")
    resumed = in_steps(c_job(kind, tmp_path / "steps"), tmp_path / "steps", steps)
    assert (resumed.printed, resumed.code) == (C_PRINTS, 9)
    assert resumed.taken


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("text", [NESTED, ALARM, LOOP, OUT_OF_A_HANDLER])
def test_signals_and_copied_stacks(text: str, kind: str) -> None:
    """Handlers, also in loops, below a wide stack pointer; going back, and out of a handler."""
    end = Exited(0) if text is ALARM else Finished(())
    said = outcome(text, 0, end)
    for every in (0, 3):
        assert outcome(MADE[kind](text), every, end) == said


THREADS_PROPOSAL = f"""
  {THREADS_HEAD}
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "wasi_thread_start") (param $tid i32) (param $arg i32)
    (drop (i32.atomic.rmw.add (i32.const 8) (local.get $arg)))
    (drop (memory.atomic.notify (i32.const 8) (i32.const 1))))
  (func (export "_start") (local $now i32)
    (if (i32.lt_s (call $spawn (i32.const 70000)) (i32.const 1)) (then unreachable))
    (if (i32.lt_s (call $spawn (i32.const 5)) (i32.const 1)) (then unreachable))
    (loop $l
      (if (i32.ne (local.tee $now (i32.atomic.load (i32.const 8))) (i32.const 70005))
        (then
          (drop (memory.atomic.wait32 (i32.const 8) (local.get $now) (i64.const -1)))
          (br $l))))
    (call $exit (i32.sub (local.get $now) (i32.const 70000))))"""


@pytest.mark.parametrize("every", [0, 3])
def test_threads_of_the_proposal(every: int) -> None:
    """``wasi.thread-spawn`` takes an i64, as wasix-libc has it, and the thread gets one."""
    with World(for_libc(THREADS_PROPOSAL), counted=True) as world:
        world.guest.start(countdown=every)
        while (event := world.guest.wait(30)) == Stopped():
            world.again()
            world.guest.proceed(countdown=every)
        assert event == Exited(5)


def test_threads_that_take_no_address() -> None:
    text = for_libc(THREADS_PROPOSAL).replace("(param i32 i64)", "(param i32 i32)")
    text = text.replace("(i32.wrap_i64 (local.get 1))", "(local.get 1)")
    with pytest.raises(UnsupportedModule, match="does not take an i32 and an i64"):
        World(text)


FAR = 0x1_0800_0000
"""Beyond what 32 bits can say."""
FAR_AWAY = f"""
  (import "wasix_64v1" "fd_write" (func $write (param i32 i64 i64 i64) (result i32)))
  (import "wasix_64v1" "args_sizes_get" (func $sizes (param i64 i64) (result i32)))
  (import "wasix_64v1" "args_get" (func $args (param i64 i64) (result i32)))
  (import "wasix_64v1" "proc_snapshot" (func $snapshot (result i32)))
  (import "wasix_64v1" "proc_exit2" (func $exit (param i32)))
  (memory (export "memory") i64 1)
  (func $must (param i32) (if (local.get 0) (then unreachable)))
  (func $say
    (i64.store (i64.const {FAR}) (i64.load (i64.const {FAR + 64})))
    (i64.store (i64.const {FAR + 8}) (i64.load (i64.const {FAR + 24})))
    (call $must (call $write
      (i32.const 1) (i64.const {FAR}) (i64.const 1) (i64.const {FAR + 16})))
    (if (i64.ne (i64.load (i64.const {FAR + 16})) (i64.load (i64.const {FAR + 24})))
      (then unreachable)))
  (func (export "_start")
    (drop (memory.grow (i64.const 0x10900)))
    (call $must (call $sizes (i64.const {FAR + 32}) (i64.const {FAR + 24})))
    (call $must (call $args (i64.const {FAR + 64}) (i64.const {FAR + 4096})))
    (call $say)
    (call $must (call $snapshot))
    (call $say)
    (call $exit (i32.load (i64.const {FAR + 32}))))"""


def test_beyond_four_gigabytes(run: Run) -> None:
    """Strings, pointers to them, buffers and sizes; also in a resumed process."""
    args = ("one", "two")
    process = run.process(wasm(FAR_AWAY), args, journal=run.journal)
    assert process.run() == 3
    printed = run.output
    assert printed.endswith(b"\0one\0two\0")
    said = printed[: len(printed) // 2]
    assert printed == said + said
    assert run.process(None, journal=run.journal).run() == 3
    assert run.output == said
