"""How ABC thins a batch so that its classes become equally frequent (Lee et al., 2021, section 3.2).

Notation: n_c labeled images of class c; C classes; e/E progress of the training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def keep_rates(labeled_counts: Tensor) -> Tensor:
    """Probability k_c = min n / n_c that a row of class c is kept, (C,) float64. A class without images has k_c = 1.

    Args:
        labeled_counts: n, (C,).
    """
    counts = labeled_counts.double()
    counts = torch.where(counts > 0, counts, torch.inf)
    return torch.where(counts < torch.inf, counts.min() / counts, 1.0)


def ramped(rates: Tensor, progress: float) -> Tensor:
    """k'_c = 1 − (e/E)(1 − k_c), (C,). At first all unlabeled rows are kept; at the end they are thinned like labeled
    ones.

    Args:
        rates: k, (C,).
        progress: e/E, in [0, 1].
    """
    return 1 - progress * (1 - rates)


def balanced_labeled_loss(logits: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """The mean over all B rows of r_i · CE_i, scalar.

    Args:
        logits: logits of the balanced head for labeled rows, (B, C).
        targets: their classes, (B,) int64.
        kept: r, (B,) bool.
    """
    return torch.mean(F.cross_entropy(logits, targets, reduction="none") * kept)


def balanced_unlabeled_loss(strong: Tensor, soft_targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over the strong views of the mean over rows of w_j · (−Σ_c Q_jc log softmax(strong_j)_c), scalar.

    Args:
        strong: logits of the balanced head for the strong views, one view below the other, (views · U, C).
        soft_targets: Q, (U, C), without gradient.
        weights: w, whether a row is confident and kept, (U,) bool.
    """
    U = len(soft_targets)
    terms = -(soft_targets.repeat(len(strong) // U, 1) * strong.log_softmax(1)).sum(1)
    return (terms * weights.repeat(len(strong) // U)).sum() / U
