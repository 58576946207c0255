"""The kinds of descriptors by what a snapshot calls them, each imported when there is one.

Most programs have nothing but the standard streams, and a small one's resume is mostly imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import msgspec

SAME: Final = "same"
IN_HOST_DIRECTORIES: Final = ("file", "directory")
OWN_SOCKETS: Final = ("socket", "pair")

_KINDS: Final = {
    "stream": ("stream", "StreamState", "Stream"),
    "device": ("stream", "DeviceState", "Device"),
    "file": ("file", "FileState", "HostFile"),
    "directory": ("directory", "DirectoryState", "HostDirectory"),
    "tree-file": ("tree.descriptors", "TreeFileState", "TreeFile"),
    "tree-directory": ("tree.descriptors", "TreeDirectoryState", "TreeDirectory"),
    "listener": ("socket", "ListenerState", "Listener"),
    "connection": ("socket", "ConnectionState", "Connection"),
    "socket": ("net.socket", "SocketState", "Socket"),
    "pair": ("net.pair", "PairState", "PairEnd"),
    "event": ("event", "EventState", "Event"),
    "epoll": ("epoll", "EpollState", "Epoll"),
    "pipe": ("pipe", "PipeState", "PipeEnd"),
    SAME: ("descriptors", "SameState", ""),
}
"""Tag of the state -> file, state, class."""


def state_of(plain: Any) -> Any:
    """A descriptor's state from plain data. Raises ValidationError."""
    tag = plain.get("type") if isinstance(plain, dict) else None
    if tag not in _KINDS:
        raise msgspec.ValidationError(f"there is no kind of descriptor {tag!r}")
    file, state, _ = _KINDS[tag]
    return msgspec.convert(plain, getattr(_file(file), state))


def kind_of(state: Any) -> Any:
    """The class that restores it."""
    file, _, kind = _KINDS[tag_of(state)]
    return getattr(_file(file), kind)


def tag_of(state: Any) -> str:
    """What a snapshot calls its kind."""
    tag: str = state.__struct_config__.tag
    return tag


def _file(name: str) -> Any:
    return import_module(f"{__package__}.{name}")
