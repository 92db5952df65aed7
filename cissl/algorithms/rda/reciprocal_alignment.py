"""Reciprocal alignment: each head's predictions follow the complement of the other's (Duan et al., 2022, section 3).

Notation: p and r probabilities of the main and of the reverse head, (U, C); D and R their means over each of the latest
N batches, ones where there was none yet, (N, C); tot(v) = v / sum of all entries.
"""

from torch import Tensor

from cissl.algorithms.maths.alignment import normalised


def total_normalised(values: Tensor) -> Tensor:
    """tot(v): all entries together sum to 1; of the same shape."""
    return values / values.sum()


def complement(means: Tensor) -> Tensor:
    """Column means (C,) of tot(1 − D); a batch that there was not yet gives 0.

    Args:
        means: D or R, (N, C).
    """
    return total_normalised(1 - means).mean(0)


def reciprocal(probabilities: Tensor, own: Tensor, other: Tensor, *, by_row: bool = False) -> Tensor:
    """tot(p · mean(tot(1 − R)) / mean(D)), (U, C); the rows sum to about 1 / U each.

    Args:
        probabilities: p, (U, C).
        own: D, the same head's means, (N, C).
        other: R, the other head's, (N, C).
        by_row: every row sums to 1 instead.
    """
    aligned = probabilities * (complement(other) / own.mean(0))
    return normalised(aligned) if by_row else total_normalised(aligned)
