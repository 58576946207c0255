"""Addresses of sockets, as the kernel, users and snapshots have them."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Literal, TypeAlias

import msgspec

Family: TypeAlias = Literal["inet4", "inet6", "unix"]

KERNELS = {"inet4": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}


class Endpoint(msgspec.Struct, frozen=True):
    """Where a socket is, or its peer. ``host``: the number of an interface, never a name; ``flow``,
    ``scope``: of inet6. ``path``: of unix, as the guest says it; b"": it has no name.
    """

    family: Family
    host: str = ""
    port: int = 0
    flow: int = 0
    scope: int = 0
    path: bytes = b""

    @classmethod
    def of(cls, family: Family, name: Any) -> Endpoint:
        """What the kernel says in Python's words."""
        if family == "inet4":
            return cls(family, name[0], name[1])
        if family == "inet6":
            return cls(family, name[0].partition("%")[0], *name[1:4])
        return cls(family, path=name.encode() if isinstance(name, str) else name)

    def name(self) -> Any:
        """For the kernel, in Python's words. Not of unix, whose paths are the guest's."""
        if self.family == "inet4":
            return self.host, self.port
        return self.host, self.port, self.flow, self.scope

    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address that is meant: an IPv4 one in IPv6's clothes is an IPv4 one. Not of unix."""
        ip = ipaddress.ip_address(self.host)
        return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip

    def __str__(self) -> str:
        if self.family == "unix":
            return "unix:" + self.path.decode(errors="replace")
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
