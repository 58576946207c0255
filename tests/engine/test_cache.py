"""The code cache: a hit needs no work, damage is rebuilt and never used, two may fill at once."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import wasnap.engine.code as code
import wasnap.engine.config as config
import wasnap.instrument
from wasnap.engine import Cache, Finished, Guest, Program, Stopped
from wasnap.engine.cache import FOOTER, default_directory
from wasnap.errors import CannotResume
from wasnap.instrument import likely

from .guests import functions, wasm

TEXT = """(module (func $f (export "run") (param i32) (result i32)
  (if (result i32) (local.get 0)
    (then (i32.add (i32.const 2) (call $f (i32.sub (local.get 0) (i32.const 1)))))
    (else (i32.const 0)))))"""


def run(program: Program) -> None:
    with Guest(program, functions()) as guest:
        guest.start("run", (10,), countdown=4)
        assert guest.wait(20) == Stopped()
        guest.proceed()
        assert guest.wait(20) == Finished((20,))


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing may be decoded, validated, instrumented or compiled."""

    def no(*args: object, **more: object) -> NoReturn:
        raise AssertionError("a cache hit needs no work")

    for name in ("_decode", "validate", "compile_module"):
        monkeypatch.setattr(code, name, no)
    for name in ("instrument", "Continuations"):
        monkeypatch.setattr(wasnap.instrument, name, no)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def entries(cache: Cache) -> list[Path]:
    assert cache.directory is not None
    return sorted(p for p in cache.directory.rglob("*") if p.is_file())


def test_a_hit_needs_no_work_for_program_and_continuations(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(Program.load(wasm(TEXT), counted=True, cache=cache))
    assert len(entries(cache)) == 2
    forbid_work(monkeypatch)
    run(Program.load(wasm(TEXT), counted=True, cache=cache))


def test_ready_for_the_likely_before_it_is_wanted(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled as long as there is time, and only once."""
    monkeypatch.setattr(code, "MANY_SITES", 1)
    monkeypatch.setattr(likely, "CODE_MIN", 1)
    monkeypatch.setattr(likely, "SITES_MIN", 1)
    loop = """(module (import "host" "tick" (func $tick)) (func (export "run") (param i32)
      (loop $l (call $tick) (br_if $l (local.get 0)))))"""
    program = Program.load(wasm(loop), cache=cache)
    numbers = program.info.likely
    assert numbers
    program.get_ready(lambda: False)
    assert len(entries(cache)) == 1
    program.get_ready(lambda: True)
    assert len(entries(cache)) == 1 + len(numbers)
    forbid_work(monkeypatch)
    program.get_ready(lambda: True)
    assert program.continuations(numbers).keys() == set(numbers)


def test_key_tells_apart_what_compiles_differently(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(wasm(TEXT)).digest()
    keys = {
        code.cache_key(sha256, False),
        code.cache_key(sha256, True),
        code.cache_key(sha256[::-1], False),
    }
    monkeypatch.setattr(code, "TRANSFORM_VERSION", -1)
    keys.add(code.cache_key(sha256, False))
    monkeypatch.setattr(config, "SETTINGS", (*config.SETTINGS, ("x", True)))
    keys.add(code.cache_key(sha256, False))
    assert len(keys) == 5


def test_nothing_is_made_under_a_wrong_sum(cache: Cache) -> None:
    """A module that is said to have another's sum: that one's program may be found by it, but no
    entry of the cache is made from this one."""
    other = wasm(TEXT.replace("const 2", "const 3"))
    sha256 = hashlib.sha256(other).digest()
    with pytest.raises(CannotResume):
        Program.load(wasm(TEXT), counted=True, cache=cache, sha256=sha256)
    assert entries(cache) == []
    Program.load(other, counted=True, cache=cache, sha256=sha256)
    assert len(entries(cache)) == 1
    found = Program.load(wasm(TEXT), counted=True, cache=cache, sha256=sha256)
    with pytest.raises(CannotResume):
        found.continuations([0])
    assert len(entries(cache)) == 1


def test_every_flipped_byte_is_noticed(cache: Cache) -> None:
    """Each byte of meta and footer, and a sample of the code's, changed one at a time."""
    program = Program.load(wasm(TEXT), cache=cache)
    (path,) = entries(cache)
    whole = path.read_bytes()
    code_length = FOOTER.unpack(whole[-FOOTER.size :])[1]
    positions = [*range(0, code_length, 397), *range(code_length, len(whole))]
    damaged = bytearray(whole)
    for at in positions:
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        assert cache.find(program.key) is None, at
        damaged[at] ^= 0x10
    path.write_bytes(whole)
    assert cache.find(program.key) is not None


def test_every_cut_is_noticed(cache: Cache) -> None:
    program = Program.load(wasm(TEXT), cache=cache)
    (path,) = entries(cache)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 101), *range(len(whole) - 50, len(whole))]:
        path.write_bytes(whole[:length])
        assert cache.find(program.key) is None, length
    path.write_bytes(whole + b"\0")
    assert cache.find(program.key) is None


