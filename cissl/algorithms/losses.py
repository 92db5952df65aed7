"""The loss of every algorithm: logits of the three views in, loss terms, masks and the new class prior out.

Notation: B labeled rows, U = μB unlabeled rows, C classes; x, w, s = labeled, weak, strong logits; P = softmax(w);
p̂ = class prior before this step, p̂' after it; τ confidence, β CAI exponent, m prior momentum, u CAP clip.
"""

import dataclasses

import torch
from torch import Tensor

from cissl.algorithms.fixmatch import confidence_mask, labeled_loss, unlabeled_loss
from cissl.algorithms.imputation import class_aware_mask, class_thresholds
from cissl.algorithms.names import Algorithm
from cissl.algorithms.propensity import log_row_weights, propensity


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The numbers that the losses depend on, with the paper's symbols and the reference's defaults."""

    confidence: float = 0.95  # τ
    cai_beta: float = 0.5  # β
    cap_ema: bool = True
    cap_ema_momentum: float = 0.99  # m
    upper: float = 5.0  # u


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """What one step's logits give.

    Attributes:
        labeled: labeled loss, with CAP's and CADR's terms where the algorithm has them; scalar.
        unlabeled: unlabeled loss, before its weight λ; scalar.
        pseudo_labels: argmax of P, (U,) int64.
        mask: pseudo-labels kept, bool (U,).
        class_prior: p̂', (C,), to be given to the next step.
        cadr: CADR's part of `labeled`, averaged over the B rows; scalar, 0 without CADR.
        cadr_mask: labeled rows that CADR's term counts, bool (B,); None without CADR.
    """

    labeled: Tensor
    unlabeled: Tensor
    pseudo_labels: Tensor
    mask: Tensor
    class_prior: Tensor
    cadr: Tensor
    cadr_mask: Tensor | None = None


def update_class_prior(class_prior: Tensor, weak_probabilities: Tensor, momentum: float) -> Tensor:
    """p̂' = m · p̂ + (1 − m) · mean of P's rows, masked or not; (C,), without gradient."""
    return momentum * class_prior + (1 - momentum) * weak_probabilities.detach().mean(0)


def compute_losses(
    algorithm: Algorithm,
    labeled: Tensor,
    weak: Tensor,
    strong: Tensor,
    targets: Tensor,
    class_prior: Tensor,
    options: LossOptions,
) -> Losses:
    """The losses of one step of a semi-supervised algorithm (paper, equations 4 to 12; FixMatch, 3 and 4).

    Gradient flows into the labeled and strong logits, and with CAP into the weak ones.

    Args:
        algorithm: which of CAP, CAI and CADR are on.
        labeled: x, (B, C) float.
        weak: w, (U, C) float.
        strong: s, (U, C) float.
        targets: labels, (B,) int64.
        class_prior: p̂, (C,) float; 1/C at the start.
        options: the algorithm's numbers.
    """
    weak_probabilities = weak.softmax(1)
    pseudo_labels = weak_probabilities.argmax(1)
    new_prior = update_class_prior(class_prior, weak_probabilities, options.cap_ema_momentum)
    thresholds = class_thresholds(new_prior, confidence=options.confidence, beta=options.cai_beta)

    loss = labeled_loss(labeled, targets)
    cadr, cadr_mask = loss.new_zeros(()), None
    if algorithm.cap:
        pi = propensity(weak_probabilities, class_prior, upper=options.upper, cap_ema=options.cap_ema)
        # The weight enters as an added logarithm: it acts through its own gradient on the weak logits.
        loss = loss - log_row_weights(pi, targets).mean()
        if algorithm.cadr:
            probabilities = labeled.detach().softmax(1)
            cadr_mask = class_aware_mask(probabilities, thresholds)
            cadr = torch.mean(log_row_weights(pi, probabilities.argmax(1)) * cadr_mask)
            loss = loss + cadr

    if algorithm.cai:
        mask = class_aware_mask(weak_probabilities.detach(), thresholds)
    else:
        mask = confidence_mask(weak_probabilities.detach(), options.confidence)
    return Losses(
        labeled=loss,
        unlabeled=unlabeled_loss(strong, pseudo_labels, mask),
        pseudo_labels=pseudo_labels,
        mask=mask,
        class_prior=new_prior,
        cadr=cadr,
        cadr_mask=cadr_mask,
    )
