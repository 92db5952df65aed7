"""Similarities to a bank of labeled images (Zheng et al., 2022, sections 3.2 and 3.3).

Notation: U unlabeled rows; K labeled images, M their vectors, (K, d), and l their classes, (K,); g vectors of length 1,
(n, d); P probabilities of the weak views, (U, C); S similarities of the weak views to the bank, (U, K).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def similarities(vectors: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """log softmax(g · M / temperature), (n, K).

    Args:
        vectors: g, (n, d).
        bank: M, (K, d).
        temperature: temperature of the softmax.
    """
    return (vectors @ bank.T / temperature).log_softmax(1)


def by_class(similarity: Tensor, bank_classes: Tensor, classes: int) -> Tensor:
    """Sum of the similarities to each class, (U, C).

    Args:
        similarity: S, (U, K).
        bank_classes: l, (K,) int64.
        classes: C.
    """
    members = bank_classes[:, None] == torch.arange(classes, device=bank_classes.device)
    return similarity @ members.to(similarity.dtype)


def instance_targets(similarity: Tensor, probabilities: Tensor, bank_classes: Tensor) -> Tensor:
    """S_uk · P_u[l_k] with rows that sum to 1, (U, K). If all products of a row are 0, the row has zeros.

    Args:
        similarity: S, (U, K).
        probabilities: P after alignment, (U, C).
        bank_classes: l, (K,) int64.
    """
    weighted = similarity * probabilities[:, bank_classes]
    return weighted / weighted.sum(1, keepdim=True).clamp_min(torch.finfo(weighted.dtype).tiny)


def instance_loss(strong: Tensor, targets: Tensor) -> Tensor:
    """The mean over u of −Σ_k target_uk · log similarity_uk, scalar.

    Args:
        strong: `similarities` of the strong views, one view below the other, (views · U, K).
        targets: (U, K), without gradient.
    """
    views = len(strong) // len(targets)
    return -(targets.repeat(views, 1) * strong).sum(1).mean()


def bank_rows(before: Tensor, now: Tensor, momentum: float, norm: str) -> Tensor:
    """New vectors of the images of a batch, (B, d): m · before + (1 − m) · now, scaled.

    Args:
        before, now: (B, d).
        momentum: m.
        norm: ``"row"`` scales each row to length 1, ``"batch"`` each coordinate over the batch.
    """
    return F.normalize(momentum * before + (1 - momentum) * now, dim=1 if norm == "row" else 0)