def test_a_damaged_entry_is_rebuilt(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Program.load(wasm(TEXT), counted=True, cache=cache))
    before = entries(cache)
    for path in before:
        path.write_bytes(path.read_bytes()[:-1])
    run(Program.load(wasm(TEXT), counted=True, cache=cache))
    assert entries(cache) == before
    forbid_work(monkeypatch)
    run(Program.load(wasm(TEXT), counted=True, cache=cache))


def test_an_intact_entry_that_the_engine_does_not_take_is_rebuilt(cache: Cache) -> None:
    program = Program.load(wasm(TEXT), counted=True, cache=cache)
    found = cache.find(program.key)
    assert found is not None
    cache.store(program.key, b"not what the engine writes", found.meta)
    run(Program.load(wasm(TEXT), counted=True, cache=cache))


def test_an_intact_entry_with_another_meta_is_rebuilt(cache: Cache) -> None:
    program = Program.load(wasm(TEXT), counted=True, cache=cache)
    cache.store(program.key, program.module.serialized(), b"\xc1")
    run(Program.load(wasm(TEXT), counted=True, cache=cache))


FILL = """
import sys
from wasnap.engine import Cache
cache = Cache(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(60):
    cache.store("ab" * 32, bytes([n % 256]) * 20000, b"meta")
    found = cache.find("ab" * 32)
    assert found is not None and found.meta == b"meta"
"""


def test_two_processes_fill_one_entry_at_once(tmp_path: Path) -> None:
    fillers = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path / "cache")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]
    for filler in fillers:
        assert filler.stdout is not None
        assert filler.stdout.readline() == "ready\n"
    for filler in fillers:
        assert filler.stdin is not None
        filler.stdin.write("go\n")
        filler.stdin.flush()
    for filler in fillers:
        filler.communicate(timeout=60)
        assert filler.returncode == 0
    (left,) = entries(Cache(tmp_path / "cache"))
    assert left.name == "ab" * 32


def test_an_unusable_directory_is_said_once_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            run(Program.load(wasm(TEXT), counted=True, cache=Cache(file)))
    assert len(caplog.records) == 1
    assert "without a code cache" in caplog.text


def test_a_directory_that_others_may_write_to_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o777)
    run(Program.load(wasm(TEXT), counted=True, cache=Cache(directory)))
    assert list(directory.iterdir()) == []
    assert "others" in caplog.text


def test_a_cache_that_cannot_be_written_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The entry's directory is taken by a file: storing fails, as on a full disk."""
    cache = Cache(tmp_path / "cache")
    key = code.cache_key(hashlib.sha256(wasm(TEXT)).digest(), True)
    assert cache.directory is not None
    (cache.directory / key[:2]).write_text("in the way")
    run(Program.load(wasm(TEXT), counted=True, cache=cache))
    assert "cannot be" in caplog.text


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASNAP_CACHE_DIR", "/a/b")
    assert default_directory() == Path("/a/b")
    monkeypatch.delenv("WASNAP_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert default_directory() == Path("/c/wasnap")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert default_directory() == Path("/h/.cache/wasnap")
