"""Logit adjustment: a class prior is added to logits, or divided out of predictions (Menon et al., 2021)."""

from torch import Tensor

SMALL = 1e-12


def log_adjustment(shares: Tensor, strength: float | Tensor) -> Tensor:
    """log(π^τ + 1e-12), elementwise: what is added to logits; about −27.6 for a class without a share.

    Args:
        shares: π, of classes, (C,) float.
        strength: τ.
    """
    powered: Tensor = shares**strength
    return (powered + SMALL).log()
