"""FreeMatch's thresholds and its fairness term (Wang et al., 2023, sections 4.1 and 4.2).

Notation: P weak probabilities, (U, C); S strong ones, (n, C); τ global threshold; p running mean of P, (C,); h running
histogram of the predicted classes, (C,); g histogram of the classes that kept strong rows predict, (C,).
"""

import torch
from torch import Tensor

QUANTILE = 0.8
SMALL = 1e-12


def typical_confidence(probabilities: Tensor, *, quantile: bool) -> Tensor:
    """Mean of max P over the rows, or its 0.8 quantile with linear interpolation; scalar.

    Args:
        probabilities: P, (U, C).
        quantile: whether the result is the quantile.
    """
    largest = probabilities.amax(1)
    if not quantile:
        return largest.mean()
    # torch.quantile makes the host wait for the device
    place = QUANTILE * (len(largest) - 1)
    below = int(place)
    ordered = largest.sort().values
    return torch.lerp(ordered[below], ordered[min(below + 1, len(largest) - 1)], place - below)


def class_thresholds(threshold: Tensor, mean: Tensor) -> Tensor:
    """τ · p / max p, (C,).

    Args:
        threshold: τ, scalar.
        mean: p, (C,).
    """
    return threshold * (mean / mean.max())


def class_shares(classes: Tensor, weights: Tensor, count: int) -> Tensor:
    """Share of the rows that have each class, (count,) with the dtype of `weights`. Without a row that counts it is 0.

    Args:
        classes: (n,) int64.
        weights: 1 for each row that counts, else 0; (n,) float.
        count: C.
    """
    rows = classes[:, None] == torch.arange(count, device=classes.device)
    return weights @ rows.to(weights.dtype) / weights.sum().clamp_min(1)


def fairness_loss(strong: Tensor, kept: Tensor, mean: Tensor, histogram: Tensor) -> Tensor:
    """Σ_c a_c · log(b_c + 1e-12) with a = norm(p / h) and b = norm(mean S / g) over kept rows; 0 if no row is kept.
    Scalar.

    It is minus a cross-entropy and is added to the loss. 1/0 counts as 0. The gradient goes through S, and not through
    g, p and h.

    Args:
        strong: logits of the strong views, (n, C).
        kept: whether a row has a pseudo-label, (n,) bool.
        mean: p, (C,).
        histogram: h, (C,).
    """
    S, weights = strong.softmax(1), kept.to(strong.dtype)
    wanted = mean * inverse(histogram)
    predicted = weights @ S / weights.sum().clamp_min(1)
    predicted = predicted * inverse(class_shares(strong.argmax(1), weights, strong.shape[1]))
    a = wanted / wanted.sum()
    b = predicted / torch.where(kept.any(), predicted.sum(), 1)
    return torch.where(kept.any(), (a * (b + SMALL).log()).sum(), 0)


def inverse(values: Tensor) -> Tensor:
    """1 / x of each value, of the same shape, with 0 instead of infinity."""
    return values.reciprocal().nan_to_num(posinf=0)
