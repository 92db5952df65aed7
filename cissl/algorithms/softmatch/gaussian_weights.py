"""SoftMatch's weights: a Gaussian that is cut off at its mean (Chen et al., 2023, section 3).

Notation: c confidences, the largest aligned probability of each row, (U,); k its class, (U,); μ, v running mean and
variance of the confidences, scalars or (C,).
"""

import torch
from torch import Tensor


def moments(confidences: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of the confidences (U,), U ≥ 2; scalars."""
    variance, mean = torch.var_mean(confidences, correction=1)
    return mean, variance


def class_moments(confidences: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the rows of each class, (count,) each. A class with fewer than two rows has mean 0 and
    variance 1.

    Args:
        confidences: c, (U,).
        classes: k, (U,) int64.
        count: C.
    """
    member = (classes[:, None] == torch.arange(count, device=classes.device)).to(confidences.dtype)
    rows = member.sum(0)
    mean = confidences @ member / rows.clamp_min(1)
    squares = (confidences - mean[classes]).square() @ member
    several = rows >= 2
    return torch.where(several, mean, 0), torch.where(several, squares / (rows - 1).clamp_min(1), 1)


def row_weights(confidences: Tensor, mean: Tensor, variance: Tensor, n_sigma: float) -> Tensor:
    """λ = exp(−min(c − μ, 0)² / (2 v / n_sigma²)), (U,). It is 1 for confidences at or above the mean.

    Args:
        confidences: c, (U,).
        mean, variance: μ and v, scalars or (U,) with one value for each row.
        n_sigma: its square divides the variance.
    """
    smallest = torch.finfo(confidences.dtype).tiny  # with it equal confidences have weight 1 even if v is 0
    spread = (2 * variance / n_sigma**2).clamp_min(smallest)
    return torch.exp(-(confidences - mean).clamp_max(0).square() / spread)
