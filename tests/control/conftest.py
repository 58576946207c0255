"""The fixtures of the commands' tests."""

from cli.conftest import Command, Started, cache, code_cache, run, wasnap

__all__ = ["Command", "Started", "cache", "code_cache", "run", "wasnap"]
