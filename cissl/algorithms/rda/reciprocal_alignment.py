"""Reciprocal alignment: each head's predictions follow the complement of the other's (Duan et al., 2022, section 3).

Notation: p and r probabilities of the main and of the reverse head, (U, C); D and R their means in each of the latest
N batches, ones for batches that do not exist yet, (N, C); tot(v) = v / sum of all entries.
"""

from torch import Tensor

from cissl.algorithms.maths.alignment import normalised


def total_normalised(values: Tensor) -> Tensor:
    """tot(v), of the same shape: all entries together sum to 1."""
    return values / values.sum()


def complement(means: Tensor) -> Tensor:
    """Column means (C,) of tot(1 − D). A batch that does not exist yet gives 0.

    Args:
        means: D or R, (N, C).
    """
    return total_normalised(1 - means).mean(0)


def reciprocal(probabilities: Tensor, own: Tensor, other: Tensor, *, by_row: bool = False) -> Tensor:
    """tot(p · mean(tot(1 − R)) / mean(D)), (U, C). Each row sums to about 1 / U.

    Args:
        probabilities: p, (U, C).
        own: D, the means of the same head, (N, C).
        other: R, the means of the other head, (N, C).
        by_row: whether every row sums to 1 instead.
    """
    aligned = probabilities * (complement(other) / own.mean(0))
    return normalised(aligned) if by_row else total_normalised(aligned)
