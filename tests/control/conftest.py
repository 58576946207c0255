"""The fixtures of the commands' tests."""

from cli.conftest import Command, cache, code_cache, run, wasnap

__all__ = ["Command", "cache", "code_cache", "run", "wasnap"]
