"""FixMatch's unlabeled loss (Sohn et al., 2020, equation 4).

Notation: U = μB unlabeled rows, C classes; P = softmax(weak logits); τ confidence.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def confidence_mask(probabilities: Tensor, confidence: float) -> Tensor:
    """Whether a row of P (U, C) gives a pseudo-label, max P ≥ τ; (U,) bool.

    Args:
        probabilities: P, (U, C).
        confidence: τ.
    """
    return probabilities.amax(1) >= confidence


def unlabeled_loss(strong: Tensor, pseudo_labels: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the strong logits for the rows that count, scalar. The mean is over all U rows.

    Args:
        strong: logits of the strong views, (U, C).
        pseudo_labels: argmax of P, (U,) int64.
        mask: whether a row counts, (U,) bool, or how much, (U,) float.
    """
    return torch.mean(F.cross_entropy(strong, pseudo_labels, reduction="none") * mask)


def update_class_prior(class_prior: Tensor, weak_probabilities: Tensor, momentum: float) -> Tensor:
    """p̂' = m · p̂ + (1 − m) · mean of all rows of P, (C,) without gradient.

    Args:
        class_prior: p̂, (C,).
        weak_probabilities: P, (U, C).
        momentum: m.
    """
    return momentum * class_prior + (1 - momentum) * weak_probabilities.detach().mean(0)


def soft_unlabeled_loss(strong: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of the strong logits against soft targets, scalar. The mean is over all U rows.

    Args:
        strong: logits of the strong views, (U, C).
        targets: rows of probabilities, (U, C), without gradient.
        weights: weight of each row, (U,) bool or float.
    """
    return torch.mean(-(targets * strong.log_softmax(1)).sum(1) * weights)
