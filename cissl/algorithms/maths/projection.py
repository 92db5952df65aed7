"""Heads whose outputs are compared by direction."""

import torch.nn.functional as F
from torch import Tensor, nn


def projection(width: int, size: int, activation: nn.Module) -> nn.Module:
    """A head of two layers: features (n, width) → vectors of length 1, (n, size)."""
    return nn.Sequential(nn.Linear(width, width), activation, nn.Linear(width, size), UnitLength())


class UnitLength(nn.Module):
    """Scales every row to length 1."""

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (n, D), scaled to length 1."""
        return F.normalize(rows, dim=1)
