"""How frequent the classes are among unlabeled images, by a classifier's confusions (Kim et al., 2020; `--est`).

Notation: C classes; K (C, C) soft confusions, K[:, j] = mean probabilities on validation images of class j; v = Σ
probabilities of the unlabeled images; if the images of a class look alike in both sets, v = K q, so q = K⁻¹ v.
"""

import torch
from torch import Tensor


def confusions(probabilities: Tensor, labels: Tensor) -> Tensor:
    """K, (C, C) float64; columns sum to 1, and are NaN for a class without images.

    Args:
        probabilities: of validation images, (n, C).
        labels: their classes, (n,) int64.
    """
    classes = torch.arange(probabilities.shape[1], device=labels.device)
    sums = probabilities.double().T @ (labels[:, None] == classes).double()
    return sums / sums.sum(0)


def estimated_counts(confusion: Tensor, unlabeled: Tensor) -> Tensor:
    """q, (C,) float64, sum N; an entry may be negative where the classifier is a poor one.

    Args:
        confusion: K, (C, C).
        unlabeled: probabilities of the unlabeled images, (N, C).
    """
    counts: Tensor = torch.linalg.solve(confusion, unlabeled.double().sum(0))
    return counts
