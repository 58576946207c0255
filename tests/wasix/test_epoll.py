"""Lists of descriptors to wait for, and counters: in place and in a resumed process."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest
from host.fakes import DATA, OUT
from host.test_poll import READ, events, setup
from host.test_poll import fd as subscribe

from .net import DGRAM, INET4, NONBLOCK, STREAM, Net

IN, OUTPUT, RDHUP, PRI, ERR, HUP, ET, ONESHOT = (1 << i for i in range(8))
ADD, EITHER, DEL, MOD = range(4)
EVENTS = DATA + 0x2000
FOR_EVER = (1 << 64) - 1


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net()
    yield made
    made.close()


def event(net: Net, flags: int = 0, value: int = 0) -> int:
    return net.number("fd_event", value, flags)


def control(net: Net, epfd: int, op: int, fd: int, wanted: int = IN, data: int = 7) -> str:
    entry = struct.pack("<I4xIII4xQ", wanted, data, fd, data + 1, data + 2)
    net.guest.memory.write(DATA, entry)
    return net.guest("epoll_ctl", epfd, op, fd, DATA)


def wait(net: Net, epfd: int, most: int = 9, timeout: int = 0) -> list[tuple[int, int]]:
    """(events, fd)."""
    assert net.guest("epoll_wait", epfd, EVENTS, most, timeout, OUT) == "SUCCESS"
    found = []
    for i in range(net.guest.memory.u32(OUT)):
        happened, ptr, fd, data1, data2 = struct.unpack(
            "<I4xIII4xQ", net.guest.memory.read(EVENTS + 32 * i, 32)
        )
        assert (data1, data2) == (ptr + 1, ptr + 2)
        found.append((happened, fd))
    return found


def add(net: Net, fd: int, value: int) -> None:
    data = struct.pack("<Q", value)
    assert net.guest("fd_write", fd, *net.guest.iovs(8, data=data), OUT) == "SUCCESS"


def take(net: Net, fd: int) -> int | str:
    result = net.guest("fd_read", fd, *net.guest.iovs(8), OUT)
    return net.guest.memory.u64(DATA) if result == "SUCCESS" else result


# -- counters -------------------------------------------------------------------------------------


def test_a_counter(net: Net) -> None:
    fd = event(net, NONBLOCK)
    assert take(net, fd) == "AGAIN"
    add(net, fd, 3)
    add(net, fd, 4)
    assert net.guest("poll_oneoff", *setup(net.guest, subscribe(1, READ, fd))) == "SUCCESS"
    assert events(net.guest) == [(1, 0, READ, 8, 0)]
    assert take(net, fd) == 7
    assert take(net, fd) == "AGAIN"
    assert net.guest("fd_read", fd, *net.guest.iovs(7), OUT) == "INVAL"
    assert net.guest("fd_write", fd, *net.guest.iovs(7), OUT) == "INVAL"
    assert net.guest("fd_write", fd, *net.guest.iovs(8, data=b"\xff" * 8), OUT) == "INVAL"
    add(net, fd, (1 << 64) - 2)
    assert net.guest("fd_write", fd, *net.guest.iovs(8, data=b"\1" + bytes(7)), OUT) == "AGAIN"
    assert net.guest("fd_event", FOR_EVER, 0, OUT) == "INVAL"


def test_a_semaphore(net: Net) -> None:
    fd = event(net, 1 | NONBLOCK, 3)
    net.resume()
    assert [take(net, fd) for _ in range(4)] == [1, 1, 1, "AGAIN"]


def test_a_counter_is_saved(net: Net) -> None:
    """Its value stays in place, too; a wait for it is done again."""
    fd = event(net)
    read = ("fd_read", fd, *net.guest.iovs(8), OUT)
    assert net.guest.suspended(*read) == {}
    add(net, fd, 1 << 40)
    net.saved()
    state = net.saved()
    assert take(net, fd) == 1 << 40
    net.go_on(state).iovs(8)
    assert net.guest.completed({}, *read) == "SUCCESS"
    assert net.guest.memory.u64(DATA) == 1 << 40
    net.guest.suspended(*read)
    add(net, fd, 1)
    assert net.guest("fd_dup", fd, OUT) == "SUCCESS"
    other = net.guest.memory.u32(OUT)
    net.resume()
    add(net, other, 1)
    assert take(net, fd) == 2


# -- lists ------------------------------------------------------------------------------------------


def test_the_layout(net: Net) -> None:
    epfd = net.number("epoll_create")
    fd = event(net, 0, 1)
    assert control(net, epfd, ADD, fd, IN | OUTPUT, 0x11) == "SUCCESS"
    expected = struct.pack("<I4xIII4xQ", IN | OUTPUT, 0x11, fd, 0x12, 0x13)
    padding = net.guest.memory.read(DATA + 20, 4)
    expected = expected[:20] + padding + expected[24:]
    with net.guest.writes((EVENTS, expected), (OUT, struct.pack("<I", 1))):
        assert net.guest("epoll_wait", epfd, EVENTS, 5, 0, OUT) == "SUCCESS"


def test_what_cannot_be_listed(net: Net) -> None:
    epfd = net.number("epoll_create")
    fd = event(net)
    assert control(net, epfd, ADD, fd) == "SUCCESS"
    assert control(net, epfd, ADD, fd) == "EXIST"
    assert control(net, epfd, MOD, 0) == "NOENT"
    assert control(net, epfd, DEL, 0) == "NOENT"
    assert control(net, epfd, ADD, 0) == "PERM"  # /dev/null is always ready
    assert control(net, epfd, ADD, 99) == "BADF"
    assert control(net, epfd, ADD, epfd) == "INVAL"
    assert control(net, fd, ADD, epfd) == "INVAL"
    assert control(net, epfd, 4, fd) == "INVAL"
    assert control(net, epfd, EITHER, fd, OUTPUT) == "SUCCESS"
    assert wait(net, epfd) == [(OUTPUT, fd)]
    assert net.guest("epoll_wait", epfd, EVENTS, 0, 0, OUT) == "INVAL"
    assert net.guest("epoll_wait", fd, EVENTS, 1, 0, OUT) == "INVAL"
    assert control(net, epfd, DEL, fd) == "SUCCESS"
    assert control(net, epfd, DEL, fd) == "NOENT"
    assert control(net, epfd, EITHER, fd) == "SUCCESS"
    inner = net.number("epoll_create")
    assert control(net, epfd, ADD, inner) == "SUCCESS"
    assert control(net, inner, ADD, epfd) == "LOOP"


@pytest.mark.parametrize("resumed", [False, True])
def test_kinds_of_entries(net: Net, resumed: bool) -> None:
    """As long as it is ready; once for each change; once, until it is asked for again; never more
    than there is room for. A closed one is gone."""
    epfd = net.number("epoll_create")
    level, edge, once = event(net), event(net), event(net)
    control(net, epfd, ADD, level)
    control(net, epfd, ADD, edge, IN | ET)
    control(net, epfd, ADD, once, IN | ONESHOT)
    assert wait(net, epfd) == []
    for fd in (level, edge, once):
        add(net, fd, 1)
    assert sorted(wait(net, epfd)) == [(IN, level), (IN, edge), (IN, once)]
    if resumed:
        net.resume()
        assert sorted(wait(net, epfd)) == [(IN, level), (IN, edge)], "the edge is told once more"
    net.saved()
    assert wait(net, epfd) == [(IN, level)], "a snapshot in place is no edge"
    add(net, edge, 1)
    add(net, once, 1)
    assert sorted(wait(net, epfd)) == [(IN, level), (IN, edge)]
    assert control(net, epfd, MOD, once, IN | ONESHOT) == "SUCCESS"
    assert sorted(wait(net, epfd)) == [(IN, level), (IN, once)]
    add(net, edge, 1)
    assert len(wait(net, epfd, 1)) == 1
    net.close_fd(level)
    if resumed:
        net.resume()
    assert (IN, level) not in wait(net, epfd)
    assert event(net, 0, 1) == level
    assert wait(net, epfd) == []
    assert control(net, epfd, ADD, level) == "SUCCESS"
    assert wait(net, epfd) == [(IN, level)]


def test_a_wait_that_is_stopped(net: Net) -> None:
    """For ever, or with what is left of its time."""
    epfd = net.number("epoll_create")
    fd = event(net)
    control(net, epfd, ADD, fd)
    forever = ("epoll_wait", epfd, EVENTS, 9, FOR_EVER, OUT)
    assert net.guest.suspended(*forever) == {"until": None}
    day = 86_400 * 10**9
    progress = net.guest.suspended("epoll_wait", epfd, EVENTS, 9, day, OUT)
    assert progress["until"] <= net.guest.host.clock.monotonic() + day
    assert net.guest.completed({"until": 0}, "epoll_wait", epfd, EVENTS, 9, day, OUT) == "SUCCESS"
    assert net.guest.memory.u32(OUT) == 0
    net.resume()
    add(net, fd, 1)
    assert net.guest.completed({"until": None}, *forever) == "SUCCESS"
    assert net.guest.memory.u32(OUT) == 1


def test_sockets_and_pipes_in_a_list(net: Net) -> None:
    """What a resumed process holds of them is ready, and what was lost is."""
    epfd = net.number("epoll_create")
    assert net.guest("sock_pair", INET4, STREAM, 0, OUT, OUT + 4) == "SUCCESS"
    one, two = net.guest.memory.u32(OUT), net.guest.memory.u32(OUT + 4)
    assert net.guest("fd_pipe", OUT, OUT + 4) == "SUCCESS"
    reader, writer = net.guest.memory.u32(OUT), net.guest.memory.u32(OUT + 4)
    listener, udp = net.listener(), net.bound(kind=DGRAM)
    connecting = net.open()
    assert net.connect(connecting, *net.local(listener)) == "SUCCESS"
    accepted = net.accept(listener)
    for fd in (one, two, reader, listener, udp, accepted):
        assert control(net, epfd, ADD, fd) == "SUCCESS"
    assert control(net, epfd, ADD, writer, OUTPUT) == "SUCCESS"
    assert wait(net, epfd) == [(OUTPUT, writer)]
    net.send(one, b"x")
    assert net.send_to(udp, b"self", net.local(udp)) == "SUCCESS"
    net.guest.write(writer, b"y")
    assert sorted(wait(net, epfd)) == [(IN, two), (IN, reader), (IN, udp), (OUTPUT, writer)]
    net.resume()
    found = {fd: e for e, fd in wait(net, epfd)}
    assert found.pop(accepted) & (IN | HUP) == IN | HUP
    assert found == {two: IN, reader: IN, udp: IN, writer: OUTPUT}
    assert net.receive(two) == b"x"
    assert net.receive(udp) == b"self"
    net.close_fd(accepted)
    net.guest.read(reader, 9)
    assert wait(net, epfd) == [(OUTPUT, writer)]


def test_what_has_two_numbers(net: Net) -> None:
    """Its entry lives as long as one of them; and is found again by the other."""
    epfd = net.number("epoll_create")
    fd = event(net, 0, 1)
    assert net.guest("fd_dup", fd, OUT) == "SUCCESS"
    other = net.guest.memory.u32(OUT)
    control(net, epfd, ADD, fd)
    assert control(net, epfd, ADD, other) == "EXIST"
    net.close_fd(fd)
    assert wait(net, epfd) == [(IN, fd)]
    net.resume()
    assert wait(net, epfd) == [(IN, fd)]
    net.close_fd(other)
    assert wait(net, epfd) == []


def test_a_standard_stream_that_was_closed(net: Net) -> None:
    """It stays open outside; the guest hears no more of it."""
    ours, theirs = os.pipe()
    os.write(theirs, b"x")
    net.guest.host._standard["stdin"] = ours
    net.guest.host.open_first()
    epfd = net.number("epoll_create")
    assert control(net, epfd, ADD, 0) == "SUCCESS"
    assert wait(net, epfd) == [(IN, 0)]
    net.close_fd(0)
    assert wait(net, epfd) == []
    os.close(ours)
    os.close(theirs)
