"""FixMatch's unlabeled loss (Sohn et al., 2020, equation 4).

Notation: U = μB unlabeled rows, C classes; P = softmax(weak logits); τ confidence.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def confidence_mask(probabilities: Tensor, confidence: float) -> Tensor:
    """Which rows of P (U, C) give a pseudo-label: max P >= τ, not strict. Returns bool (U,)."""
    return probabilities.amax(1) >= confidence


def unlabeled_loss(strong: Tensor, pseudo_labels: Tensor, mask: Tensor) -> Tensor:
    """Masked cross-entropy of the strong logits (U, C), averaged over all U rows and not over the kept ones.

    Args:
        strong: logits of the strong views, (U, C).
        pseudo_labels: argmax of P, (U,) int64.
        mask: pseudo-labels kept, bool (U,), or how much each counts, float (U,).
    """
    return torch.mean(F.cross_entropy(strong, pseudo_labels, reduction="none") * mask)


def update_class_prior(class_prior: Tensor, weak_probabilities: Tensor, momentum: float) -> Tensor:
    """p̂' = m · p̂ + (1 − m) · mean of P's rows, masked or not; (C,), without gradient."""
    return momentum * class_prior + (1 - momentum) * weak_probabilities.detach().mean(0)


def soft_unlabeled_loss(strong: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of the strong logits (U, C) against rows of probabilities, averaged over all U rows.

    Args:
        strong: logits of the strong views, (U, C).
        targets: (U, C), constants.
        weights: of each row, (U,) bool or float.
    """
    return torch.mean(-(targets * strong.log_softmax(1)).sum(1) * weights)
