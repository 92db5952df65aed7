"""CPE: ComPlementary Experts with classwise BatchNorm (Ma et al., AAAI 2024).

Notation: π labeled class shares. They are float64 as in the authors' program, so that the labeled losses are float64
too.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.algorithms.contract import LABELED, STRONG, WEAK, Base, Facts, Losses, Outputs, PseudoLabels, Step
from cissl.algorithms.cpe.card import Settings
from cissl.algorithms.cpe.experts import EXPERTS, Experts, branch_loss, branch_weights, ranks
from cissl.algorithms.fixmatch.losses import confidence_mask
from cissl.errors import UserError

PREDICTS = 1  # number of the expert whose labeled loss is balanced


class CPE(Base):
    """Three FixMatch classifiers on one backbone, whose labeled logits are adjusted with three strengths.

    The loss terms of the expert that predicts have plain names. The names of the other terms end in the expert's
    number.
    """

    settings: Settings
    views = {"labeled": LABELED, "weak": WEAK, "strong": STRONG}

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``experts``: three classifiers on three normalised copies of the last feature map, (n, 3, 3, C); see
        `Experts`.
        """
        return {"experts": Experts(width, classes)}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """Empty, because CPE has no state.

        Raises:
            UserError: there are fewer classes than ``cut2``.
        """
        if self.settings.cut2 > facts.classes:
            raise UserError(
                f"cut2 must be at most the number of classes, {facts.classes}, not {self.settings.cut2}", key="cut2"
            )
        return {}

    def losses(self, step: Step) -> Losses:
        """The labeled and the unlabeled loss of each expert, scalars."""
        out = step.forward(*self.views)
        labeled, weak, strong = (out[view].head("experts") for view in self.views)
        pi = step.facts.labeled_counts.double() / step.facts.labeled
        names = ["" if k == PREDICTS else f"_{k + 1}" for k in range(EXPERTS)]
        strengths = (self.settings.la_tau1, self.settings.la_tau2, self.settings.la_tau3)

        adjusted = [labeled[:, :, k].mean(1) + log_shares(pi, strengths[k]) for k in range(EXPERTS)]
        pseudo = [self.pseudo_labels(weak[:, :, k].mean(1).detach()) for k in range(EXPERTS)]
        losses = [self.loss_of(step, strong[:, :, k], pseudo[k]) for k in range(EXPERTS)]
        step.shared["pseudo"] = pseudo
        return Losses(
            labeled={f"labeled{names[k]}": F.cross_entropy(adjusted[k], step.targets) for k in range(EXPERTS)},
            unlabeled={f"unlabeled{names[k]}": losses[k] for k in range(EXPERTS)},
            weights={f"unlabeled{name}": self.settings.wu for name in names},
            pseudo=pseudo[PREDICTS],
        )

    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """FixMatch's pseudo-labels from the mean logits (U, C) of one expert."""
        p = weak.softmax(1)
        return PseudoLabels(p.argmax(1), confidence_mask(p, self.settings.confidence), p)

    def loss_of(self, step: Step, strong: Tensor, pseudo: PseudoLabels) -> Tensor:
        """Unlabeled loss of one expert, scalar. `strong` has its logits in each branch, (U, 3, C)."""
        settings, counts = self.settings, step.facts.labeled_counts
        places = ranks(counts) if settings.by_frequency else torch.arange(len(counts), device=counts.device)
        weights = branch_weights(pseudo.weights, places[pseudo.classes], (settings.cut1, settings.cut2))
        return branch_loss(strong, pseudo.classes, weights)

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Logits of the balanced expert, averaged over branches, (n, C)."""
        return outputs.head("experts")[:, :, PREDICTS].mean(1)


def log_shares(shares: Tensor, strength: float) -> Tensor:
    """τ log π, (C,). It is −∞ for a class without labels, and 0 if τ is 0."""
    return torch.xlogy(torch.full_like(shares, strength), shares)
