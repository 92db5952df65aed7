"""An estimate of the class shares among unlabeled images from a classifier's confusions (Kim et al., 2020; ``--est``).

Notation: C classes; K (C, C) soft confusions, where K[:, j] are the mean probabilities on validation images of class j;
v sum of the probabilities of the unlabeled images. If the images of a class look alike in both sets, v = K q, so
q = K⁻¹ v.
"""

import torch
from torch import Tensor


def confusions(probabilities: Tensor, labels: Tensor) -> Tensor:
    """K, (C, C) float64. Its columns sum to 1. The column of a class without images is NaN.

    Args:
        probabilities: of the validation images, (n, C).
        labels: their classes, (n,) int64.
    """
    classes = torch.arange(probabilities.shape[1], device=labels.device)
    sums = probabilities.double().T @ (labels[:, None] == classes).double()
    return sums / sums.sum(0)


def estimated_counts(confusion: Tensor, unlabeled: Tensor) -> Tensor:
    """q, (C,) float64 of sum N. Entries can be negative if the classifier is poor.

    Args:
        confusion: K, (C, C).
        unlabeled: probabilities of the unlabeled images, (N, C).

    Raises:
        RuntimeError: K has no inverse.
    """
    counts: Tensor = torch.linalg.solve(confusion, unlabeled.double().sum(0))
    return counts
