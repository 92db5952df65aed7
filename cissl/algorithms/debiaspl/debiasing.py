"""DebiasPL's logit adjustment and its loss on groups of rows (Wang et al., 2022, and their program).

Notation: U rows, C classes; P_w weak and P_s strong probabilities, (U, C); q running mean of P_w's rows, (C,).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-38
CLD_TEMPERATURE = 0.07


def log_bias(mean: Tensor, tau: float) -> Tensor:
    """τ · log q, (C,). It is subtracted from weak logits and added to strong ones. Entries of q are at least 1e-38.

    Args:
        mean: q, (C,).
        tau: τ.
    """
    return tau * mean.clamp_min(SMALLEST).log()


def group_loss(strong: Tensor, weak: Tensor) -> Tensor:
    """CLD: mean cross-entropy of P_s · μᵀ / 0.07 against each row's group, scalar.

    A row's group is its *least* probable class on the weak view, as in the authors' program. μ_g is the mean of the
    weak probabilities of group g, and zeros if the group is empty.

    Args:
        strong: P_s, (U, C), with gradient.
        weak: P_w, (U, C), without gradient.
    """
    groups = weak.argmin(1)
    members = (groups == torch.arange(weak.shape[1], device=weak.device)[:, None]).to(weak.dtype)
    centroids = members @ weak / members.sum(1, keepdim=True).clamp_min(1)
    return F.cross_entropy(strong @ centroids.T / CLD_TEMPERATURE, groups)
