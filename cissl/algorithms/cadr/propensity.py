"""Class-Aware Propensity, CAP (paper, section 3.1): weigh labeled rows by the inverse propensity of their class.

Notation: P = softmax(weak logits), (U, C); p̂ = running class prior, (C,); u = upper clip;
b = clip(p̂ · pinv(P), 0, u), (U,), a constant; π = b · P, (C,), through which the gradient reaches the weak logits;
ω_i = B · (1/π[y_i]) / Σ_j (1/π[y_j]), the weight of labeled row i; its mean over the batch is 1.
"""

import math

import torch
from torch import Tensor

from cissl.algorithms.cadr.pseudo_inverse import by_eigenvalues, by_products


def solve_prior(probabilities: Tensor, class_prior: Tensor, *, compiled: bool = False) -> Tensor:
    """p̂ · pinv(P): the least-norm row weights (U,) under which the rows of P average to p̂.

    Singular values of P at or below 10 · max(U, C) · ε_float32 times the largest are dropped, whatever the dtype, as
    the reference does; see `cissl.algorithms.cadr.pseudo_inverse`.

    Args:
        probabilities: P, (U, C), floating; no gradient flows through it.
        class_prior: p̂, (C,).
        compiled: whether in the form that a compiled step needs: equal within rounding, and without waiting for a GPU.
    """
    solve = by_products if compiled else by_eigenvalues
    return solve(class_prior.double(), probabilities.detach().double()).to(probabilities.dtype)


def propensity(
    weak_probabilities: Tensor, class_prior: Tensor, *, upper: float, cap_ema: bool = True, compiled: bool = False
) -> Tensor:
    """π, the propensity of each class, (C,); not normalised, may exceed 1.

    Args:
        weak_probabilities: P, (U, C); receives gradient.
        class_prior: p̂ before this step's update, (C,).
        upper: u, the largest weight of an unlabeled row.
        cap_ema: False takes the batch's own mean of P instead and ignores the prior.
        compiled: see `solve_prior`.
    """
    if not cap_ema:
        return weak_probabilities.mean(0)
    weights = solve_prior(weak_probabilities, class_prior, compiled=compiled)
    return weights.clamp(0, upper) @ weak_probabilities


def log_row_weights(class_propensity: Tensor, classes: Tensor) -> Tensor:
    """log ω for rows of the given classes, (B,).

    A class that no weak row gives any probability has π = 0; the reference's loss is NaN then. π is held at the
    smallest normal number, which changes no other value, and the sum is taken in logs so that it cannot overflow.

    Args:
        class_propensity: π, (C,).
        classes: class of each row, (B,) int64.
    """
    smallest = torch.finfo(class_propensity.dtype).tiny
    log_inverse = -class_propensity.clamp_min(smallest).log()[classes]
    return math.log(len(classes)) + log_inverse - log_inverse.logsumexp(0)
