"""Heads whose outputs are compared by their directions."""

import torch.nn.functional as F
from torch import Tensor, nn


def projection(width: int, size: int, activation: nn.Module) -> nn.Module:
    """A head of two layers: features (n, width) → vectors of length 1, (n, size)."""
    return nn.Sequential(nn.Linear(width, width), activation, nn.Linear(width, size), UnitLength())


class UnitLength(nn.Module):
    """Divides every row by its length."""

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (n, D) divided by their length."""
        return F.normalize(rows, dim=1)
