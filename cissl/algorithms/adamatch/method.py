"""AdaMatch's training step (Berthelot et al., 2022), and the USB library's simplification of it.

Notation: a running mean of the labeled predictions, b of the unlabeled ones, (C,) each; P weak probabilities, (U, C).
"""

import torch
from torch import Tensor

from cissl.algorithms.adamatch.card import Settings
from cissl.algorithms.adamatch.ramp import unlabeled_weight
from cissl.algorithms.contract import Facts, Losses, Outputs, PseudoLabels, Step, View
from cissl.algorithms.fixmatch.losses import update_class_prior
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.alignment import aligned

BUFFER = 128  # steps over which unlabeled predictions are averaged
LABELED_VIEWS = ("labeled", "labeled_strong")


class AdaMatch(FixMatch):
    """Pseudo-labels from aligned predictions, a threshold relative to the labeled confidence, and mixed labeled logits.

    State:
        p_labeled: a, (C,).
        p_unlabeled: mean predictions on weak views in the last 128 steps, oldest first, (128, C). In the variant usb: b
            itself, (C,), zeros until the first batch.
    """

    settings: Settings

    @property
    def usb(self) -> bool:
        """Whether the variant is the USB library's simplification."""
        return self.settings.variant == "usb"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if not self.usb:
            self.views = {**FixMatch.views, "labeled_strong": View("labeled", "strong")}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state, and running means of predictions: ``p_labeled`` (C,), ``p_unlabeled`` (C,) or (128, C)."""
        C = facts.classes
        unlabeled = facts.full((C,), 0) if self.usb else facts.full((BUFFER, C), 1 / C)
        return super().state(facts) | {"p_labeled": facts.full((C,), 1 / C), "p_unlabeled": unlabeled}

    def losses(self, step: Step) -> Losses:
        """FixMatch's losses, scalars, with aligned pseudo-labels and a weight that grows during the training."""
        settings = self.settings
        out = step.forward(*self.views) if self.usb else mixed_outputs(step, tuple(self.views))
        prior, momentum = step.state["class_prior"], settings.cap_ema_momentum
        step.next["class_prior"] = update_class_prior(prior, out["weak"].probabilities, momentum)

        labeled = {"labeled": self.supervised(step, out)} | step.labeled_terms(out)
        pseudo = self.label(step, out, self.align(step, out))
        unlabeled = {"unlabeled": self.consistency(step, out, pseudo)} | step.unlabeled_terms(out, pseudo)
        weight = settings.wu if self.usb else unlabeled_weight(step.progress, settings.wu)
        return Losses(labeled=labeled, unlabeled=unlabeled, weights={"unlabeled": weight}, pseudo=pseudo)

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """The mean of both labeled views' losses, scalar."""
        weak = super().supervised(step, out, weights)
        if self.usb:
            return weak
        return (weak + super().supervised(step, {"labeled": out["labeled_strong"]}, weights)) / 2

    def align(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """Aligned weak probabilities (U, C). The running means include this batch."""
        state, momentum = step.state, self.settings.ema_p
        weak, labeled = out["weak"].probabilities.detach(), out["labeled"].probabilities.detach()
        a = momentum * state["p_labeled"] + (1 - momentum) * labeled.mean(0)
        past, now = state["p_unlabeled"], weak.mean(0)
        if self.usb:
            new = b = torch.where(past.any(), momentum * past + (1 - momentum) * now, now)
        else:
            new = torch.cat([past[1:], now[None]])
            b = new.mean(0)
        step.next |= {"p_labeled": a, "p_unlabeled": new}
        step.measured |= {"p_labeled": a, "p_unlabeled": b}
        return aligned(weak, a, b)

    def label(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> PseudoLabels:
        """Pseudo-labels from aligned probabilities (U, C). A row is kept if its largest probability reaches the
        threshold.
        """
        largest, classes = probabilities.max(1)
        threshold = largest.new_full((), self.settings.confidence)
        if self.settings.use_cr:
            threshold = threshold * out["labeled"].probabilities.detach().amax(1).mean()
        step.measured["thresholds"] = threshold.expand(probabilities.shape[1])
        return PseudoLabels(classes, largest >= threshold, probabilities)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """Cross-entropy with hard or soft pseudo-labels, scalar."""
        loss = super().consistency if self.settings.hard_label else self.soft_consistency
        return loss(step, out, pseudo)


def mixed_outputs(step: Step, views: tuple[str, ...]) -> dict[str, Outputs]:
    """Outputs of one joint pass over the views, with labeled logits (B, C) mixed from two passes.

    The second pass has the labeled rows alone and uses their own BatchNorm statistics. It does not update BatchNorm's
    averages. Each labeled logit is drawn uniformly between its values of the two passes. The gradient goes through
    both.

    Args:
        step: makes the passes and draws the numbers.
        views: names of the views of the joint pass.
    """
    alone = step.forward(*LABELED_VIEWS, update_averages=False)
    out = step.forward(*views)
    places = step.random("mix").uniform(len(step.targets), len(LABELED_VIEWS), step.facts.classes)
    for i, view in enumerate(LABELED_VIEWS):
        joint = out[view].logits
        out[view] = out[view].with_logits(joint + (alone[view].logits - joint) * places[:, i])
    return out
