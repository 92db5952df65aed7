"""Malformed and unusual input of every kind that the project reads, by seed: ``python -m tests.fuzz --cases N``."""
