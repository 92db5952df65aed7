"""How ABC thins a stream so that its classes become equally frequent (Lee et al., 2021, section 3.2).

Notation: n_c labeled images of class c; C classes; e/E progress of the training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def keep_rates(labeled_counts: Tensor) -> Tensor:
    """Chance k_c = min n / n_c that a row of class c is kept, (C,) float64; 1 for a class without images.

    Args:
        labeled_counts: n, (C,).
    """
    counts = labeled_counts.double()
    counts = torch.where(counts > 0, counts, torch.inf)
    return torch.where(counts < torch.inf, counts.min() / counts, 1.0)


def ramped(rates: Tensor, progress: float) -> Tensor:
    """k'_c = 1 − (e/E)(1 − k_c), (C,): unlabeled rows are all kept at first, and thinned like labeled ones at last."""
    return 1 - progress * (1 - rates)


def balanced_labeled_loss(logits: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """mean_i r_i CE over all B rows, scalar.

    Args:
        logits: the balanced head's on labeled rows, (B, C).
        targets: (B,) int64.
        kept: r, (B,) bool.
    """
    return torch.mean(F.cross_entropy(logits, targets, reduction="none") * kept)


def balanced_unlabeled_loss(strong: Tensor, soft_targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over strong views of mean_j w_j · (−Σ_c Q_jc log softmax(strong_j)_c), scalar.

    Args:
        strong: the balanced head's logits of the strong views one below the other, (views · U, C).
        soft_targets: Q, (U, C), a constant.
        weights: confident and kept, (U,) bool.
    """
    U = len(soft_targets)
    terms = -(soft_targets.repeat(len(strong) // U, 1) * strong.log_softmax(1)).sum(1)
    return (terms * weights.repeat(len(strong) // U)).sum() / U
