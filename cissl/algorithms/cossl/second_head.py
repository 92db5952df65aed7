"""CoSSL's second head: a linear layer on fixed features, trained by Adam (Kingma and Ba, 2015).

Notation: C classes; D features; g gradient. The last column of a (C, D + 1) tensor belongs to the bias.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import Draws

BETAS, SMALL = (0.9, 0.999), 1e-8


class Head(NamedTuple):
    """A head in training. All tensors are (C, D + 1).

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
    """Logits (n, C) of features (n, D) by weights (C, D + 1)."""
    return F.linear(features, weights[:, :-1], weights[:, -1])


def fresh(weights: Tensor, average: Tensor | None = None) -> Head:
    """A head with these weights (C, D + 1) and with Adam's averages at 0. By default the moving average equals the
    weights.
    """
    nothing = torch.zeros_like(weights)
    return Head(weights, weights if average is None else average, nothing, nothing)


def stepped(
    head: Head, features: Tensor, targets: Tensor, *, number: int, lr: float, weight_decay: float, decay: float
) -> tuple[Head, Tensor]:
    """Update the head by Adam on the mean cross-entropy of some rows. Returns the new head and this loss, a scalar.

    Args:
        head: the head before the update.
        features: (n, D), without gradient.
        targets: classes of the rows, (n,) int64.
        number: updates made before this one.
        lr: learning rate.
        weight_decay: factor of the weights that are added to g. The bias has no decay.
        decay: decay of the moving average.
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
    """Torch's initial weights of a linear layer, uniform within ±1/√D, for the bias too; (C, D + 1)."""
    return (2 * draws.uniform(classes, width + 1) - 1) / math.sqrt(width)


def trained(
    head: Head, features: Tensor, targets: Tensor, order: Draws, *, steps: int, batch: int, **settings: float
) -> Head:
    """Train the head for some steps on shuffled rows. After the last row they are shuffled again.

    Args:
        head: the head before the training.
        features: (rows, D).
        targets: classes of the rows, (rows,) int64.
        order: random numbers that shuffle the rows.
        steps, batch: number of updates, and rows of each update.
        settings: ``lr``, ``weight_decay`` and ``decay``, see `stepped`.
    """
    rounds = math.ceil(steps * batch / len(targets))
    rows = torch.cat([order.permutation(len(targets)) for _ in range(rounds)]) if rounds else targets[:0]
    for number, chosen in enumerate(torch.split(rows[: steps * batch], batch)):
        head, _ = stepped(head, features[chosen], targets[chosen], number=number, **settings)
    return head
