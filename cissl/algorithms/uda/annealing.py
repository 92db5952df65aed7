"""UDA's losses (Xie et al., 2020, sections 2 and 3.2), as in FixMatch's authors' program.

Notation: B labeled rows, U unlabeled ones, C classes; t targets, sharpened weak probabilities, (U, C); η largest
probability of the true class with which a labeled row counts; r share of the annealing that is over.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 2**14  # kimg: the annealing of a longer training is not longer


def annealed_threshold(schedule: str, images: float, train_kimg: float, position: int, classes: int) -> float:
    """η = c · (1 − 1/C) + 1/C with c = 1, r, exp(5 (r − 1)) or 1 − exp(−5 r). It is at most 1.

    Args:
        schedule: ``"no"``, ``"linear"``, ``"exp"`` or ``"log"``.
        images: labeled images before this step.
        train_kimg: length of the training, in 1024 labeled images.
        position: log2 of the images that the annealing takes for each 1024 images of the training.
        classes: C.
    """
    r: float = images / (min(train_kimg, LONGEST) * 2**position)
    c = {"no": 1.0, "linear": r, "exp": math.exp(5 * min(r - 1, 0)), "log": 1 - math.exp(-5 * r)}[schedule]
    return 1 - (1 - min(c, 1)) * (1 - 1 / classes)  # written so that c = 1 gives exactly 1


def annealed_loss(
    labeled: Tensor, targets: Tensor, threshold: float, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over the rows that count, whose true class has a probability of at most η. Without such rows
    0.

    Args:
        labeled: logits (B, C).
        targets: true classes, (B,) int64.
        threshold: η.
        weights: weight of each row, (B,); by default 1.

    Returns:
        The loss, scalar, and whether a row counts, (B,) bool.
    """
    true_class = labeled.detach().softmax(1).gather(1, targets[:, None]).squeeze(1)
    kept = true_class <= threshold
    rows = F.cross_entropy(labeled, targets, reduction="none")
    if weights is not None:
        rows = weights * rows
    return (rows * kept).sum() / kept.sum().clamp_min(1), kept


def divergence(strong: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted KL(t ‖ softmax(strong)), scalar. The mean is over all rows.

    Args:
        strong: logits of the strong views, (U, C).
        targets: t, (U, C), without gradient.
        weights: weight of each row, (U,) bool or float.
    """
    rows = F.kl_div(strong.log_softmax(1), targets, reduction="none").sum(1)
    return torch.mean(rows * weights)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of softmax(logits) over the rows (U, C), scalar with gradient."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1).mean()
