"""Groups of subcommands that are imported one by one, when they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click


class Lazy(click.Group):
    """Knows its subcommands by name. ``commands``: name -> one line of help; the command is what
    has that name in the module of that name in ``room``.
    """

    def __init__(self, *args: Any, room: str, commands: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._room = room
        self._known = commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._known:
            return None
        name = cmd_name.replace("-", "_")
        if iskeyword(name):
            name += "_"
        command: click.Command = getattr(import_module(f"{self._room}.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._known.items()))
