"""The methods: FixMatch and the paper's three additions, as pure functions of tensors."""

from cissl.algorithms.names import ALGORITHMS, Algorithm, parse_algorithm

__all__ = ["ALGORITHMS", "Algorithm", "parse_algorithm"]
