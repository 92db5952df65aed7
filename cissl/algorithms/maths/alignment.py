"""Distribution alignment: predictions are scaled so that their mean follows a target (Berthelot et al., 2020, 3.1).

Notation: P probabilities, (U, C); p target and p_m running mean of P, (C,) each.
"""

from torch import Tensor

SMALL = 1e-6


def aligned(probabilities: Tensor, target: Tensor, mean: Tensor) -> Tensor:
    """P · (p + 1e-6) / (p_m + 1e-6) with rows that sum to 1, (U, C).

    Args:
        probabilities: P, (U, C).
        target, mean: (C,), of sum 1.
    """
    return normalised(probabilities * (target + SMALL) / (mean + SMALL))


def normalised(weights: Tensor) -> Tensor:
    """Weights (…, C), scaled so that each row sums to 1."""
    return weights / weights.sum(-1, keepdim=True)
