"""Benches: each answers one question of docs/figures, with both sides measured in one run."""
