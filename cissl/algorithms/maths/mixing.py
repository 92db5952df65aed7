"""Sharpening, mixing and interleaving, as in MixMatch (Berthelot et al., 2019) and its relatives.

Notation: n lists of B rows each, one below the other; C classes; λ mixing shares; π a permutation of the rows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def sharpen(probabilities: Tensor, temperature: float | Tensor) -> Tensor:
    """p^(1/T) with rows that sum to 1, (…, C); however small T is, the largest entries do not vanish."""
    powered = (probabilities / probabilities.amax(-1, keepdim=True)) ** (1 / temperature)
    return powered / powered.sum(-1, keepdim=True)


def mix(rows: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """max(λ, 1 − λ) · rows + the rest · others, row by row.

    Args:
        rows, others: (n, …) float.
        shares: λ, (n,), raw Beta draws.
    """
    shares = torch.maximum(shares, 1 - shares).view(-1, *[1] * (rows.ndim - 1))
    return shares * rows + (1 - shares) * others


def interleave(lists: Sequence[Tensor]) -> list[Tensor]:
    """n batches of B rows in which batch 0 holds a group of every list; applied to its own result it undoes itself.

    Every list is cut at the same places into n groups of B // n rows, the remainder in the last groups; then group j of
    list 0 changes places with group j of list j.

    Args:
        lists: n tensors (B, …).
    """
    n, B = len(lists), len(lists[0])
    sizes = [B // n + (j >= n - B % n) for j in range(n)]
    groups = [list(torch.split(rows, sizes)) for rows in lists]
    for j in range(1, n):
        groups[0][j], groups[j][j] = groups[j][j], groups[0][j]
    return [torch.cat(parts) for parts in groups]


def ramp_up(number: float, length: float) -> float:
    """min(1, number / length): a weight that rises linearly from 0 over so many steps; 1 where the length is 0."""
    return min(1.0, number / length) if length > 0 else 1.0


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, C) against rows of probabilities (n, C), scalar."""
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def brier(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows *and classes* of the squared difference between softmax(logits) and targets, scalar."""
    return (targets - logits.softmax(1)).square().mean()
