"""Class-transition tracking and the guidance that is made from it (Duan et al., 2023, section 3).

Notation: U rows of a batch, n unlabeled images, C classes, N tracked batches; bank, the last predicted class of each
image, −1 for none, (n,); M transitions from class to class in each tracked batch, (N, C, C); D mean probabilities of
each tracked batch, (N, C); k the slot that is written; H', the guidance, (C, C).
"""

import torch
from torch import Tensor

from cissl.algorithms.maths.alignment import normalised

SMALL = 1e-16


def previous_classes(bank: Tensor, index: Tensor, classes: Tensor) -> Tensor:
    """The previous class of each row's image, (U,) int64, −1 for none. An earlier row of this batch counts before the
    bank.

    Args:
        bank: (n,) int64.
        index: positions of the rows' images, (U,) int64.
        classes: predicted classes of the rows, (U,) int64.
    """
    number = torch.arange(len(index), device=index.device)
    earlier = (index[:, None] == index) & (number < number[:, None])
    latest = torch.where(earlier, number, -1).amax(1)
    return torch.where(latest >= 0, classes[latest.clamp_min(0)], bank[index])


def transition_counts(before: Tensor, after: Tensor, classes: int) -> Tensor:
    """Number of rows that changed from one class to another, (C, C) int64. Rows without a previous class do not count.

    Args:
        before: previous classes, (U,) int64, −1 for none.
        after: present classes, (U,) int64.
        classes: C.
    """
    changed = (before >= 0) & (before != after)
    counts = changed.new_zeros(classes * classes, dtype=torch.int64)
    return counts.index_add(0, before.clamp_min(0) * classes + after, changed.long()).view(classes, classes)


def written(
    transitions: Tensor, shares: Tensor, slot: Tensor, counts: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """M (N, C, C), D (N, C) and k after a batch. The next batch's slot is set to 0 in M; in D it keeps its values.

    Args:
        transitions: M, (N, C, C). Its slot k is 0.
        shares: D, (N, C).
        slot: k, int64 scalar.
        counts: transitions of this batch, (C, C).
        mean: its mean probabilities, (C,).
    """
    following = (slot + 1) % len(shares)
    transitions = transitions.index_copy(0, slot[None], counts[None].to(transitions.dtype))
    transitions = transitions.index_fill(0, following[None], 0)
    return transitions, shares.index_copy(0, slot[None], mean[None]), following


def transition_matrix(transitions: Tensor, alpha: float) -> Tensor:
    """H = M̄ / row sums + α / (C − 1) · I, where M̄ is the mean over slots; (C, C).

    Args:
        transitions: M, (N, C, C).
        alpha: α.
    """
    mean, classes = transitions.mean(0), transitions.shape[1]
    identity = torch.eye(classes, dtype=mean.dtype, device=mean.device)
    return mean / (mean.sum(1, keepdim=True) + SMALL) + alpha / (classes - 1) * identity


def guidance(transitions: Tensor, shares: Tensor, alpha: float) -> Tensor:
    """H' = H with each column divided by the recent share of its class, (C, C). It is infinite before the first batch.

    Args:
        transitions: M, (N, C, C).
        shares: D, (N, C).
        alpha: α.
    """
    return transition_matrix(transitions, alpha) / shares.mean(0)


def guided(probabilities: Tensor, matrix: Tensor, rows: Tensor) -> Tensor:
    """Q times a row of H', scaled to sum 1, (U, C). A row without guidance is Q itself.

    Args:
        probabilities: Q, (U, C).
        matrix: H', (C, C).
        rows: row of H' for each row of Q, (U,) int64, −1 for none.
    """
    rectified = normalised(probabilities * matrix[rows.clamp_min(0)])
    return torch.where(rows[:, None] >= 0, rectified, probabilities)
