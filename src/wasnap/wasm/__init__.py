"""bytes <-> module."""
