"""The methods of the package, for tests that try them all."""

from cissl.testing.pairs import ADD_ONS, BASES, with_base

METHODS = [*BASES, *map(with_base, ADD_ONS), "cadr"]
