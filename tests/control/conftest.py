"""The fixtures of the commands' tests."""

from cli.conftest import SELDOM, Command, Started, cache, code_cache, run, wasnap

__all__ = ["SELDOM", "Command", "Started", "cache", "code_cache", "run", "wasnap"]
