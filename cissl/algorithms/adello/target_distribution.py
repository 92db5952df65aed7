"""ADELLO's target distribution, the adjustments towards it, and its temperature (Sanchez Aimar et al., 2024).

Notation: π class shares of the labeled images, q running shares of the unlabeled ones, g target, (C,) each; α exponent.
The shares are float64 as in the authors' program, so logits that are adjusted by them are float64 too.
"""

import torch
from torch import Tensor

from cissl.algorithms.maths.alignment import normalised

SMALL = 1e-9


def exponent(progress: float, smallest: float, power: float) -> float:
    """α = 1 − (1 − α_min) · progress^k.

    Args:
        progress: share of the training that is over.
        smallest: α_min.
        power: k.
    """
    fallen: float = progress**power
    return 1 - (1 - smallest) * fallen


def adjustments(labeled: Tensor, unlabeled: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """log((π + ε) / (g + ε)) and log((q + ε) / (g + ε)), (C,) each, with g = q^α / Σ q^α.

    Args:
        labeled: π, (C,).
        unlabeled: q, (C,).
        alpha: α.
    """
    log_target = (normalised(unlabeled**alpha) + SMALL).log()
    return (labeled + SMALL).log() - log_target, (unlabeled + SMALL).log() - log_target


def updated_shares(shares: Tensor, probabilities: Tensor, counted: Tensor, momentum: float) -> Tensor:
    """m · q + (1 − m) · mean of the rows that count, (C,). Without such a row it is q.

    Args:
        shares: q, (C,) float64.
        probabilities: (U, C).
        counted: whether a row counts, (U,) bool.
        momentum: m.
    """
    rows = counted.sum()
    now = (probabilities * counted[:, None]).sum(0) / rows.clamp_min(1)
    return torch.where(rows > 0, momentum * shares + (1 - momentum) * now, shares)


def unevenness(shares: Tensor) -> Tensor:
    """exp KL(uniform ‖ q), scalar. It is 1 for equal shares.

    Args:
        shares: q, (C,).
    """
    return (-(shares * len(shares)).log().mean()).exp()
