"""DeFixMatch: FixMatch with its bias subtracted (Schmutz et al., ICLR 2023)."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import LABELED, STRONG, WEAK, Outputs, PseudoLabels, Step, View
from cissl.algorithms.defixmatch.card import Settings
from cissl.algorithms.fixmatch.losses import soft_unlabeled_loss, unlabeled_loss
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.mixing import sharpen


class DeFixMatch(FixMatch):
    """FixMatch minus the same loss on pseudo-labels of the labeled images. The total can be negative."""

    settings: Settings
    views = {"labeled": LABELED, "labeled_strong": View("labeled", "strong"), "weak": WEAK, "strong": STRONG}

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and a negative weight for the pseudo-label loss of the labeled images."""
        return super().weights() | {"debias": -self.settings.wu}

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """Cross-entropy of both views of the labeled images, or of the weak view alone; scalar."""
        views = ("labeled",) if self.settings.variant == "fixmatch" else ("labeled", "labeled_strong")
        logits, targets = torch.cat([out[view].logits for view in views]), step.targets.repeat(len(views))
        rows = F.cross_entropy(logits, targets, reduction="none")
        return rows.mean() if weights is None else (weights.repeat(len(views)) * rows).mean()

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """FixMatch's pseudo-labels. With a temperature, their probabilities (U, C) are sharpened."""
        pseudo, T = super().choose(step, probabilities), self.settings.temperature
        return dataclasses.replace(pseudo, probabilities=sharpen(probabilities, T)) if T else pseudo

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The unlabeled loss of the strong views, scalar."""
        return self.loss_of(self.strong_logits(step, out), pseudo)

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``debias``: the unlabeled loss on the labeled images, scalar."""
        if self.settings.variant != "debiased":
            return {}
        return {"debias": self.labeled_consistency(step, out)}

    def labeled_consistency(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """The unlabeled loss on the labeled images, with pseudo-labels instead of labels; scalar."""
        pseudo = self.choose(step, out["labeled"].probabilities.detach())
        step.shared["labeled_pseudo"] = pseudo
        step.measured["labeled_mask_ratio"] = pseudo.weights.double().mean()
        return self.loss_of(out["labeled_strong"].logits, pseudo)

    def loss_of(self, strong: Tensor, pseudo: PseudoLabels) -> Tensor:
        """H, the mean loss of strong logits (n, C) against pseudo-labels over all n rows; scalar."""
        if self.settings.temperature:
            return soft_unlabeled_loss(strong, pseudo.probabilities, pseudo.weights)
        return unlabeled_loss(strong, pseudo.classes, pseudo.weights)
