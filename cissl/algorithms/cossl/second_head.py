"""CoSSL's second head: a linear layer on features that do not learn, trained by Adam (Kingma and Ba, 2015).

Notation: C classes; D features; g gradient. The last column of a (C, D + 1) tensor is the bias's.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import Draws

BETAS, SMALL = (0.9, 0.999), 1e-8


class Head(NamedTuple):
    """A head in training, (C, D + 1) each.

    Attributes:
        weights: H.
        average: H', moving average of H.
        first, second: Adam's averages of g and g².
    """

    weights: Tensor
    average: Tensor
    first: Tensor
    second: Tensor


def logits(weights: Tensor, features: Tensor) -> Tensor:
    """(n, C) of features (n, D)."""
    return F.linear(features, weights[:, :-1], weights[:, -1])


def fresh(weights: Tensor, average: Tensor | None = None) -> Head:
    """A head with these weights that Adam knows nothing of; by default their average is a copy."""
    nothing = torch.zeros_like(weights)
    return Head(weights, weights if average is None else average, nothing, nothing)


def stepped(
    head: Head, features: Tensor, targets: Tensor, *, number: int, lr: float, weight_decay: float, decay: float
) -> tuple[Head, Tensor]:
    """The head after an update by the mean cross-entropy of some rows, and that loss, a scalar.

    Args:
        head: before.
        features: (n, D), constants.
        targets: (n,) int64.
        number: updates before this one.
        lr: learning rate.
        weight_decay: added to g, times the weights; not for the bias.
        decay: of the average.
    """
    scores = logits(head.weights, features)
    right = targets[:, None] == torch.arange(len(head.weights), device=targets.device)
    error = (scores.softmax(1) - right.to(scores.dtype)) / len(targets)
    slope = error.T @ features + weight_decay * head.weights[:, :-1]
    g = torch.cat([slope, error.sum(0)[:, None]], 1)

    (b1, b2), t = BETAS, number + 1
    first, second = b1 * head.first + (1 - b1) * g, b2 * head.second + (1 - b2) * g.square()
    scale = second.sqrt() / math.sqrt(1 - b2**t) + SMALL
    weights = head.weights - lr / (1 - b1**t) * first / scale
    average = decay * head.average + (1 - decay) * weights
    return Head(weights, average, first, second), F.cross_entropy(scores, targets)


def initial_weights(classes: int, width: int, draws: Draws) -> Tensor:
    """torch's own start of a linear layer: uniform within ±1/√D, the bias too; (C, D + 1)."""
    return (2 * draws.uniform(classes, width + 1) - 1) / math.sqrt(width)


def trained(
    head: Head, features: Tensor, targets: Tensor, order: Draws, *, steps: int, batch: int, **settings: float
) -> Head:
    """The head after so many steps through shuffled rows, which are shuffled anew when they are at an end.

    Args:
        head: before.
        features: (rows, D).
        targets: (rows,) int64.
        order: shuffles.
        steps, batch: number of updates, and rows of each.
        settings: ``lr``, ``weight_decay`` and ``decay``, see `stepped`.
    """
    rounds = math.ceil(steps * batch / len(targets))
    rows = torch.cat([order.permutation(len(targets)) for _ in range(rounds)]) if rounds else targets[:0]
    for number, chosen in enumerate(torch.split(rows[: steps * batch], batch)):
        head, _ = stepped(head, features[chosen], targets[chosen], number=number, **settings)
    return head
