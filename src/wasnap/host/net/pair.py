"""Two sockets that are connected with each other (``sock_pair``), and nobody else has.

All of it is in a snapshot: both ends, what was sent and not received, what was shut down. An end
that the guest has closed is closed in the resumed process, too. What had been sent is ``held`` by the
end that is to receive it, and read first.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from typing import cast

import msgspec

from ..descriptors import Missing, Scene
from .endpoint import KERNELS, Endpoint, Family
from .network import Network
from .socket import CONNECTED, KINDS, Received, Socket

_numbers = itertools.count(1)


class PairState(msgspec.Struct, frozen=True, tag="pair"):
    """One end. ``pair``: the same number for both ends of one; ``first``: which end. The rest as in
    ``SocketState``."""

    number: int
    pair: int
    first: bool
    family: Family
    kind: str
    fdflags: int
    rights: int
    inheriting: int
    options: dict[str, int] = {}
    timeouts: dict[str, int] = {}
    shut: int = 0
    received: list[Received] = []


class PairEnd(Socket):
    """One end. ``family``: what the guest asked for."""

    __slots__ = ("first", "pair")

    def __init__(
        self, sock: socket.socket, family: Family, network: Network, pair: int, *, first: bool
    ) -> None:
        super().__init__(sock, family, network)
        self.pair = pair
        self.first = first
        self.stage = CONNECTED
        self.peer = Endpoint(family)

    @property
    def reading(self) -> tuple[str, ...]:  # type: ignore[override]
        """Nobody outside has a part in it."""
        return ()

    @property
    def travels(self) -> bool:  # type: ignore[override]
        """Its content is in the snapshot."""
        return False

    def freeze(self) -> None:
        """Its content is in the snapshot."""

    def local_name(self) -> Endpoint:
        """It has none."""
        return Endpoint(self.family)

    def _sender(self, name: object) -> Endpoint | None:
        return self.peer

    def capture(self, number: int, scene: Scene) -> PairState:  # type: ignore[override]
        """With what was sent to it, which stays where it is."""
        return PairState(
            number=number,
            pair=self.pair,
            first=self.first,
            family=self.family,
            kind=self.kind,
            fdflags=self.fdflags,
            rights=self.rights,
            inheriting=self.inheriting,
            options=dict(self.options),
            timeouts=dict(self.timeouts),
            shut=self.shut,
            received=[*self.held, *self._received()],
        )

    @classmethod
    def restore(cls, state: PairState, scene: Scene) -> PairEnd:  # type: ignore[override]
        """This end of a new pair, or of the one that the other end made. Raises Missing."""
        assert scene.network is not None
        ends = scene.pairs.get(state.pair)
        if ends is None:
            try:
                ends = scene.pairs[state.pair] = dict(
                    enumerate(new(state.family, state.kind, scene.network))
                )
            except OSError as error:
                raise Missing(f"a pair of sockets: {error.strerror}") from None
        if int(not state.first) not in ends:
            raise Missing("a pair of sockets has an end twice")
        end = cast("PairEnd", ends.pop(int(not state.first)))
        end.fdflags, end.rights, end.inheriting = state.fdflags, state.rights, state.inheriting
        end.held = list(state.received)
        return end

    def rewind(self, state: PairState) -> None:  # type: ignore[override]
        """Its options, and what was shut down."""
        with contextlib.suppress(OSError):
            for name, value in state.options.items():
                self.set_option(name, value)
        self.timeouts = dict(state.timeouts)
        if state.shut:
            self.shutdown({1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}[state.shut])


def new(family: Family, kind: str, network: Network) -> tuple[PairEnd, PairEnd]:
    """Both ends. Raises OSError."""
    one, two = socket.socketpair(KERNELS["unix"], KINDS[kind])
    number = next(_numbers)
    return (
        PairEnd(one, family, network, number, first=True),
        PairEnd(two, family, network, number, first=False),
    )
