"""Sharpening, mixing and interleaving as in MixMatch (Berthelot et al., 2019) and methods that follow it.

Notation: n lists of B rows each, one below the other; C classes; T temperature; λ mixing shares.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def sharpen(probabilities: Tensor, temperature: float | Tensor) -> Tensor:
    """p^(1/T) with rows that sum to 1, (…, C). The largest entries do not vanish for any T.

    Args:
        probabilities: p, (…, C).
        temperature: T, a number or a scalar tensor.
    """
    powered = (probabilities / probabilities.amax(-1, keepdim=True)) ** (1 / temperature)
    return powered / powered.sum(-1, keepdim=True)


def mix(rows: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """max(λ, 1 − λ) · rows + min(λ, 1 − λ) · others, row by row, (n, …).

    Args:
        rows, others: (n, …) float.
        shares: λ, (n,), draws of a Beta distribution.
    """
    shares = torch.maximum(shares, 1 - shares).view(-1, *[1] * (rows.ndim - 1))
    return shares * rows + (1 - shares) * others


def interleave(lists: Sequence[Tensor]) -> list[Tensor]:
    """n batches of B rows, where batch 0 has a group of rows from every list. A second call undoes the first one.

    Every list is cut at the same places into n groups of B // n rows, and the last groups take the remainder. Then
    group j of list 0 changes places with group j of list j.

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
    """min(1, number / length): a weight that rises linearly from 0 to 1. A length of 0 gives 1.

    Args:
        number: steps made so far.
        length: steps of the ramp.
    """
    return min(1.0, number / length) if length > 0 else 1.0


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, C) against rows of probabilities (n, C), scalar."""
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def brier(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of the squared difference between softmax(logits) (n, C) and targets (n, C), over rows *and classes*;
    scalar.
    """
    return (targets - logits.softmax(1)).square().mean()
