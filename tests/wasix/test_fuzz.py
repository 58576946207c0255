"""Wild arguments for sockets, lists and counters: an errno comes back, never an exception, and no byte
beyond memory is touched. What gets out goes to an address of loopback that nobody else has."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from host.fakes import DATA, IOVS, MEMORY_SIZE, OUT, SENTINEL
from host.test_fuzz import GUARD, descriptors, i32, i64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasnap.host.protocol import Stop, Suspended
from wasnap.host.wasip1.abi import host_functions
from wasnap.host.wasix.epoll import Waiting
from wasnap.host.wasix.sock import Sock
from wasnap.host.world import WASIX

from .net import ADDR, INET4, INET6, NONBLOCK, Net

EXAMPLES = int(os.environ.get("WASNAP_EXAMPLES", "8"))
"""For each function; more of them for campaigns."""
NAMES = sorted(
    name for provider in (Sock, Waiting) for name in vars(provider) if not name.startswith("_")
)
NOBODY = "127.99.0.1"
small = st.integers(0, 28)
bytes_ = st.integers(0, 255)


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    made = Net(net_allow=(f"{NOBODY}:*", "127.0.0.1:*"), listen=("127.0.0.1:0",))
    made.guest.memory.bytes += bytes([SENTINEL]) * GUARD
    yield made
    made.close()


def reset(net: Net) -> None:
    """One of each kind is open: 3 listens, 4 and 5 are connected, ..."""
    net.guest.host.open_first()
    listener = net.listener()
    connecting = net.open()
    net.connect(connecting, *net.local(listener))
    net.accept(listener, NONBLOCK)
    net.open(INET6)
    net.open(INET4, 2)
    net.guest("sock_pair", INET4, 1, 0, OUT, OUT + 4)
    epfd = net.number("epoll_create")
    event = net.number("fd_event", 1, 0)
    net.guest("epoll_ctl", epfd, 0, event, DATA)


def test_all_are_here(net: Net) -> None:
    found = {
        function.name
        for provider in (Sock, Waiting)
        for function in host_functions(WASIX, provider(net.guest.host))
    }
    assert found == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
    derandomize="WASNAP_EXAMPLES" not in os.environ,
)
@given(data=st.data())
def test_wild_arguments(net: Net, name: str, data: st.DataObject) -> None:
    guest = net.guest
    reset(net)
    function = guest.host.function(WASIX, name)
    assert function is not None
    memory = guest.memory
    for at in (ADDR, DATA, IOVS, OUT):
        memory.write(at, bytes(data.draw(st.lists(bytes_, min_size=32, max_size=32))))
    if data.draw(st.booleans()):
        memory.write(ADDR, b"\1\0" + bytes(data.draw(st.lists(bytes_, min_size=2, max_size=2))))
        memory.write(ADDR + 4, socket.inet_aton(NOBODY))
    pointers = st.sampled_from([ADDR, DATA, IOVS, OUT])
    arguments = [
        data.draw(i64 if kind == 0x7E else i32 | small | pointers) for kind in function.params
    ]
    if data.draw(st.booleans()):
        arguments[0] = data.draw(descriptors)
    guest.call.stop = True  # a wait must not wait here
    try:
        result = function.call(guest.call, *arguments)
    except (Suspended, Stop):
        result = 0
    finally:
        guest.call.stop = False
    assert isinstance(result, int)
    assert 0 <= result <= 76
    assert memory.bytes[MEMORY_SIZE:] == bytes([SENTINEL]) * GUARD
    guest.host.capture().to_plain()
