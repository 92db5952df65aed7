"""Malformed and unusual input of every kind that the project reads, by seed: ``python -m tests.fuzz --cases N``.

A case is a command called within this process, with input that a seed has made odd. It is held to: an exit code that
is documented, no traceback, an end within some seconds, nothing of the input lost and, where it is refused, words that
name the culprit.
"""
