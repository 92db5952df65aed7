"""The distance of the unlabeled images' class distribution from three anchor distributions (Wei and Gan, 2023).

Notation: π class shares of the labeled images, q running shares of the unlabeled ones, (C,) each; U rows, C classes.
All tensors are float64.
"""

import torch
from torch import Tensor


def present(classes: Tensor, counted: Tensor, number: int) -> Tensor:
    """Class shares v of a batch, (number,) float64. Each class whose last row is counted has the same share; other
    classes have 0. Without such a class all shares are 0.

    Args:
        classes: predicted classes, (U,) int64.
        counted: whether a row may count, (U,) bool.
        number: C.
    """
    rows = torch.arange(len(classes), device=classes.device)
    member = classes[:, None] == torch.arange(number, device=classes.device)
    last = torch.where(member, rows[:, None], -1).amax(0)
    found = ((last >= 0) & counted[last.clamp_min(0)]).double()
    return found / found.sum().clamp_min(1)


def divergences(shares: Tensor, labeled: Tensor) -> Tensor:
    """½ KL(q‖r) + ½ KL(r‖q) for three anchors r: π, equal shares, and π in reversed order; (3,).

    The result is NaN if a class has no labeled image.

    Args:
        shares: q, (C,).
        labeled: π, (C,).
    """
    anchors = torch.stack([labeled, torch.full_like(labeled, 1 / len(labeled)), labeled.flip(0)])
    ratio = (shares / anchors).log()
    return 0.5 * (shares * ratio).sum(1) - 0.5 * (anchors * ratio).sum(1)


def strength(mean_divergences: Tensor, largest: float) -> Tensor:
    """τ = τ₁ · exp K₀ / Σ exp K, scalar. It grows with the distance of q from π.

    Args:
        mean_divergences: K, (3,).
        largest: τ₁.
    """
    return largest * mean_divergences.softmax(0)[0]
