"""Logit adjustment: a class prior is added to logits, or divided out of predictions (Menon et al., 2021)."""

from torch import Tensor

SMALL = 1e-12


def log_adjustment(shares: Tensor, strength: float | Tensor) -> Tensor:
    """log(π^τ + 1e-12) of each class, (C,), which is added to logits. A class of share 0 has about −27.6.

    Args:
        shares: π, class shares, (C,) float.
        strength: τ, a number or a scalar tensor.
    """
    powered: Tensor = shares**strength
    return (powered + SMALL).log()
