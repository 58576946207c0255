"""Fixtures of the harness's tests."""

from wasnap.harness.fixture import save_anywhere

__all__ = ["save_anywhere"]
