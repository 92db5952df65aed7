"""CPE's experts and the losses of their groups of classes (Ma et al., 2024).

Notation: three branches b: the first has all kept rows, the second those of medium and rare classes, the third those of
rare classes; three experts k; U rows, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BRANCHES = EXPERTS = 3


class Experts(nn.Module):
    """Three BatchNorms of the last feature map and three dense layers on each: (n, width, h, w) → (n, 3, 3, C).

    The axes of the result are row, branch, expert and class.
    """

    sees_map = True

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(BRANCHES))
        experts = [nn.Linear(width, classes) for _ in range(EXPERTS)]
        for expert in experts:
            nn.init.xavier_normal_(expert.weight)
            nn.init.zeros_(expert.bias)
        self.experts = nn.ModuleList(experts)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits of every branch and expert, (n, branches, experts, C), from the last feature map (n, width, h, w)."""
        features = torch.stack([norm(maps).mean((2, 3)) for norm in self.norms], 1)
        return torch.stack([expert(features) for expert in self.experts], 2)


def ranks(labeled_counts: Tensor) -> Tensor:
    """Rank of each class by frequency, (C,) int64. The most frequent class has rank 0; of equal classes the lower
    number comes first.

    Args:
        labeled_counts: (C,).
    """
    order = labeled_counts.argsort(descending=True, stable=True)
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))


def branch_weights(kept: Tensor, places: Tensor, cuts: tuple[int, int]) -> Tensor:
    """Whether a row counts in each branch, (U, 3) bool. The first branch has all kept rows, the last those of rare
    classes.

    Args:
        kept: whether a row is kept, (U,) bool.
        places: rank of each row's class, (U,) int64.
        cuts: lowest rank in the second and in the third branch.
    """
    return torch.stack([kept, *(kept & (places >= cut) for cut in cuts)], 1)


def branch_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy over the rows of all branches that count, scalar; 0 if no row counts.

    Args:
        logits: logits of one expert, (U, 3, C).
        classes: pseudo-labels, (U,) int64.
        weights: whether a row counts in a branch, (U, 3) bool.
    """
    rows = F.cross_entropy(logits.flatten(0, 1), classes.repeat_interleave(BRANCHES), reduction="none")
    return (rows.view_as(weights) * weights).sum() / weights.sum().clamp_min(1)
