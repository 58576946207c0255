"""Wild arguments: an errno comes back, never an exception, and no byte outside memory or beyond
what the guest gave as buffers is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasnap.host import FakeClock, Host, HostConfig, Mapping, SeededRandom, signals
from wasnap.host.protocol import Exit, Stop, Suspended

from .fakes import DATA, IOVS, MEMORY_SIZE, OUT, PATH, PREVIEW1, SENTINEL, UNSTABLE, Guest
from .test_abi import SIGNATURES

EXAMPLES = int(os.environ.get("WASNAP_EXAMPLES", "30"))
"""For each function of each module; more of them for campaigns."""

edges = [0, 1, 2, 3, 4, 5, 6, 7, 8, 24, 48, PATH, IOVS, OUT, DATA, MEMORY_SIZE - 8, MEMORY_SIZE - 1]
edges += [MEMORY_SIZE, MEMORY_SIZE + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
i32 = st.sampled_from(edges) | st.integers(0, 0xFFFFFFFF)
i64 = (
    i32
    | st.sampled_from([1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
    | st.integers(0, 2**64 - 1)
)
descriptors: st.SearchStrategy[int] = st.integers(0, 10)
GUARD = 1 << 16
"""Bytes behind the guest's memory that nobody may touch."""
paths = st.sampled_from(
    [b"f", b"d", b"d/f", b"..", b".", b"link", b"x/", b"d/../f", b"/", b"\0", b""]
)


@pytest.fixture(scope="module", params=[PREVIEW1, UNSTABLE])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Guest, Path]]:
    """A guest of each ABI. What the first one does to files is noted, to be undone."""
    base = tmp_path_factory.mktemp("fuzz")
    inside = base / "dir"
    (inside / "d").mkdir(parents=True)
    (base / "secret").write_text("secret")
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    (base / "lower").mkdir()
    config = HostConfig(
        args=("a", "b"),
        env={"K": "V"},
        dirs=(
            Mapping(str(inside), "/dir"),
            Mapping("", "/tmp", kind="tmp"),
            Mapping(str(base / "lower"), "/overlay", kind="overlay"),
        ),
        stdin=read_end,
        stdout=write_end,
        stderr=None,
    )
    host = Host(config, clock=FakeClock(), random=SeededRandom(b""))
    if request.param == PREVIEW1:
        host.note_changes(tmp_path_factory.mktemp("noted") / "j.files", sync=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "pause", lambda: None)  # SIGSTOP would stop these tests
        guest = Guest(host, request.param)
    guest.memory.bytes += bytes([SENTINEL]) * GUARD
    yield guest, base
    host.close()
    os.close(read_end)
    os.close(write_end)


def reset(guest: Guest) -> None:
    """The same few descriptors are open, whatever was closed or renumbered before."""
    guest.host.open_first()
    for fd in (3, 4, 5):  # one of each kind
        guest("path_create_directory", fd, *guest.path("d"))
        guest.try_open("f", fd=fd, oflags=1 | 8)
        guest.try_open("d/f", fd=fd, oflags=1, fdflags=1)
        guest.try_open("d", fd=fd, rights=2)


@pytest.mark.parametrize("name", SIGNATURES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
    derandomize="WASNAP_EXAMPLES" not in os.environ,
)
@given(data=st.data())
def test_wild_arguments(world: tuple[Guest, Path], name: str, data: st.DataObject) -> None:
    guest, base = world
    function = guest.host.function(guest.module, name)
    if function is None:
        assert (guest.module, name) == (UNSTABLE, "sock_accept")
        return
    reset(guest)
    memory = guest.memory
    memory.write(PATH, data.draw(paths).ljust(16, b"\xa5"))
    for i in range(8):
        memory.set_u32(IOVS + 4 * i, data.draw(i32))
    arguments: list[int] = [data.draw(i64 if t == 0x7E else i32) for t in function.params]
    tame = data.draw(st.booleans())
    if arguments and tame:
        arguments[0] = data.draw(descriptors)  # mostly a descriptor
    guest.call.stop = True  # a wait must not wait here
    try:
        result = function.call(guest.call, *arguments)
    except (Suspended, Stop):
        result = 0
    except Exit:
        assert name in ("proc_exit", "proc_raise")
        result = 0
    finally:
        guest.call.stop = False
    assert isinstance(result, int)
    assert 0 <= result <= 76
    assert memory.bytes[MEMORY_SIZE:] == bytes([SENTINEL]) * GUARD
    assert (base / "secret").read_text() == "secret"
    assert sorted(os.listdir(base)) == ["dir", "lower", "secret"]
    assert os.listdir(base / "lower") == []
