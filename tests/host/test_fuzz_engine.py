"""Wild arguments from a real guest: it gets an errno and goes on, and nobody else is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasnap import engine
from wasnap.host import FakeClock, Host, HostConfig, Mapping

from .fakes import IOVS, MEMORY_SIZE, PATH
from .test_abi import SIGNATURES
from .test_fuzz import EXAMPLES, descriptors, i32, i64, paths
from .theirs import puppet

NAMES = [name for name in SIGNATURES if name not in ("proc_exit", "proc_raise")]
"""All but those that end the guest."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[engine.Guest, Path]]:
    base = tmp_path_factory.mktemp("fuzz")
    (base / "dir/d").mkdir(parents=True)
    (base / "dir/f").write_text("content")
    (base / "secret").write_text("secret")
    null = os.open(os.devnull, os.O_RDWR)
    config = HostConfig(
        dirs=(Mapping(str(base / "dir"), "/dir"),), stdin=null, stdout=null, stderr=null
    )
    host = Host(config, clock=FakeClock())  # waits for clocks take no time
    program = engine.Program.load(bytes(wasmtime.wat2wasm(puppet(NAMES))), cache=engine.Cache(None))
    with engine.Guest(program, lambda module, name: host.function(module, name)) as guest:
        yield guest, base
    host.close()
    os.close(null)


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
    derandomize="WASNAP_EXAMPLES" not in os.environ,
)
@given(data=st.data())
def test_wild_arguments(world: tuple[engine.Guest, Path], name: str, data: st.DataObject) -> None:
    guest, base = world
    memory = guest.memories[0]
    memory.write(PATH, data.draw(paths).ljust(16, b"\xa5"))
    for i in range(8):
        memory.set_u32(IOVS + 4 * i, data.draw(i32))
    arguments: list[int] = [data.draw(i64 if c == "l" else i32) for c in SIGNATURES[name]]
    tame = data.draw(st.booleans())
    if arguments and tame:
        arguments[0] = data.draw(descriptors)
    if name == "poll_oneoff":  # which would wait for ever for a pipe that nobody writes to
        arguments[2] = min(arguments[2], MEMORY_SIZE // 48)
    guest.call(name, arguments)
    event = guest.wait(60)
    assert isinstance(event, engine.Finished), event
    assert 0 <= event.results[0] <= 76
    assert memory.size == MEMORY_SIZE
    assert (base / "secret").read_text() == "secret"
    assert sorted(os.listdir(base)) == ["dir", "secret"]
