"""Which pseudo-labeled images join the labeled set, and the weights of labeled images (Wei et al., 2021).

Notation: C classes; n_c labeled images of class c at the start; k rank of a class, 0 for the most frequent; π_k share
of the class of rank k among the labels, or in an ideal long tail, π_k ∝ γ^(−k/(C−1)); μ_c share of the images predicted
as class c that are added, with exponent 1/α; t exponent of the distribution that pseudo-labels are aligned with.
"""

import torch
from torch import Tensor

SMALL = 1e-6


def ranks(counts: Tensor) -> Tensor:
    """Rank of each class by frequency, (C,) int64. The most frequent class has rank 0; of equal classes the lower
    number comes first.
    """
    return counts.argsort(dim=0, descending=True, stable=True).argsort(dim=0)


def class_distribution(counts: Tensor, gamma: float | None = None) -> Tensor:
    """π, (C,) float64 of sum 1.

    Args:
        counts: n, (C,).
        gamma: γ of an ideal long tail with the classes in the same order. None: π are the shares of the counts.
    """
    weights = counts.double() if gamma is None else (1 / gamma) ** (ranks(counts).double() / max(len(counts) - 1, 1))
    return weights / weights.sum()


def added_shares(counts: list[int], alpha: float, gamma: float | None = None) -> list[float]:
    """μ of each class = (π_{C−1−k} / π_0)^(1/α). All images predicted as the rarest class are added, and fewer of
    others.

    Args:
        counts: n, one number for each class.
        alpha: α.
        gamma: as in `class_distribution`.
    """
    last = len(counts) - 1
    mirrored = [last - rank for rank in ranks(torch.tensor(counts)).tolist()]
    if gamma is not None:
        return [(1 / gamma) ** (place / (max(last, 1) * alpha)) for place in mirrored]
    ordered = sorted(counts, reverse=True)
    return [(ordered[place] / ordered[0]) ** (1 / alpha) for place in mirrored]


def class_lists(probabilities: Tensor, among: Tensor) -> list[Tensor]:
    """Rows predicted as each class, C tensors of int64. The most confident row comes first; of equal rows the lower
    one.

    Args:
        probabilities: (N, C).
        among: whether a row may be listed, (N,) bool.
    """
    confidence, predicted = probabilities.max(1)
    order = confidence.argsort(dim=0, descending=True, stable=True)
    order = order[among[order]]
    return [order[predicted[order] == c] for c in range(probabilities.shape[1])]


def picked(lists: list[Tensor], shares: list[float]) -> list[Tensor]:
    """The first ⌊n · μ⌋ of the n rows of each class: C tensors of int64."""
    return [rows[: int(len(rows) * share)] for rows, share in zip(lists, shares, strict=True)]


def exponent(generation: int, generations: int, last: float) -> float:
    """t of a generation. It falls from 1 in the first generation, number 0, to `last` in the last one."""
    return 1 - generation / max(generations - 1, 1) * (1 - last)


def row_weights(label_mean: Tensor, targets: Tensor) -> Tensor:
    """C · v_y / Σ v with v = 1 / (1e-6 + frequency), (B,).

    Args:
        label_mean: frequencies of the labels, (C,) of sum 1.
        targets: y, (B,) int64.
    """
    v = 1 / (SMALL + label_mean)
    return (len(v) * v / v.sum())[targets]
