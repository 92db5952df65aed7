"""SimPro: EM estimates of the class distributions, and logit adjustment by them (Du et al., ICML 2024).

Notation: a class shares of all rows in the losses, q of the unlabeled images, (C,) each; τ strength.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import (
    LABELED,
    STRONG,
    WEAK,
    Facts,
    Outputs,
    PseudoLabels,
    Step,
    Survey,
    View,
    class_counts,
)
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.adjustment import log_adjustment
from cissl.algorithms.simpro.card import Settings


class SimPro(FixMatch):
    """FixMatch with logits adjusted by a and pseudo-labels adjusted by q. Both are estimated after each epoch.

    State:
        training_shares: a, (C,).
        unlabeled_shares: q, (C,); sums to less than 1.
        labels_seen: number of labeled rows of each class in this epoch, (C,) int64.
        kept: sum of this epoch's kept pseudo-labels, (C,).
    """

    settings: Settings
    views = {
        "labeled": LABELED,
        "labeled_strong": View("labeled", "strong"),
        "weak": WEAK,
        "strong": STRONG,
        "strong2": STRONG,
    }
    strong_views = ("strong", "strong2")

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``training_shares``, ``unlabeled_shares`` and ``kept`` (C,), ``labels_seen`` (C,) int64."""
        return super().state(facts) | {
            "training_shares": facts.tensor(facts.labeled_counts.double() / facts.labeled),
            "unlabeled_shares": facts.full((facts.classes,), 1 / facts.classes),
            "labels_seen": torch.zeros_like(facts.labeled_counts),
            "kept": facts.full((facts.classes,), 0.0),
        }

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the adjusted logits of both labeled views, divided by r; scalar."""
        logits = torch.cat([out["labeled"].logits, out["labeled_strong"].logits]) + self.adjustment(step)
        rows = F.cross_entropy(logits, step.targets.repeat(2), reduction="none")
        if weights is not None:
            rows = weights.repeat(2) * rows
        return rows.mean() / self.ratio(step.facts)

    def predictions(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """softmax(w + log(q^τ + 1e-12)), (U, C)."""
        adjustment = log_adjustment(step.state["unlabeled_shares"], self.settings.tau)
        return (out["weak"].logits.detach() + adjustment).softmax(1)

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """FixMatch's choice of rows (U,). The choice is added to the sums of this epoch."""
        pseudo, state = super().choose(step, probabilities), step.state
        step.next["labels_seen"] = state["labels_seen"] + class_counts(step.targets, step.facts.classes)
        step.next["kept"] = state["kept"] + (pseudo.weights[:, None] * probabilities).sum(0)
        step.measured |= {name: state[name] for name in ("training_shares", "unlabeled_shares")}
        return pseudo

    consistency = FixMatch.soft_consistency

    def strong_logits(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """Adjusted logits of the strong views, (views · U, C)."""
        return step.strong_logits(out) + self.adjustment(step)

    def period(self, facts: Facts) -> int:
        """Length of an epoch, in steps."""
        return max(1, facts.steps_of(self.settings.epoch))

    def periodically(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The M step: update both distributions (C,) with the sums of the epoch."""
        e, kept, seen = self.settings.ema_u, state["kept"], state["labels_seen"]
        everything = seen + kept
        return {
            "unlabeled_shares": e * state["unlabeled_shares"] + (1 - e) * kept / (kept.sum() + 1),
            "training_shares": e * state["training_shares"] + (1 - e) * everything / everything.sum(),
            "labels_seen": torch.zeros_like(seen),
            "kept": torch.zeros_like(kept),
        }

    def adjustment(self, step: Step) -> Tensor:
        """log(a^τ + 1e-12), (C,), which is added to all trained logits."""
        return log_adjustment(step.state["training_shares"], self.settings.tau)

    def ratio(self, facts: Facts) -> float:
        """r: number of whole batches in the unlabeled set divided by that in the labeled set. Each number is at least
        1.
        """
        if self.settings.scale_ratio is not None:
            return self.settings.scale_ratio
        unlabeled = max(1, facts.unlabeled // (self.settings.uratio * facts.batch))
        return unlabeled / max(1, facts.labeled // facts.batch)
