"""Adsh's thresholds by class (Guo and Li, 2022).

Notation: N unlabeled images, C classes; P probabilities; s thresholds, (C,) float64; τ the base's threshold; h the
most frequent class; v_c the largest probabilities of the n_c images that are predicted as class c, in descending order;
ρ share of v_h at or above τ.
"""

import torch
from torch import Tensor


def adapted(scores: Tensor, probabilities: Tensor, threshold: float, head: int) -> Tensor:
    """New s, (C,) float64. Every class keeps the share of its predictions that class h keeps at τ.

    s_c = min(τ, v_c[max(0, rint(n_c ρ − 1))]), where rint rounds halves to even. s_h does not change, and neither does
    s_c of a class that is never predicted. If class h keeps nothing, ρ is 1, as in the authors' program.

    Args:
        scores: s, (C,) float64.
        probabilities: P of all unlabeled images, (N, C).
        threshold: τ.
        head: h.
    """
    confidence, predicted = probabilities.max(1)
    of_class = [confidence[predicted == c].sort(descending=True).values for c in range(len(scores))]
    kept = int((of_class[head] >= threshold).sum())
    rho = kept / len(of_class[head]) if kept else 1.0
    new = scores.tolist()
    for c, values in enumerate(of_class):
        if c != head and len(values):
            new[c] = min(threshold, values[max(0, round(len(values) * rho - 1))].item())
    return torch.tensor(new, dtype=torch.float64, device=scores.device)


def rectified(probabilities: Tensor, scores: Tensor) -> Tensor:
    """P / s, (U, C) with P's dtype. The class of the largest value is the label; the row is kept if this value is at
    least 1.

    Args:
        probabilities: P, (U, C).
        scores: s, (C,).
    """
    return probabilities / scores.to(probabilities.dtype)
