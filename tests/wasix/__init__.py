"""Guests that import ``wasix_32v1``."""
