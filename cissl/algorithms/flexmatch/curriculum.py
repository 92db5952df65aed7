"""FlexMatch's curriculum: how well each class is learned, and its threshold (Zhang et al., 2021, section 3).

Notation: N unlabeled images, U rows of a batch, C classes; sel the last class that was predicted with confidence for an
image, −1 for none, (N,); σ number of images of each class in sel, σ_C number without a class, (C + 1,); β learning
effect.
"""

import torch
from torch import Tensor


def class_thresholds(learning: Tensor, confidence: float) -> Tensor:
    """Threshold of each class, τ · β / (2 − β), (C,). A class with β = 0 has threshold 0.

    Args:
        learning: β, (C,).
        confidence: τ.
    """
    return confidence * (learning / (2 - learning))


def remember(
    selected: Tensor, counts: Tensor, index: Tensor, classes: Tensor, confident: Tensor
) -> tuple[Tensor, Tensor]:
    """sel (N,) and σ (C + 1,) after a batch. Confident rows write their class; of two rows of one image the later one
    counts.

    Args:
        selected: sel, (N,) int64.
        counts: σ, (C + 1,) int64.
        index: positions of the rows' images, (U,) int64.
        classes: predicted class of each row, (U,) int64.
        confident: whether a row is confident, (U,) bool.
    """
    number = torch.arange(len(index), device=index.device)
    same = index[:, None] == index
    last = torch.where(same & confident, number, -1).amax(1)  # last confident row of the same image, or −1
    before = selected[index]
    after = torch.where(last >= 0, classes[last.clamp_min(0)], before)
    first = (torch.where(same, number, len(index)).amin(1) == number).long()  # so that every image counts once
    unseen = len(counts) - 1
    counts = counts.index_add(0, torch.where(before < 0, unseen, before), -first)
    counts = counts.index_add(0, torch.where(after < 0, unseen, after), first)
    return selected.index_put((index,), after), counts


def learning_effects(counts: Tensor, before: Tensor, *, warmup: bool) -> Tensor:
    """β_c = σ_c / max(max σ, σ_C), (C,). Without warm-up σ_C is left out. If one count equals N, β does not change.

    Args:
        counts: σ, (C + 1,) int64.
        before: β, (C,) float.
        warmup: whether σ_C counts.
    """
    seen = counts[:-1]
    largest = counts.max() if warmup else seen.max()
    effects = (seen / largest.clamp_min(1)).to(before.dtype)
    return torch.where(counts.max() < counts.sum(), effects, before)
