"""Rules of what a guest may reach: ``--net-allow HOST:PORT``.

| rule | means |
|---|---|
| `example.com:443` | this name, and the addresses that it has |
| `*.example.com:443` | names that end so, and the addresses they had when the guest looked them up |
| `192.0.2.7:80`, `[2001:db8::1]:80` | an address |
| `10.0.0.0/8:*`, `[fd00::/8]:*` | addresses of a network |
| `*:443` | whatever is there, and all names |
| `HOST:*`, `HOST:8000-8999` | all ports, some of them |
| `unix:/run/*` | sockets with such a path of the guest's; `*` stands for anything |

A name is allowed to be looked up if some rule has it. Whatever is not allowed gives EACCES.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from typing import TypeAlias

import msgspec

from wasnap.errors import UsageError

from .endpoint import Endpoint

IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORT_MAX = 65535
_UNIX = "unix:"


class Rule(msgspec.Struct, frozen=True):
    """One. ``name``: a name in small letters, with `*.` before it perhaps, "*" for everything;
    or ``network``; or ``path``."""

    name: str = ""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    ports: tuple[int, int] = (0, _PORT_MAX)
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Raises UsageError."""
        if text.startswith(_UNIX) and len(text) > len(_UNIX):
            return cls(path=text[len(_UNIX) :])
        host, _, port = text.rpartition(":")
        try:
            ports = _ports(port)
            if host.startswith("[") and host.endswith("]"):
                return cls(network=ipaddress.IPv6Network(host[1:-1], strict=False), ports=ports)
            if not host or ":" in host:
                raise ValueError
            if host[-1].isdigit() and ("/" in host or host.replace(".", "").isdigit()):
                return cls(network=ipaddress.IPv4Network(host, strict=False), ports=ports)
            if "*" in host.removeprefix("*"):
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{text} is no rule for the network",
                "write HOST:PORT, as in example.com:443, *:443, 127.0.0.1:*, 10.0.0.0/8:* or [::1]:80",
            ) from None
        return cls(name=host.lower().rstrip("."), ports=ports)

    def names(self, name: str) -> bool:
        """Whether this name is meant."""
        if self.name.startswith("*"):
            return name.endswith(self.name[1:])
        return bool(self.name) and name == self.name

    def has(self, port: int) -> bool:
        """Whether this port is meant."""
        return self.ports[0] <= port <= self.ports[1]

    def covers(self, endpoint: Endpoint) -> bool:
        """Whether this address is meant, by its numbers or path alone."""
        if endpoint.family == "unix":
            path = endpoint.path.decode(errors="surrogateescape")
            return self.name == "*" or bool(self.path and fnmatch.fnmatchcase(path, self.path))
        if not self.has(endpoint.port):
            return False
        return self.name == "*" or (self.network is not None and meant(endpoint) in self.network)


def meant(endpoint: Endpoint) -> IP:
    """The address that is reached there: "any" is this machine."""
    ip = endpoint.ip()
    if not ip.is_unspecified:
        return ip
    return ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")


def _ports(text: str) -> tuple[int, int]:
    if text == "*":
        return 0, _PORT_MAX
    low, several, high = text.partition("-")
    ports = _port(low), _port(high if several else low)
    if ports[0] > ports[1]:
        raise ValueError
    return ports


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _PORT_MAX:
        raise ValueError
    return int(text)
