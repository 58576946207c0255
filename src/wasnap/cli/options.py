"""Options that subcommands share, and how their values are read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from wasnap.cli import notices
from wasnap.errors import UsageError

if TYPE_CHECKING:
    from wasnap.host import Mapping

F = TypeVar("F", bound=Callable[..., None])

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
"""Powers of two."""


def directories(command: F) -> F:
    """``--dir``, ``--tmp`` and ``--overlay``: together they are the argument ``dirs``."""

    @functools.wraps(command)
    def with_mappings(*args: Any, tmps: tuple[str, ...], **kwargs: Any) -> None:
        overlays = kwargs.pop("overlays")
        kwargs["dirs"] = read_mappings(kwargs["dirs"], tmps, overlays)
        command(*args, **kwargs)

    given: Callable[..., None] = with_mappings
    for option in (
        click.option(
            "--overlay",
            "overlays",
            multiple=True,
            metavar="HOST[::GUEST][:ro][:size=N]",
            help="Give the guest a directory to read; what it writes is kept in the snapshots.",
        ),
        click.option(
            "--tmp",
            "tmps",
            multiple=True,
            metavar="GUEST[:size=N]",
            help="Give the guest an empty directory in memory, kept in the snapshots; of at most N "
            "bytes (1G; K, M, G and T are understood).",
        ),
        click.option(
            "--dir",
            "dirs",
            multiple=True,
            metavar="HOST[::GUEST][:ro]",
            help="Give the guest a directory, under the same name or as GUEST; :ro for reading "
            "only.",
        ),
    ):
        given = option(given)
    return cast(F, given)


def addresses(command: F) -> F:
    """``--listen``."""
    return click.option(
        "--listen",
        multiple=True,
        metavar="HOST:PORT[,nonblock]",
        help="Give the guest a socket that listens there, as descriptor 3 (4, 5 ...); "
        "LISTEN_FDS tells it how many. Port 0: any. Programs in Go need ,nonblock. A program of WASIX "
        "opens its sockets itself, and may listen there.",
    )(command)


def network(command: F) -> F:
    """``--net``, ``--net-allow`` and ``--sockets``."""
    for option in (
        click.option(
            "--sockets",
            type=click.Choice(["reset", "reconnect", "repair"]),
            default="reset",
            help="On resuming, connections of a WASIX program are seen to be reset (the default), those "
            "that it made itself are made again, to the same peer, or all are restored: this takes "
            "CAP_NET_ADMIN, and must be given to the process that is stopped, too.",
        ),
        click.option(
            "--net-allow",
            multiple=True,
            metavar="HOST:PORT",
            help="Let a WASIX program connect and send there: example.com:443, *:443, 127.0.0.1:*, "
            "10.0.0.0/8:*, [::1]:80; may be repeated.",
        ),
        click.option(
            "--net", is_flag=True, help="Let a WASIX program connect and listen anywhere."
        ),
    ):
        command = option(command)
    return command


def snapshots(command: F) -> F:
    """When snapshots are taken."""
    options = (
        click.option(
            "--snapshot-on",
            multiple=True,
            metavar="TRIGGER",
            help="timer, idle[:SECONDS], stdin, listen or nondeterministic (each also NAME:every or "
            "NAME:every:SECONDS), sigint, sigterm, sigalrm, sigtstp, sigstop or explicit; may be "
            "repeated. With a journal the default is timer, sigint and sigterm.",
        ),
        click.option(
            "--snapshot-timer",
            type=float,
            metavar="SECONDS",
            help="Between the end of one snapshot and the next one (10).",
        ),
        click.option(
            "--stop-after-snapshot",
            is_flag=True,
            help="End after a snapshot, with exit code 0 (130 and 143 for sigint and sigterm).",
        ),
        click.option(
            "--durability",
            type=click.Choice(["system", "process"]),
            default="system",
            help="What a snapshot survives: loss of power, or only any death of the process (system).",
        ),
        click.option(
            "--label",
            default="",
            metavar="NAME",
            help="A name for the snapshots taken now: --at NAME is then the newest of them.",
        ),
        click.option(
            "--after-snapshot",
            metavar="COMMAND",
            help="A shell command to run after each, with WASNAP_SNAPSHOT and WASNAP_JOURNAL set.",
        ),
        click.option(
            "--grace",
            type=float,
            metavar="SECONDS",
            help="SIGINT and SIGTERM end it after so long, whether or not their snapshot is there.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def files(command: F) -> F:
    """``--files``."""
    return click.option(
        "--files",
        type=click.Choice(["rewind", "keep", "fail"]),
        help="On resuming, its own changes to files since the snapshot are undone, and it is refused "
        "if others changed them. rewind: leave alone what others changed; keep: leave all files as "
        "they are; fail: refuse if anything changed.",
    )(command)


def messages(command: F) -> F:
    """``--quiet``, ``--verbose`` and ``--log-format``; they are read before all others."""

    def chosen(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        ctx.meta[f"wasnap.{parameter.name}"] = value  # the last of the three decides
        notices.set_up(
            quiet=ctx.meta.get("wasnap.quiet", False),
            verbose=ctx.meta.get("wasnap.verbose", False),
            format=ctx.meta.get("wasnap.log_format", "text"),
        )

    common: dict[str, Any] = {"expose_value": False, "is_eager": True, "callback": chosen}
    kinds = click.Choice(notices.FORMATS)
    for option in (
        click.option(
            "--log-format",
            type=kinds,
            default="text",
            help="How messages are written to stderr; json: an object a line.",
            **common,
        ),
        click.option("-v", "--verbose", is_flag=True, help="Tell of every snapshot.", **common),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            help="Say nothing but the error that ends it.",
            **common,
        ),
    ):
        command = option(command)
    return command


def read_mappings(
    dirs: Iterable[str], tmps: Iterable[str], overlays: Iterable[str]
) -> dict[str, Mapping]:
    """By guest path. Raises UsageError."""
    from wasnap.host import Mapping

    found: dict[str, Mapping] = {}

    def add(mapping: Mapping) -> None:
        if mapping.guest in found:
            raise UsageError(
                f"two directories are mapped as {mapping.guest}", "give each its own name"
            )
        found[mapping.guest] = mapping

    for value in dirs:
        host, guest, readonly = _host_and_guest("--dir", value, value)
        add(Mapping(host, guest, readonly))
    for value in tmps:
        guest, size = _with_size("--tmp", value)
        if not guest or "::" in guest:
            raise UsageError(f"--tmp {value} names no directory", "write --tmp GUEST")
        add(Mapping.tmp(guest, size))
    for value in overlays:
        rest, size = _with_size("--overlay", value)
        host, guest, readonly = _host_and_guest("--overlay", value, rest)
        add(Mapping.overlay(host, guest, size, readonly=readonly))
    return found


def _host_and_guest(option: str, value: str, rest: str) -> tuple[str, str, bool]:
    """``HOST[::GUEST][:ro]``."""
    names = rest.removesuffix(":ro")
    host, separator, guest = names.partition("::")
    guest = guest if separator else host
    if not host or not guest:
        raise UsageError(
            f"{option} {value} names no directory", f"write {option} HOST[::GUEST][:ro]"
        )
    return host, guest, names != rest


def _with_size(option: str, value: str) -> tuple[str, int | None]:
    """``...[:size=N]``; bytes."""
    rest, separator, text = value.rpartition(":size=")
    if not separator:
        return value, None
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not (digits.isascii() and digits.isdigit()) or unit not in _UNITS or not int(digits):
        raise UsageError(
            f"{option} {value} has no size that can be understood", "write :size=N, as in :size=64M"
        )
    return rest, int(digits) << _UNITS[unit]


def read_env(values: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` each. Raises UsageError."""
    found = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not name or not separator:
            raise UsageError(f"--env {value} is not NAME=VALUE", f"write --env {value}=VALUE")
        found[name] = text
    return found


def read_rebinds(values: Iterable[str]) -> dict[str, str]:
    """``OLD=NEW`` each. Raises UsageError."""
    found = {}
    for value in values:
        old, separator, new = value.partition("=")
        if not old or not separator or not new:
            raise UsageError(f"--listen-rebind {value} is not OLD=NEW", "both are HOST:PORT")
        found[old] = new
    return found
