"""Dash's threshold and the losses that are compared with it (Xu et al., 2021, section 4).

Notation: Q guessed probabilities, (U, C); t pseudo-labels, one-hot or soft, (U, C); ρ threshold, ρ̂ its start.
"""

import torch
from torch import Tensor

from cissl.algorithms.maths.mixing import sharpen


def decayed_threshold(start: Tensor, updates: Tensor, *, constant: float, gamma: float, lowest: float) -> Tensor:
    """ρ = max(C · γ^(−n) · ρ̂, ρ_min), a float64 scalar.

    Args:
        start: ρ̂, float64 scalar.
        updates: n, updates so far, int64 scalar.
        constant, gamma, lowest: C, γ and ρ_min.
    """
    return (constant * gamma ** (-updates.double()) * start).clamp_min(lowest)


def pseudo_targets(probabilities: Tensor, hard: Tensor, temperature: float) -> Tensor:
    """t, (U, C): one-hot of the most probable class, or Q^(1/T) with rows that sum to 1. Of equal classes the first is
    taken.

    Args:
        probabilities: Q, (U, C).
        hard: whether the targets are one-hot, bool scalar.
        temperature: T.
    """
    classes = torch.arange(probabilities.shape[1], device=probabilities.device)
    one_hot = (probabilities.argmax(1)[:, None] == classes).to(probabilities.dtype)
    return torch.where(hard, one_hot, sharpen(probabilities, temperature))


def row_losses(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row of Q against its own pseudo-label, (U,).

    Args:
        probabilities: Q, (U, C).
        targets: t, (U, C).
    """
    smallest = torch.finfo(probabilities.dtype).tiny
    return -(targets * probabilities.clamp_min(smallest).log()).sum(1)
