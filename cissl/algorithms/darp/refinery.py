"""DARP's refinement of the pseudo-labels of all unlabeled images towards assumed class counts (Kim et al., 2020).

Notation: N unlabeled images, C classes; P predictions, (N, C); q class counts of sum N, (C,) float32; F the filtered P,
(N, C); w_n = 1 / entropy(F_n), so confident rows have large weights. The refined M = A · X · Y (element-wise, A = F/e,
X (N, 1), Y (N, C)) solves the dual of a convex problem by coordinate ascent. X makes rows sum to 1.
Y_nc = exp(−ν_c / w_n) makes column c sum to q_c.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

SMALL = 1e-6
ITERATIONS = 30  # most iterations of the root finder


def target_counts(shares: Tensor, unlabeled: int) -> Tensor:
    """q = N · shares / Σ shares, (C,) float32.

    Args:
        shares: share of each class, (C,), of any sum above 0.
        unlabeled: N.
    """
    shares = shares.double()
    return (unlabeled * shares / shares.sum()).float()


def most_probable(table: Tensor, counts: Tensor, alpha: float) -> Tensor:
    """Whether a class keeps an image, (N, C) bool. Class c keeps the ⌊α · q_c⌋ images with the largest P_nc.

    Of images with equal P the first ones are kept.

    Args:
        table: P, (N, C).
        counts: q, (C,) float32.
        alpha: α.
    """
    kept = (alpha * counts).long()
    order = table.argsort(dim=0, descending=True, stable=True)
    place = torch.arange(len(table), device=table.device)[:, None]
    return torch.zeros_like(table, dtype=torch.bool).scatter(0, order, place < kept)


def class_scales(table: Tensor, selected: Tensor, counts: Tensor) -> Tensor:
    """Factors (C,) that scale the kept entries of column c to the sum q_c.

    Args:
        table: P, (N, C).
        selected: the result of `most_probable`, (N, C) bool.
        counts: q, (C,).
    """
    return (counts.to(table.dtype) + SMALL) / ((table * selected).sum(0) + SMALL)


def filtered(table: Tensor, counts: Tensor, alpha: float) -> Tensor:
    """F, (N, C): only the most probable images of each class, scaled to q_c. Rows sum to 1.

    Args:
        table, counts, alpha: as in `most_probable`.
    """
    selected = most_probable(table, counts, alpha)
    scaled = table * selected * class_scales(table, selected, counts) + SMALL
    return scaled / scaled.sum(1, keepdim=True)


def solve(probabilities: Tensor, counts: Tensor, *, rounds: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """The refined pseudo-labels M, (N, C), with F's dtype. Rows sum to 1; columns sum to q up to the error of the
    rounds.

    Entropies have F's dtype; all other numbers are float64.

    Args:
        probabilities: F, (N, C).
        counts: q, (C,).
        rounds: T, coordinate ascents over all X and Y.
        tolerance: see `secant_roots`. In the authors' settings it is so large that the result depends on it.

    Returns:
        M, and the number of roots that were not found, a scalar.
    """
    F, q = probabilities, counts.double()
    entropy = -(F * (F + SMALL).log()).sum(1, keepdim=True)
    inverse_weight = 1 / (1 / entropy).double()
    A = (F / math.e).double()

    nu = torch.zeros_like(q)
    Y = torch.exp(-inverse_weight).expand_as(A)  # for ν = 1, although the first search starts from 0
    unsolved = torch.zeros_like(q)
    for _ in range(rounds):
        AX = A / (A * Y).sum(1, keepdim=True)
        nu, found = secant_roots(partial(_excess, AX, inverse_weight, q), nu, tolerance)
        Y = torch.exp(-nu * inverse_weight)
        unsolved = unsolved + ~found
    M = A * Y
    return (M / M.sum(1, keepdim=True)).to(F.dtype), unsolved.sum()


def _excess(AX: Tensor, inverse_weight: Tensor, q: Tensor, nu: Tensor) -> Tensor:
    """The sum of each column of the solution with these ν, minus its count, (C,)."""
    return (AX * torch.exp(-nu * inverse_weight)).sum(0) - q


def secant_roots(function: Callable[[Tensor], Tensor], start: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Roots of C functions of one variable, each by the secant method. Every root has its own end.

    The search begins with a = start and b = a · (1 + 1e-4) ± 1e-4, the better one first. The line through both points
    gives the next point. A root is found when it moves by no more than the tolerance. The steps are those of SciPy's
    derivative-free ``newton``, and DARP uses its last iterate.

    Args:
        function: (C,) → (C,), entry by entry.
        start: (C,) float64.
        tolerance: largest last step of a root that counts as found.

    Returns:
        The roots (C,), and whether each was found within 30 steps, (C,) bool. A root that was not found is the last
        finite iterate.
    """
    a = start
    b = a * (1 + 1e-4) + torch.where(a >= 0, 1e-4, -1e-4)
    fa, fb = function(a), function(b)
    swap = fb.abs() < fa.abs()
    a, b, fa, fb = *_swapped(swap, a, b), *_swapped(swap, fa, fb)
    root, found = b, torch.zeros_like(b, dtype=torch.bool)
    for _ in range(ITERATIONS):
        c = _secant(a, fa, b, fb)
        ends = ((c - b).abs() <= tolerance) | ((fa == fb) & (a == b))
        root = torch.where(found | ~c.isfinite(), root, c)
        found = found | ends
        if found.all():
            break
        a, fa = b, fb
        b, fb = c, function(c)
    return root, found


def _secant(a: Tensor, fa: Tensor, b: Tensor, fb: Tensor) -> Tensor:
    """Where the line through (a, fa) and (b, fb) is 0, by a ratio of at most 1. If fa equals fb, the midpoint."""
    last_is_larger = fb.abs() > fa.abs()
    ratio = torch.where(last_is_larger, fa / fb, fb / fa)
    c = torch.where(last_is_larger, a - ratio * b, b - ratio * a) / (1 - ratio)
    return torch.where(fa == fb, (a + b) / 2, c)


def _swapped(swap: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(swap, b, a), torch.where(swap, a, b)
