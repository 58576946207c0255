"""Guests with threads: in text, and in Zig (guests.zig)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import guests
import wasmtime

from wasnap.engine import BufferExtent, Cache, Guest, MemoryImage, Program
from wasnap.host import Host, HostConfig
from wasnap.host.protocol import HostFunction

NO_CACHE = Cache(None)

HEAD = """
  (import "env" "memory" (memory 1 4 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
"""

ZIG: Mapping[str, tuple[str, str]] = {
    "pipeline": ("300 3", "6000 3"),
    "barrier": ("60 4", "1200 4"),
    "sort": ("32 3", "256 4"),
    "park": ("100 4", "1500 5"),
    "count": ("3000 4", "300000 4"),
    "churn": ("40 8", "240 8"),
    "grow": ("10 4", "60 4"),
    "sleep": ("5 4", "60 4"),
}
"""What guests.zig does, with arguments for a short and a longer run."""


def wasm(text: str) -> bytes:
    """The module of a text."""
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def zig() -> Path:
    """guests.zig, compiled."""
    return guests.zig_threads(Path(__file__).with_name("guests.zig"))


@dataclass
class World:
    """A guest, a host, and host functions of a test's own (imported from ``h``)."""

    text: str
    own: dict[str, HostFunction] = field(default_factory=dict)
    counted: bool = False

    def __post_init__(self) -> None:
        self.program = Program.load(wasm(self.text), counted=self.counted, cache=NO_CACHE)
        self.host = Host(HostConfig(stdin=None, stdout=None, stderr=None))
        self.guest = self.new()

    def new(self) -> Guest:
        provide = self.host.provider(self.program.info.imports)
        return Guest(
            self.program, lambda m, name: self.own.get(name) if m == "h" else provide(m, name)
        )

    def again(self) -> None:
        """The stopped guest and its host, captured, and restored into new ones."""
        state, host = self.guest.capture(), self.host.capture()
        images = [
            MemoryImage(m.size, [BufferExtent(0, m.read(0, m.size))]) for m in self.guest.memories
        ]
        self.close()
        self.host = Host(HostConfig(stdin=None, stdout=None, stderr=None))
        self.host.restore(host)
        self.guest = self.new()
        self.guest.restore(state, images)

    def close(self) -> None:
        assert self.guest.close()
        self.host.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()
