"""CoSSL's enhancement of rare classes (Fan et al., 2022, section 3.2): their features are mixed with those of others.

Notation: n labeled images, n_c of class c, n_max of the largest class; N unlabeled images; C classes; D features.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import Draws, class_counts

BETA = 0.75  # parameter of the Beta distribution of shares, in the second head's first training


def imprinted(features: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Weights (C, D) of a head without bias: the mean feature of each class, scaled to length 1. A class without an
    image has zeros.

    Args:
        features: features of the labeled images, (n, D).
        targets: their classes, (n,) int64.
        classes: C.
    """
    sums = features.new_zeros(classes, features.shape[1]).index_add(0, targets, features)
    return F.normalize(sums / class_counts(targets, classes).clamp_min(1)[:, None], dim=1)


def balanced_set(
    labeled: Tensor, targets: Tensor, unlabeled: Tensor, probabilities: Tensor, partners: Draws, shares: Draws
) -> tuple[Tensor, Tensor]:
    """Features with classes, n_max rows of each class: the labeled ones in their order, then new ones class by class.

    A new row mixes a random labeled row of its class with an image that is not labeled as this class. The partners are
    the images that the classifier finds most similar to the class. If there are too few partners, fewer rows are made.
    A class without a labeled image gets no row.

    Args:
        labeled: features of the labeled images, (n, D).
        targets: their classes, (n,) int64.
        unlabeled: features of the unlabeled images, (N, D).
        probabilities: of the labeled images, then of the unlabeled ones, (n + N, C).
        partners: random numbers that choose a labeled image of a class.
        shares: random numbers for the share of the labeled image, Beta(0.75, 0.75).

    Returns:
        (rows, D) and (rows,) int64.
    """
    n, C = len(targets), probabilities.shape[1]
    counts = class_counts(targets, C).tolist()
    everything = torch.cat([labeled, unlabeled])
    by_class = targets.argsort(stable=True)
    no_label = torch.arange(n, len(everything), device=targets.device)
    features, classes = [labeled], [targets]
    for c, count in enumerate(counts):
        others = torch.cat([by_class[targets[by_class] != c], no_label])
        wanted = min(max(counts) - count, len(others)) if count else 0
        if not wanted:
            continue
        order = probabilities[others, c].argsort(descending=True, stable=True)  # of equal rows the first comes first
        resembling = everything[others[order[:wanted]]]
        own = labeled[targets == c][partners.integers(count, wanted)]
        features.append(mixed(own, resembling, shares.beta(BETA, BETA, wanted)))
        classes.append(targets.new_full((wanted,), c))
    return torch.cat(features), torch.cat(classes)


def mixed(rows: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """λ · rows + (1 − λ) · others, (n, D), where λ is `shares`, (n,)."""
    shares = shares.to(rows.dtype)[:, None]
    return shares * rows + (1 - shares) * others


def mix_chances(labeled_counts: Tensor) -> Tensor:
    """(n_max − n_c) / n_max, the probability that an image of class c is mixed, (C,) float64.

    Args:
        labeled_counts: n_c, (C,), not all 0.
    """
    counts = labeled_counts.double()
    return (counts.max() - counts) / counts.max()


def row_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(1/C) / n_y for each labeled image, the probability that it is drawn for a balanced batch; (n,) float64.

    Args:
        labels: y, (n,) int64.
        classes: C.
    """
    chances: np.ndarray = 1 / classes / np.bincount(labels)[labels]
    return chances
