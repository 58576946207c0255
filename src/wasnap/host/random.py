"""Where the guest's randomness comes from: the system, or a seed so that a run repeats exactly."""

from __future__ import annotations

import os
from typing import Protocol

import msgspec

_CHUNK = 1 << 20
"""Bytes made at a time: a guest may ask for all of its memory."""


class RandomState(msgspec.Struct, frozen=True):
    """A seeded source: its seed, and how many requests it has answered."""

    seed: bytes
    counter: int


class Random(Protocol):
    """A source of random bytes."""

    def fill(self, view: memoryview) -> None:
        """Fill all of ``view`` (format "B")."""

    def capture(self) -> RandomState | None:
        """None: there is nothing to save."""


class SystemRandom:
    """The system's, fit for keys."""

    def fill(self, view: memoryview) -> None:
        if len(view) <= _CHUNK:
            view[:] = os.urandom(len(view))
            return
        for i in range(0, len(view), _CHUNK):
            part = view[i : i + _CHUNK]
            part[:] = os.urandom(len(part))

    def capture(self) -> None:
        return None


class SeededRandom:
    """SHAKE-128 of the seed and a counter: the n-th chunk is the same in every run."""

    def __init__(self, seed: bytes, counter: int = 0) -> None:
        self._seed = seed
        self._counter = counter

    def fill(self, view: memoryview) -> None:
        import hashlib  # 3 ms, for its library of ciphers

        for i in range(0, len(view), _CHUNK):
            part = view[i : i + _CHUNK]
            shake = hashlib.shake_128(self._seed + self._counter.to_bytes(8, "little"))
            part[:] = shake.digest(len(part))
            self._counter += 1

    def capture(self) -> RandomState:
        return RandomState(self._seed, self._counter)

    @classmethod
    def restore(cls, state: RandomState) -> SeededRandom:
        """A source that goes on from ``state``."""
        return cls(state.seed, state.counter)
