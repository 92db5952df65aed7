"""CPE's experts and the loss of their groups of classes (Ma et al., 2024).

Notation: three branches b, whose rows are frequent and all others, medium and rare, rare classes; three experts k; U
rows, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BRANCHES = EXPERTS = 3


class Experts(nn.Module):
    """Three BatchNorms of the last feature map, and three dense layers on each: (n, width, h, w) → (n, 3, 3, C).

    The axes are row, branch, expert and class.
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
        """Logits of every branch and expert, (n, branches, experts, C), of the last feature map (n, width, h, w)."""
        features = torch.stack([norm(maps).mean((2, 3)) for norm in self.norms], 1)
        return torch.stack([expert(features) for expert in self.experts], 2)


def ranks(labeled_counts: Tensor) -> Tensor:
    """Place of each class when the most frequent comes first, of equals the lower number; (C,) int64.

    Args:
        labeled_counts: (C,).
    """
    order = labeled_counts.argsort(descending=True, stable=True)
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))


def branch_weights(kept: Tensor, places: Tensor, cuts: tuple[int, int]) -> Tensor:
    """Whether a row counts in each branch, (U, 3) bool: the first takes all that are kept, the last the rarest.

    Args:
        kept: (U,) bool.
        places: of each row's class, (U,) int64.
        cuts: from which place on a class is in the second and in the third branch.
    """
    return torch.stack([kept, *(kept & (places >= cut) for cut in cuts)], 1)


def branch_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy over the rows of all branches that count, scalar; 0 where none does.

    Args:
        logits: one expert's, (U, 3, C).
        classes: (U,) int64.
        weights: (U, 3) bool.
    """
    rows = F.cross_entropy(logits.flatten(0, 1), classes.repeat_interleave(BRANCHES), reduction="none")
    return (rows.view_as(weights) * weights).sum() / weights.sum().clamp_min(1)
