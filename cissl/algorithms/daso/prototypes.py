"""DASO's memory of labeled features and its classifier of class prototypes (Oh et al., 2022, section 3).

Notation: C classes; D features; B labeled rows; Q rows that are kept for each class; M prototypes, (C, D).
"""

import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import class_counts
from cissl.algorithms.maths.row_tables import put_rows

SMALL = 1e-8  # smallest divisor of a vector


def remembered(bank: Tensor, seen: Tensor, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The memory after a batch. Each row replaces the oldest one of its class; (C, Q, D) and (C,) int64.

    Args:
        bank: the memory, (C, Q, D), with zeros in unused rows. Row number t of a class is at t mod Q.
        seen: rows of each class so far, (C,) int64.
        features: (B, D), in order of arrival.
        targets: their classes, (B,) int64.
    """
    classes, Q, D = bank.shape
    earlier = (targets[:, None] == targets).tril(-1).sum(1)  # earlier rows of the same class in the batch
    places = targets * Q + (seen[targets] + earlier) % Q
    return put_rows(bank.view(-1, D), places, features).view(bank.shape), seen + class_counts(targets, classes)


def means(bank: Tensor, seen: Tensor) -> Tensor:
    """Mean of the remembered rows of each class, (C, D). A class without rows has zeros.

    Args:
        bank: the memory, (C, Q, D).
        seen: rows of each class so far, (C,) int64.
    """
    return bank.sum(1) / seen.clamp(1, bank.shape[1])[:, None]


def similarities(features: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """cos(f, M) / T_proto, (n, C). A prototype of length 0 gives 0.

    Args:
        features: f, (n, D).
        prototypes: M, (C, D).
        temperature: T_proto.
    """
    return F.normalize(features, dim=1, eps=SMALL) @ F.normalize(prototypes, dim=1, eps=SMALL).T / temperature


def prototype_shares(counts: Tensor, temperature: float) -> Tensor:
    """(p / max p)^(1 / T_dist), the share of the prototypes in the labels of each class, (C,) in [0, 1].

    Args:
        counts: pseudo-labels of each class, (C,) float, not all 0. p are their shares.
        temperature: T_dist.
    """
    return (counts / counts.max().clamp_min(1)) ** (1 / temperature)
