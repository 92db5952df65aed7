"""Similarities to a bank of labeled images (Zheng et al., 2022, sections 3.2 and 3.3).

Notation: U unlabeled rows; K labeled images, M their vectors, (K, d), and l their classes, (K,); g vectors of length 1,
(n, d); P probabilities of the weak views, (U, C); S similarities of the weak views to the bank, (U, K).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def similarities(vectors: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """log softmax(g · M / temperature), (n, K)."""
    return (vectors @ bank.T / temperature).log_softmax(1)


def by_class(similarity: Tensor, bank_classes: Tensor, classes: int) -> Tensor:
    """A: the sum of each class's similarities, (U, C).

    Args:
        similarity: S.
        bank_classes: l, (K,) int64.
        classes: C.
    """
    members = bank_classes[:, None] == torch.arange(classes, device=bank_classes.device)
    return similarity @ members.to(similarity.dtype)


def instance_targets(similarity: Tensor, probabilities: Tensor, bank_classes: Tensor) -> Tensor:
    """S_uk · P_u[l_k] with rows that sum to 1, (U, K); a row of zeros where all products are zero.

    Args:
        similarity: S.
        probabilities: P, aligned.
        bank_classes: l, (K,) int64.
    """
    weighted = similarity * probabilities[:, bank_classes]
    return weighted / weighted.sum(1, keepdim=True).clamp_min(torch.finfo(weighted.dtype).tiny)


def instance_loss(strong: Tensor, targets: Tensor) -> Tensor:
    """mean_u −Σ_k target · log similarity, scalar.

    Args:
        strong: `similarities` of the strong views, one below the other, (views · U, K).
        targets: (U, K), constants.
    """
    views = len(strong) // len(targets)
    return -(targets.repeat(views, 1) * strong).sum(1).mean()


def bank_rows(before: Tensor, now: Tensor, momentum: float, norm: str) -> Tensor:
    """New vectors of the images of a batch, (B, d): m · before + (1 − m) · now, scaled.

    Args:
        before, now: (B, d).
        momentum: m.
        norm: ``"row"``: each row has length 1; ``"batch"``: each coordinate has, over the batch.
    """
    return F.normalize(momentum * before + (1 - momentum) * now, dim=1 if norm == "row" else 0)
