"""Class weights from class counts (Lai et al., 2022).

Notation: C classes; k images of each class; m = Σ k / C, mean count; k' = k with zeros replaced by 1; a the constant of
the scheme; v weights before they are normalised.
"""

import torch
from torch import Tensor


def class_weights(counts: Tensor, scheme: str, constant: float, normalize: float) -> Tensor:
    """w = normalize · C · v / Σ v, or v if normalize is 0; (C,) float64.

    The scheme gives v. ``effective``: (1 − β) / (1 − β^k') with β = a, or (m − 1)/m if a is 1. ``power``: (Σ k / k')^a.
    ``minority``: (k / max(min k, 1))^(1/a). ``total``: a · k / Σ k + 1.

    Args:
        counts: k, (C,), not all 0.
        scheme: name of the scheme.
        constant: a.
        normalize: mean of the weights, or 0.
    """
    k = counts.double()
    present = torch.where(k > 0, k, 1.0)
    if scheme == "effective":
        mean = k.mean()
        beta = ((mean - 1) / mean).clamp_min(0) if constant == 1 else torch.full_like(mean, constant)
        v = (1 - beta) / (1 - beta**present)
    elif scheme == "power":
        v = (k.sum() / present) ** constant
    elif scheme == "minority":
        v = (k / k.min().clamp_min(1)) ** (1 / constant)
    else:
        v = constant * k / k.sum() + 1
    return normalize * len(v) * v / v.sum() if normalize else v


def predicted_counts(table: Tensor) -> Tensor:
    """Number of rows of a table (N, C) whose largest entry is in each column, (C,) int64. Of equal entries the first
    counts.
    """
    predicted = table.max(1).indices
    return torch.zeros_like(table[0], dtype=torch.int64).scatter_add(0, predicted, torch.ones_like(predicted))
