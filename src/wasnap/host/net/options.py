"""Options of sockets by WASIX's names, and the kernel's numbers for them.

What the guest sets is remembered, and set again on a resume. Times to wait are no business of the
kernel here: our sockets do not block, and the guest's calls wait for at most so long
(``socket.py``).

Source: https://github.com/wasix-org/wasix-libc, api_wasix.h, ``sock_option``
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from ..beneath import os_error

# fmt: off
NAMES: Final = (
    "noop", "reuse_port", "reuse_addr", "no_delay", "dont_route", "only_v6", "broadcast",
    "multicast_loop_v4", "multicast_loop_v6", "promiscuous", "listening", "last_error",
    "keep_alive", "linger", "oob_inline", "recv_buf_size", "send_buf_size", "recv_lowat",
    "send_lowat", "recv_timeout", "send_timeout", "connect_timeout", "accept_timeout", "ttl",
    "multicast_ttl_v4", "type", "proto",
)
# fmt: on
"""The name's index is the option."""

TIMEOUTS: Final = ("recv_timeout", "send_timeout", "connect_timeout", "accept_timeout")

_SOL, _IP, _IPV6, _TCP = (
    socket.SOL_SOCKET,
    socket.IPPROTO_IP,
    socket.IPPROTO_IPV6,
    socket.IPPROTO_TCP,
)
FLAGS: Final = {
    "reuse_port": (_SOL, socket.SO_REUSEPORT),
    "reuse_addr": (_SOL, socket.SO_REUSEADDR),
    "no_delay": (_TCP, socket.TCP_NODELAY),
    "dont_route": (_SOL, socket.SO_DONTROUTE),
    "only_v6": (_IPV6, socket.IPV6_V6ONLY),
    "broadcast": (_SOL, socket.SO_BROADCAST),
    "multicast_loop_v4": (_IP, socket.IP_MULTICAST_LOOP),
    "multicast_loop_v6": (_IPV6, socket.IPV6_MULTICAST_LOOP),
    "keep_alive": (_SOL, socket.SO_KEEPALIVE),
    "oob_inline": (_SOL, socket.SO_OOBINLINE),
}
SIZES: Final = {
    "recv_buf_size": (_SOL, socket.SO_RCVBUF),
    "send_buf_size": (_SOL, socket.SO_SNDBUF),
    "recv_lowat": (_SOL, socket.SO_RCVLOWAT),
    "ttl": (_IP, socket.IP_TTL),
    "multicast_ttl_v4": (_IP, socket.IP_MULTICAST_TTL),
}
_TTL_V6: Final = (_IPV6, socket.IPV6_UNICAST_HOPS)
_DOUBLED: Final = ("recv_buf_size", "send_buf_size")
"""The kernel says twice what was asked for."""
_EARLY: Final = ("reuse_port", "reuse_addr", "only_v6")
"""To be set before a socket is bound."""
_LINGER: Final = struct.Struct("ii")
_SIZE_MAX: Final = (1 << 31) - 1


def name_of(option: int) -> str:
    """Raises OSError (EINVAL) for one that is not in the ABI."""
    if option >= len(NAMES):
        raise os_error(errno.EINVAL)
    return NAMES[option]


def set_number(sock: socket.socket, name: str, value: int) -> None:
    """A flag, or a size. Raises OSError (ENOPROTOOPT) for what cannot be set."""
    sock.setsockopt(*_number(sock, name), min(value, _SIZE_MAX))


def get_number(sock: socket.socket, name: str) -> int:
    """The same."""
    value = sock.getsockopt(*_number(sock, name))
    return value // 2 if name in _DOUBLED else value


def set_linger(sock: socket.socket, seconds: int) -> None:
    """0: closing resets the connection. Else closing sends what is left, as it does anyway; it does
    not wait for that, which could not be stopped."""
    sock.setsockopt(_SOL, socket.SO_LINGER, _LINGER.pack(seconds == 0, 0))


def set_again(sock: socket.socket, options: dict[str, int], *, bound: bool) -> None:
    """Those that belong before binding, or after it. Raises OSError."""
    for name, value in options.items():
        if (name in _EARLY) is not bound:
            if name == "linger":
                set_linger(sock, value)
            else:
                set_number(sock, name, value)


def _number(sock: socket.socket, name: str) -> tuple[int, int]:
    if name == "ttl" and sock.family == socket.AF_INET6:
        return _TTL_V6
    found = FLAGS.get(name) or SIZES.get(name)
    if found is None:
        raise os_error(errno.ENOPROTOOPT)
    return found
