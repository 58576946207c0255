"""One process's network: what it may reach and where it may be reached.

Rights are the user's: ``--net`` allows everything, ``--net-allow`` what the rules say, ``--listen``
an address to be reached at. Nothing of them is in the guest's state: a resumed process has those of
whoever resumes it. What is not allowed gives EACCES, and a warning that names what to give.

A rule may have a name, and a guest connects to addresses. So the addresses of names that the guest
looked up are remembered; and for an address that nobody looked up (a resumed process has it in its
memory) the names in the rules are looked up here.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from wasnap.errors import UsageError

from ..config import Connections, HostConfig
from ..socket import Address
from .endpoint import Endpoint
from .rules import IP, Rule, meant

if TYPE_CHECKING:
    from ..clock import Clock

log = logging.getLogger("wasnap")

_WARNINGS_MAX = 8
_PROBE = 10275
"""wasix-libc binds a socket to this port of no interface once, to see in which order the bytes of a
port come back, and does without if it may not."""


class Network:
    """``connections``: see ``config.Connections``. ``rebind``: address that a socket was bound to ->
    the one to bind it to instead.
    """

    def __init__(self, config: HostConfig, clock: Callable[[], Clock]) -> None:
        """Raises UsageError for rules and addresses that are none."""
        self.clock = clock
        self.connections: Connections = config.connections
        self.rebind = {old: _endpoint(new) for old, new in config.rebind.items()}
        self._all = config.net
        self._rules = [Rule.parse(text) for text in config.net_allow]
        self._listen = [*map(_endpoint, config.listen), *self.rebind.values()]
        self._known: dict[IP, set[str]] = {}
        self._told: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether there is anything that it may do."""
        return self._all or bool(self._rules or self._listen)

    def may_reach(self, endpoint: Endpoint) -> bool:
        """Whether the guest may send something there."""
        if self._all or any(rule.covers(endpoint) for rule in self._rules):
            return True
        if endpoint.family == "unix":
            return False
        ip = meant(endpoint)
        named = [rule for rule in self._rules if rule.name and rule.has(endpoint.port)]
        known = self._known.get(ip, ())
        if any(rule.names(name) for rule in named for name in known):
            return True
        return any(ip in self._look_up(rule) for rule in named if "*" not in rule.name)

    def may_look_up(self, name: str) -> bool:
        """Whether the guest may ask for the addresses of this name."""
        plain = name.lower().rstrip(".")
        return self._all or any(rule.names(plain) for rule in self._rules)

    def looked_up(self, name: str, ips: Iterable[IP]) -> None:
        """The guest knows these addresses of it."""
        for ip in ips:
            self._known.setdefault(ip, set()).add(name.lower().rstrip("."))

    def _look_up(self, rule: Rule) -> set[IP]:
        try:
            found = socket.getaddrinfo(rule.name, None, type=socket.SOCK_STREAM)
        except OSError:
            return set()
        families = {socket.AF_INET: "inet4", socket.AF_INET6: "inet6"}
        ips = {
            Endpoint.of(families[family], where).ip()  # type: ignore[arg-type]
            for family, _, _, _, where in found
            if family in families
        }
        self.looked_up(rule.name, ips)
        return ips

    def may_listen(self, endpoint: Endpoint) -> bool:
        """Whether the guest may be reached there."""
        return self._all or any(_within(endpoint, allowed) for allowed in self._listen)

    def demand_reach(self, endpoint: Endpoint) -> None:
        """Raises PermissionError, and tells the user."""
        if not self.may_reach(endpoint):
            self.refuse(f"connecting to {endpoint}", f"--net-allow {endpoint}")

    def demand_listen(self, endpoint: Endpoint) -> None:
        """Raises PermissionError, and tells the user."""
        if not self.may_listen(endpoint):
            probe = endpoint.port == _PROBE and endpoint.family == "inet4"
            self.refuse(f"listening on {endpoint}", f"--listen {endpoint}", quiet=probe)

    def demand_some(self, what: str) -> None:
        """Raises PermissionError, and tells the user, if there is nothing it may do."""
        if not self.any:
            self.refuse(what, "--net-allow HOST:PORT")

    def refuse(self, what: str, give: str, *, quiet: bool = False) -> None:
        """Raises PermissionError; says once what to give."""
        if not quiet and give not in self._told and len(self._told) < _WARNINGS_MAX:
            self._told.add(give)
            log.warning("%s is not allowed: EACCES (%s, or --net)", what, give)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _within(endpoint: Endpoint, allowed: Endpoint) -> bool:
    if endpoint.family == "unix" or allowed.family == "unix":
        return endpoint == allowed
    if allowed.port not in (0, endpoint.port):
        return False
    ip, granted = endpoint.ip(), allowed.ip()
    return ip == granted or (granted.is_unspecified and (granted.version == 6 or ip.version == 4))


def _endpoint(text: str) -> Endpoint:
    """Where to listen. Raises UsageError, also for a name that nobody knows."""
    address = Address.parse(text)
    try:
        rows = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise UsageError(f"{text} is no address to listen on: {error.strerror}") from None
    family, _, _, _, where = rows[0]
    return Endpoint.of("inet6" if family == socket.AF_INET6 else "inet4", where)
